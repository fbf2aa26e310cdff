"""Worker processes: warm, isolated from one another, gone with their owner.

A task goes through these files, from the application to a worker and back:

``executor``  the public class · ``options`` what may be asked of it · ``feed`` how ``map`` feeds
it · ``inline`` and ``inside`` tasks that submit tasks · ``lifetime`` forks and exits

``pool``  one executor in one process: which thread reads which worker · ``round`` the rules of
that · ``desk`` who may use a channel now · ``roster`` who works on what · ``staff`` workers come
and go · ``task``, ``worker_record``, ``future`` what is known of each

``call`` and ``outcome``  how a call and its result cross · ``wire`` messages on a socket ·
``watch`` one thread for many descriptors · ``main_script`` what becomes of ``__main__``

``launch/``  how processes come to be · ``setup`` and ``worker_process`` what one does
"""

from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.executors.processes.outcome import RemoteTraceback
from flask_concurrency.executors.processes.roster import ProcessSnapshot

__all__ = ["ProcessExecutor", "ProcessSnapshot", "RemoteTraceback"]
