"""Count the requests inside ``tests/apps/eight_places.py``, by the kernel's word. Linux only.

A visitor is inside as long as its connection is open and its process is not about to end: a process
that ends lets go of its places and of its connections one after the other, in any order.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

CREDENTIALS = struct.Struct("3i")
"""Process, user and group of the other end of a Unix socket."""
EXITING = 0x4
"""``PF_EXITING`` among the flags of a process: it has begun to end, and closes all it holds."""


class Presence:
    """A thread that counts.

    :param places: How many may be inside.
    :ivar entries: How many have come in so far.
    :ivar most: How many were inside at once.
    :ivar over: Who was inside, by process, each time that there were more than ``places``.
    """

    def __init__(self, path: Path, places: int) -> None:
        self.entries = self.most = 0
        self.over: list[list[int]] = []
        self._places = places
        self._changed = threading.Condition()
        self._inside: dict[socket.socket, int] = {}
        self._held: list[socket.socket] = []
        self._seen: set[int] = set()
        self._ends = False
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(path))
        self._door.listen(256)
        self._door.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._door, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._count, name="presence")

    def __enter__(self) -> Presence:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ends = True
        self._thread.join()
        for connection in (*self._inside, self._door):
            connection.close()
        self._selector.close()

    @property
    def inside(self) -> list[int]:
        """The processes of the visitors inside, one for each visitor."""
        with self._changed:
            return [pid for pid in self._inside.values() if not _ends(pid)]

    @property
    def seen(self) -> set[int]:
        """All processes of which any visitor has been inside."""
        with self._changed:
            return set(self._seen)

    @property
    def held(self) -> int:
        """How many are held inside."""
        with self._changed:
            return len(self._held)

    def let_go(self) -> None:
        """Let all who are held inside go on."""
        with self._changed:
            for connection in self._held:
                with suppress(OSError):  # its process was killed
                    connection.sendall(b"k")
            self._held.clear()

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``condition`` holds, and return whether it does."""
        give_up_at = time.monotonic() + seconds
        with self._changed:
            while not condition() and (left := give_up_at - time.monotonic()) > 0:
                self._changed.wait(min(left, 0.1))  # a process that ends notifies no other
            return condition()

    def await_entries(self, number: int, seconds: float) -> None:
        """Wait until so many more have come in."""
        goal = self.entries + number
        if not self.wait(lambda: self.entries >= goal, seconds):
            raise AssertionError(f"{goal - self.entries} of {number} did not come in; {self}")

    def await_stranger(self, seconds: float) -> None:
        """Wait until a visitor comes in by a process by which none has come so far."""
        known = self.seen
        if not self.wait(lambda: bool(self.seen - known), seconds):
            raise AssertionError(f"No new process has admitted a request; {self}")

    def await_ends(self, seconds: float) -> None:
        """Wait until all processes by which any visitor has come so far have ended."""
        known = self.seen
        if not self.wait(lambda: all(map(_ends, known)), seconds):
            raise AssertionError(f"Not all of {known} have ended; {self}")

    def somebody(self, seconds: float) -> int:
        """A process by which a visitor is inside now."""
        with self._changed:
            if not self.wait(lambda: bool(self.inside), seconds):
                raise AssertionError(f"No request is inside; {self}")
            return self.inside[0]

    def __str__(self) -> str:
        return f"{self.entries} came in, by {self.seen}, and these are inside: {self.inside}"

    def _count(self) -> None:
        while not self._ends:
            ready = [key.fileobj for key, _ in self._selector.select(0.1)]
            with self._changed:
                if self._door in ready:
                    self._admit()
                self._look_at_all()
                self._changed.notify_all()

    def _admit(self) -> None:
        connection, _ = self._door.accept()
        connection.setblocking(False)
        sent = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        pid = CREDENTIALS.unpack(sent)[0]
        self._look_at_all()  # a visitor that left before this one came in has left
        self._inside[connection] = pid
        self._selector.register(connection, selectors.EVENT_READ)
        self._seen.add(pid)
        self.entries += 1
        alive = [pid for pid in self._inside.values() if not _ends(pid)]
        self.most = max(self.most, len(alive))
        if len(alive) > self._places:
            self.over.append(alive)

    def _look_at_all(self) -> None:
        for connection in list(self._inside):
            try:
                said = connection.recv(1)
                if said == b"v":
                    connection.sendall(b"k")
            except BlockingIOError:
                continue
            except OSError:  # its process was killed
                said = b""
            if said == b"h":
                self._held.append(connection)
            elif not said:
                self._selector.unregister(connection)
                del self._inside[connection]
                connection.close()


def _ends(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    return fields[0] in "ZX" or bool(int(fields[6]) & EXITING)
