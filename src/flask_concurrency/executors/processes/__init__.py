"""Worker processes: warm, isolated from one another, gone with their owner.

The folder, each file above what it imports::

    executor               the public class; ``options`` its options, ``process_map`` its ``map``
      pool                 which thread does what; carries out what the schedule orders
        background_reader  the one thread that reads what no caller waits for, and calls back
          supervisor       starts and kills worker processes, and learns how they ended
            schedule       which task runs where. Pure: no lock, no socket, no process
            readers        who may use a worker's channel: the rules stand here
        replies            how a task's ending completes its future
        failure_messages   what an error says of a worker that died, a deadline that passed
          records          tasks, futures, workers, the batches of ``map``: facts
            payloads       how a call, a result and an error cross
              main_script  what becomes of ``__main__``; ``is_worker`` tasks that submit tasks
            wire           messages on a socket; ``watch`` one thread for many descriptors

    shared_memory/         how large buffers cross
    launch/                how processes come to be
    worker/                what one does

A task goes down from ``executor`` to ``wire``; its reply comes up from ``wire`` through ``pool`` to
``schedule`` and ``replies``, on the thread that waits for it.
"""

from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.executors.processes.payloads import RemoteTraceback
from flask_concurrency.executors.processes.snapshot import ProcessSnapshot

__all__ = ["ProcessExecutor", "ProcessSnapshot", "RemoteTraceback"]
