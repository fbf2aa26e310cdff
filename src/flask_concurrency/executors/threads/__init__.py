"""Threads: one bounded pool for all requests of a process.

A task goes through these files, from the application to a thread and back:

``executor``  the public class · ``options`` its options · ``thread_map`` its ``map`` ·
``background`` and ``future`` failures that no caller asks for · ``snapshot`` what is counted

``pool``  what is taken in, refused and dropped · ``task_queue`` and ``line`` what waits, and for
what · ``worker_loop`` which thread runs which task · ``worker_threads`` how many there are ·
``parked_threads`` which idle one is woken · ``task`` one call and its future · ``callback_task``
one call and its callback
"""

from flask_concurrency.executors.threads.executor import ThreadExecutor
from flask_concurrency.executors.threads.snapshot import ThreadsSnapshot

__all__ = ["ThreadExecutor", "ThreadsSnapshot"]
