"""Notify streams and other endless work that the server is about to stop.

Knows neither what ends nor how long that may take.
"""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from flask_concurrency.vocabulary.clock import monotonic

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
"""What service managers and people end a server with."""

_drains: weakref.WeakSet[Drain] = weakref.WeakSet()


class Drain:
    """The end of a server, from the signal to stop on.

    May begin in a signal handler, so no lock is taken here.
    """

    def __init__(self) -> None:
        self._begun = False
        self._callbacks: dict[Callable[[], object], None] = {}
        _drains.add(self)

    @property
    def begun(self) -> bool:
        """Whether the server is about to stop."""
        return self._begun

    def begin(self) -> None:
        """Call all callbacks, once."""
        self._begun = True
        for callback in tuple(self._callbacks):
            self._call_once(callback)

    def call(self, callback: Callable[[], object]) -> Callable[[], object]:
        """Have ``callback`` called when it begins, or now if it has. It must not block nor raise.

        :returns: The callback, for :meth:`forget`.
        """
        self._callbacks[callback] = None
        if self._begun:
            self._call_once(callback)
        return callback

    def forget(self, callback: Callable[[], object] | None) -> None:
        """Do not call it any more."""
        if callback is not None:
            self._callbacks.pop(callback, None)

    def _call_once(self, callback: Callable[[], object]) -> None:
        try:
            del self._callbacks[callback]
        except KeyError:  # it was called or forgotten a moment ago
            return
        callback()


def watch_signals() -> bool:
    """Begin all drains of this process on a signal to stop, and then do what was done before.

    Python lets only the main thread do this. Once is enough, unless another handler was put in
    place of this one meanwhile, as servers do when they start.

    :returns: Whether the signals are watched.
    """
    unwatched = [number for number in SIGNALS if not _is_watched(signal.getsignal(number))]
    if not unwatched:
        return True
    if threading.current_thread() is not threading.main_thread():
        return False
    for number in unwatched:
        signal.signal(number, _Begin(signal.getsignal(number)))
    return True


SAME_WITHIN = 1.0
"""Seconds within which a second signal is the first one once more: service managers signal all
processes of a group, and a server's main process then signals its workers again."""


class Insistence:
    """Distinguishes a second signal that insists from one that was sent twice."""

    def __init__(self) -> None:
        self._first_at: float | None = None

    def is_first(self) -> bool:
        """Whether no signal has come before; to be asked once for each."""
        if self._first_at is not None:
            return False
        self._first_at = monotonic()
        return True

    def insists(self) -> bool:
        """Whether one that is not the first is meant to be another one."""
        return self._first_at is not None and monotonic() - self._first_at >= SAME_WITHIN


_Delay = Callable[[Callable[[], None]], None]

_delays: weakref.WeakKeyDictionary[object, _Delay] = weakref.WeakKeyDictionary()


def delay_end(owner: object, finish: _Delay) -> None:
    """Have ``finish`` called when a watched signal comes, in place of what the signal did before.

    It gets that as a function, which it calls when it is done, on the main thread. A second signal,
    a second later or more, does not wait for it.

    :param owner: Once it is collected, nothing is called for it.
    """
    _delays[owner] = finish


def begin_drains() -> None:
    """Begin all drains of this process, in any thread."""
    for drain in tuple(_drains):
        drain.begin()


class _Begin:
    """A signal's handler that begins all drains first.

    :param before: The handler that it takes the place of.
    """

    def __init__(self, before: Any) -> None:
        self._before = before
        self._delayed = False
        self._signals = Insistence()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        begin_drains()
        if self._signals.is_first():
            delays = list(_delays.values())
            self._delayed = bool(delays)
            self._end_after(delays, number, frame)
        elif not self._delayed or self._signals.insists():
            self._end_after([], number, frame)

    def _end_after(self, delays: list[_Delay], number: int, frame: FrameType | None) -> None:
        if delays:
            delays.pop()(lambda: self._end_after(delays, number, None))
        elif callable(self._before):
            self._before(number, frame)
        elif self._before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def _is_watched(handler: Any) -> bool:
    """Whether there is nothing to do: it is ours, or there is no telling what it does, or nothing.

    One that is ignored ends nothing, as Ctrl-C in the background of a script.
    """
    return isinstance(handler, _Begin) or handler in (None, signal.SIG_IGN)
