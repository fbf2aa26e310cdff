"""The event loop: one for a whole process, on a thread of its own, or the server's.

``loop_thread``  the public class · ``owner`` the calls of one loop ·
``runner`` the thread of its own · ``borrowed`` a server's loop

``call``  a coroutine whose caller waits · ``background`` one that outlives its caller ·
``deadline`` until when · ``watchdog`` names what blocks the loop
"""

from flask_concurrency.executors.loop.loop_thread import LoopSnapshot, LoopThread

__all__ = ["LoopSnapshot", "LoopThread"]
