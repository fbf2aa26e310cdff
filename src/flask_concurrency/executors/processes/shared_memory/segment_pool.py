"""Decide which segment of shared memory carries which buffers, and when it may carry others.

Knows no task, no pickle and no socket. All segments of an executor belong to its owner's pool.
Each is in one of these states, and every change of them is a line in this file:

*free*      no object refers to it; the next buffers that fit may have it
*lent*      to a task, from its submission on. Ends free if the worker says that it has dropped it,
            otherwise abandoned
*exported*  the application holds objects made of a result that lies in it; free once they are gone
*abandoned* out of the pool, never to be written again: a worker kept what it was given, died with
            it, or a process was forked that may look at it. The system frees it with its last user
"""

from __future__ import annotations

import errno
import mmap
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from flask_concurrency.executors.processes.shared_memory.layout import (
    Place,
    best_fit,
    block_size,
    extent,
)
from flask_concurrency.executors.processes.shared_memory.segment import (
    SUPPORTED,
    Descriptor,
    Segment,
    forks,
    make_descriptor,
)
from flask_concurrency.executors.processes.shared_memory.shared_arrays import (
    FINDS,
    Content,
    SharedArrays,
)
from flask_concurrency.runtime.timer_thread import Alarm, timekeeper

MAX_SEGMENTS: Final = 32
"""Each takes a descriptor of this process, or up to three."""
_REMEMBERED: Final = 256  # functions

IDLE: Final = 10.0
"""Seconds after which a segment that nothing has used is given back to the system, or twice as
many at most."""


class Loan:
    """A segment that one task has. One that is collected without an end is returned.

    :ivar sent: A worker may know of it, so that only a worker's reply frees it.
    """

    __slots__ = ("_ended", "_pool", "segment", "sent")

    def __init__(self, pool: SegmentPool, segment: Segment) -> None:
        self._pool = pool
        self._ended = False
        self.segment = segment
        self.sent = False

    def take(self) -> Segment:
        """End the loan without returning the segment, which is the caller's now."""
        self._ended = True
        return self.segment

    def end(self, *, reusable: bool) -> None:
        """Return the segment."""
        if not self._ended:
            self._ended = True
            # May happen wherever an object is collected, so no lock is taken here.
            self._pool.returned.append((self.segment, reusable))

    def __del__(self) -> None:
        self.end(reusable=not self.sent)


class SegmentPool:
    """The segments of one executor.

    :param max_bytes: What all segments together may hold; ``0`` makes none.
    :ivar shared: Arrays that many tasks see.
    :ivar expects: Some functions are known for large results.
    :ivar returned: Segments whose loans have ended, and whether they may be used again.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes if SUPPORTED else 0
        self._lock = threading.Lock()
        self._segments: dict[int, Segment] = {}
        self._free: dict[int, Segment] = {}  # the one that was used last is the last
        self._exported: list[tuple[Segment, weakref.ref[mmap.mmap], int]] = []
        self._used: set[int] = set()
        self._made = 0
        self._expected: OrderedDict[str, int] = OrderedDict()
        self._alarm: Alarm | None = None
        self.shared = SharedArrays()
        self._sharing = 0  # bytes that are being copied there
        self.expects = False
        self.returned: deque[tuple[Segment, bool]] = deque()

    def lend(self, buffers: Sequence[memoryview], places: Sequence[Place]) -> Loan | None:
        """Copy buffers into a segment; ``None`` if there is no room, nor memory, for them."""
        needed = extent(places)
        if needed > self._max_bytes:
            return None
        with self._lock:
            segment = self._take(needed)
        if segment is None:
            return None
        loan = Loan(self, segment)
        try:
            segment.write(buffers, places)
        except OSError:
            loan.sent = True  # what there is of it is of no use
            return None
        return loan

    def share(self, array: Any) -> Any:
        """Return an array that many tasks see without a copy: the same, read-only.

        :raises TypeError: It is no array of plain items.
        :raises OSError: There is no room, or no memory, for it.
        """
        content = Content(array)
        if content.is_small or not (self._max_bytes and FINDS):
            return content.copied()
        if self.shared and self.shared.find(content.raw) is not None:
            return array
        size = content.raw.nbytes
        with self._lock:
            self._sweep()
            if not self._make_room(size):
                raise OSError(
                    errno.ENOSPC,
                    f"{size} bytes cannot be shared: tasks and shared arrays have "
                    f"{self._in_use()} of max_shared_memory={self._max_bytes}",
                )
            self._sharing += size
        try:
            return self.shared.add(content)
        finally:
            with self._lock:
                self._sharing -= size

    def expected(self, function: str) -> int:
        """Return the bytes that the last result of a function had; ``0`` if it was no large one."""
        return self._expected.get(function, 0)

    def expect(self, function: str, size: int) -> None:
        """Remember how large a function's result was, for its next call to be prepared."""
        with self._lock:
            self._expected.pop(function, None)
            if size:
                self._expected[function] = size
                if len(self._expected) > _REMEMBERED:
                    self._expected.popitem(last=False)
            self.expects = bool(self._expected)

    def result_segment(self, size: int) -> Loan | None:
        """Loan a segment that has been used before, for a result of about that size."""
        with self._lock:
            self._sweep()
            segment = self._take_free(size)
        return None if segment is None else Loan(self, segment)

    def adopt(self, descriptor: Descriptor, size: int) -> Segment | None:
        """Take a segment over that a worker has made; ``None`` if there is no room for it."""
        with self._lock:
            self._sweep()
            if not self._make_room(size) or self._exported_bytes() + size > self._max_bytes // 2:
                return None
            return self._add(descriptor, size, size)

    def export(self, segment: Segment, length: int) -> memoryview | None:
        """Return the content of a segment for the application to keep, as its very own.

        :returns: ``None`` if so much is exported already that tasks would have no room. The content
            is then to be copied, and the segment to be returned.
        """
        with self._lock:
            self._sweep()
            too_much = self._exported_bytes() + segment.size > self._max_bytes // 2
            if too_much or len(self._exported) >= MAX_SEGMENTS // 2:
                return None
        try:
            content = segment.view(length)
        except OSError:
            return None
        with self._lock:
            # Only once, although the thread that exported it before may have been interrupted.
            others = [entry for entry in self._exported if entry[0] is not segment]
            self._exported = [*others, (segment, weakref.ref(content), forks())]
        return memoryview(content)

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of all segments that a worker may meet again."""
        with self._lock:
            return tuple(self._segments)

    def trim(self) -> None:
        """Free the segments that nothing has used since the last time."""
        with self._lock:
            self._sweep()
            self._cancel_alarm()
            for number in [number for number in self._free if number not in self._used]:
                self._evict(number)
            self._used.clear()
            self._set_alarm()

    def close(self) -> None:
        """Make no more segments, and free those that no object refers to."""
        with self._lock:
            self._max_bytes = 0
            self._sweep()
            for number in tuple(self._free):
                self._evict(number)
            # The rest ends with those who have it; a short deque keeps nothing of what returns.
            self._segments.clear()
            self._exported.clear()
            self.shared.clear()
            self.returned = deque(maxlen=0)
            self._cancel_alarm()

    @property
    def size(self) -> int:
        """Bytes of all segments and shared arrays."""
        segments = sum(segment.size for segment in self._segments.values())
        return segments + self.shared.size + self._sharing

    # --- under the lock ---

    def _take_free(self, needed: int) -> Segment | None:
        fitting = best_fit((segment.size for segment in self._free.values()), needed)
        if fitting is None:
            return None
        # The one that was used last: the others may turn out not to be needed any more.
        number = next(n for n in reversed(self._free) if self._free[n].size == fitting)
        self._used.add(number)
        return self._free.pop(number)

    def _take(self, needed: int) -> Segment | None:
        self._sweep()
        segment = self._take_free(needed)
        if segment is not None:
            return segment
        size = min(block_size(needed), self._max_bytes)
        if not self._make_room(size):
            return None
        try:
            return self._add(make_descriptor(), size, 0)
        except OSError:
            return None

    def _add(self, descriptor: Descriptor, size: int, written: int) -> Segment:
        self._made += 1
        segment = Segment(self._made, descriptor, size, written)
        self._segments[segment.number] = segment
        self._used.add(segment.number)
        self._set_alarm()
        return segment

    def _make_room(self, size: int) -> bool:
        """Free what has not been used for longest, until there is room for so many bytes more."""
        if self._in_use() + size > self._max_bytes:
            return False
        if len(self._segments) - len(self._free) >= MAX_SEGMENTS:
            return False
        while self.size + size > self._max_bytes or len(self._segments) >= MAX_SEGMENTS:
            self._evict(next(iter(self._free)))
        return True

    def _in_use(self) -> int:
        return self.size - sum(segment.size for segment in self._free.values())

    def _sweep(self) -> None:
        """Look which segments have become free."""
        while self.returned:
            segment, reusable = self.returned.popleft()
            self._let_go(segment, reusable)
        still = []
        for exported in self._exported:
            segment, content, forks_then = exported
            if content() is not None:
                still.append(exported)
            else:
                self._let_go(segment, forks_then == forks())
        self._exported = still

    def _let_go(self, segment: Segment, reusable: bool) -> None:
        if segment.number not in self._segments:
            return
        if reusable:
            self._free[segment.number] = segment
        else:
            self._segments.pop(segment.number, None)

    def _evict(self, number: int) -> None:
        self._segments.pop(number, None)
        segment = self._free.pop(number, None)
        with suppress(OSError):
            if segment is not None:
                segment.free()

    def _exported_bytes(self) -> int:
        return sum(segment.size for segment, _, _ in self._exported)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _set_alarm(self) -> None:
        if self._segments and self._alarm is None and self._max_bytes:
            trim = weakref.WeakMethod(self.trim)

            def trim_if_alive() -> None:
                method = trim()
                if method is not None:
                    method()

            with suppress(RuntimeError):  # no thread more: the next segment tries again
                self._alarm = timekeeper.call_after(IDLE, trim_if_alive)
