"""Threads: one bounded pool for all requests of a process.

A task goes through these files, from the application to a thread and back:

``executor``  the public class · ``options`` its options · ``mapping`` the body of ``map`` ·
``background`` what outlives its request · ``snapshot`` what is counted and told

``pool``  which thread runs which task · ``task_queue`` and ``line`` what waits, and for what ·
``worker_threads`` and ``worker_loop`` the threads and what they do · ``task`` one call and its
future · ``failure_messages`` words
"""

from flask_concurrency.executors.threads.executor import ThreadExecutor
from flask_concurrency.executors.threads.snapshot import ThreadsSnapshot

__all__ = ["ThreadExecutor", "ThreadsSnapshot"]
