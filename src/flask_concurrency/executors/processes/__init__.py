"""Worker processes: warm, isolated from one another, gone with their owner.

A task goes through these files, from the application to a worker and back:

``executor``  the public class · ``options`` what may be asked of it · ``feed`` and ``batch`` how
``map`` feeds it · ``patience`` who waits for a full queue · ``inline`` and ``inside`` tasks that
submit tasks · ``lifetime`` forks and exits

``pool``  one executor in one process: which thread does what · ``round`` the rules of that ·
``desk`` who may use a channel now · ``roster`` who works on what · ``exchange`` what is said to
workers and read from them · ``collector`` the thread that reads what nobody waits for · ``recall``
deadlines and cancelling · ``staff`` workers come and go · ``completion`` and ``obituary`` how tasks
end · ``task``, ``worker_record``, ``future`` what is known of each

``call`` and ``outcome``  how a call and its result cross · ``wire`` messages on a socket ·
``watch`` and ``timer`` one thread for many descriptors · ``main_script`` what becomes of
``__main__``

``buffers``, ``parcel``, ``crossing``, ``layout``  how large buffers cross · ``arena``, ``segment``,
``inbox``, ``memory_limit``  the shared memory they cross in

``launch/``  how processes come to be · ``setup`` and ``worker_process`` what one does ·
``around`` what is put around each task · ``memory_cap`` how much memory it may take ·
``log_relay`` how what it logs comes home
"""

from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.executors.processes.payloads import RemoteTraceback
from flask_concurrency.executors.processes.snapshot import ProcessSnapshot

__all__ = ["ProcessExecutor", "ProcessSnapshot", "RemoteTraceback"]
