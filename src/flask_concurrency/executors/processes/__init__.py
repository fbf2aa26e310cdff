"""Worker processes: warm, isolated from one another, gone with their owner.

A task goes through these files, from the application to a worker and back:

``executor``  the public class · ``options`` its options · ``feed`` the body of ``map`` ·
``patience`` waiting for a full queue · ``is_worker`` tasks that submit tasks

``pool``  one executor in one process: which thread does what · ``readers`` who may use a channel,
and the rules of that · ``schedule`` which task runs where · ``replies`` what is read from workers
and sent to them · ``background_reader`` the thread that reads what no caller waits for ·
``cancellation`` deadlines and cancelling · ``supervisor`` workers start and end ·
``failure_messages`` words · ``records`` what is known of tasks, futures and workers

``payloads``  how a call and its result cross · ``wire`` messages on a socket · ``watch`` one thread
for many descriptors · ``main_script`` what becomes of ``__main__``

``shared_memory/``  how large buffers cross · ``launch/`` how processes come to be · ``worker/``
what one does
"""

from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.executors.processes.payloads import RemoteTraceback
from flask_concurrency.executors.processes.snapshot import ProcessSnapshot

__all__ = ["ProcessExecutor", "ProcessSnapshot", "RemoteTraceback"]
