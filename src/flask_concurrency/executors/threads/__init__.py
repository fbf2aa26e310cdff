"""Threads: one bounded pool for all requests of a process.

A task goes through these files, from the application to a thread and back:

``executor``  the public class · ``options`` what may be asked of it · ``mapping`` how ``map`` is
read · ``background`` what outlives its request · ``snapshot`` what is told of it

``crew``  which thread runs which task · ``queue``, ``line`` and ``roster`` who waits, for what, and
who is there · ``lending`` threads that wait for an event loop · ``books`` what became of tasks

``task`` and ``work``  one call and its future · ``lateness`` what is past its deadline ·
``at_exit`` the end of the process
"""

from flask_concurrency.executors.threads.executor import ThreadExecutor
from flask_concurrency.executors.threads.snapshot import ThreadsSnapshot

__all__ = ["ThreadExecutor", "ThreadsSnapshot"]
