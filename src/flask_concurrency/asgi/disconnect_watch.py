"""Notice that a client has left while its request is being worked on. Knows no application."""

from __future__ import annotations

import asyncio
import threading
from contextvars import Context, copy_context
from typing import Protocol

from flask_concurrency.asgi.inbox import Inbox
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.asgi")

LOOK_AFTER = 0.2
"""Seconds after which a request is watched, twice as many at most. Most are answered before, and
need no watch, which takes nearly as long as a small request itself."""


class Cancellable(Protocol):
    """What a client waits for."""

    def cancel(self) -> object: ...


class DisconnectWatch:
    """Awaits the disconnect of one client, from a while after :meth:`start` until :meth:`stop`.

    :param inbox: The client's messages.
    :param work: Cancelled once, if the client has left and the sender has not noticed.
    :ivar acted: Whether it was.
    """

    __slots__ = ("_inbox", "_started", "_task", "_work", "acted")

    def __init__(self, inbox: Inbox, work: Cancellable) -> None:
        self._inbox = inbox
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._started = False
        self.acted = False

    def start(self) -> None:
        """Watch soon, on the loop of the request; a second call changes nothing."""
        if not self._started:
            self._started = True
            watch_timer.add(self)

    def stop(self) -> None:
        """Stop watching; nothing is called from now on."""
        if self._started:
            watch_timer.discard(self)
            if self._task is not None:
                self._task.cancel()

    def begin(self, context: Context) -> None:
        """Begin to watch.

        :param context: The context variables of the task.
        """
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._watch(), name="disconnect watch", context=context)

    async def _watch(self) -> None:
        inbox = self._inbox
        try:
            if not await inbox.until_ended():
                return
            # Received right here: it may take hours, and each coroutine between takes 200 bytes.
            while not inbox.gone:
                if not inbox.note(await inbox.receive()):
                    return
        except Exception:
            logger.exception("The server cannot tell any more whether a client is there")
            return
        # In the step in which the sender can see it, too: a turn later it may be closing the body,
        # which is not to be cancelled. Nor is it if the sender has found out by itself.
        if not inbox.noticed:
            self.acted = True
            self._work.cancel()


class WatchTimer(threading.local):
    """Begins the watches of a thread's loop when they are due: one timer for all of them.

    A timer for each would cost more than all the rest of a watch that never begins.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._new: set[DisconnectWatch] = set()
        self._seen: set[DisconnectWatch] = set()

    def add(self, watch: DisconnectWatch) -> None:
        """Begin this one when the next round but one is made."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._new, self._seen = loop, set(), set()
            loop.call_later(LOOK_AFTER, self._begin_due, loop)
        self._new.add(watch)

    def discard(self, watch: DisconnectWatch) -> None:
        """Leave this one alone."""
        self._new.discard(watch)
        self._seen.discard(watch)

    def _begin_due(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return  # another one has taken its place on this thread
        due, self._seen, self._new = self._seen, self._new, set()
        context = copy_context()  # one for all: each task would make one of its own, of 64 bytes
        for watch in due:
            watch.begin(context)
        if self._seen:
            loop.call_later(LOOK_AFTER, self._begin_due, loop)
        else:
            self._loop = None


watch_timer = WatchTimer()
