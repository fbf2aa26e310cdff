"""Run a request whole on a thread of the pool, and send from the loop what it answers.

Knows neither how the client's messages come in nor which requests come here.

A body that has begun to go out keeps its thread: a generator may keep what belongs to one thread,
such as a SQLite connection. A body that says it is portable leaves the thread and is read on the
loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flask_concurrency.asgi.answer import Answers, reply_to, say, send_all
from flask_concurrency.asgi.disconnect_watch import DisconnectWatch
from flask_concurrency.asgi.environ import ON_DEADLINE, PORTABLE
from flask_concurrency.asgi.inbox import READ_AHEAD, Inbox
from flask_concurrency.asgi.input_stream import declared_length
from flask_concurrency.asgi.interface import Message, Send
from flask_concurrency.asgi.on_loop import answer_on_loop
from flask_concurrency.asgi.prompt_future import PromptFuture
from flask_concurrency.asgi.reply import Reply, Streamed, Whole, close_body
from flask_concurrency.asgi.thread_answers import ThreadAnswers
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.own_context import OwnContext
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.vocabulary.errors import ExecutorShutdown, QueueFull

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment


ANSWERS_WITHIN: Final = 0.05
"""Seconds after its deadline in which a view whose tasks have failed may answer by itself."""


class Portable(NamedTuple):
    """A body that may be read anywhere."""

    body: Iterable[bytes] | Streamed

    async def given(self) -> Iterable[bytes] | Streamed:
        """The body, to those who await one."""
        return self.body

    def close(self) -> None:
        """Close it unread."""
        if isinstance(self.body, Streamed):
            self.body.close()
        else:
            close_body(self.body)


class ThreadRequest:
    """One request, its thread, and the messages between them.

    :param answers: Answers it.
    :param threads: The pool.
    :param loop: The server's loop.
    :param told: Brings the thread's answer to that loop.
    :param late: Answers where the application has not at the request's deadline.
    :param max_body: Gives the bytes of a body that are read at all; ``None`` for any number.
    :ivar started: The pool has taken it.
    """

    def __init__(
        self,
        answers: Answers,
        environ: WSGIEnvironment,
        inbox: Inbox,
        send: Send,
        *,
        threads: ThreadExecutor,
        loop: LoopThread,
        told: ThreadAnswers,
        late: WSGIApplication,
        max_body: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._told = told
        self._answers = answers
        self._environ = environ
        self._inbox = inbox
        self._send = send
        self._threads = threads
        self._loop = loop
        self._max_body = max_body
        self._own = OwnContext(Context())
        self._reply = reply_to(environ)
        self._sender: asyncio.Task[Any] | None = None
        self.started = False
        self._late = late
        self._waiting: PromptFuture[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answered = self._overdue = False
        self._loop_here = told.loop
        self._withdraw: Callable[[], object] | None = None
        environ[ON_DEADLINE] = self._on_deadline

    async def serve(self) -> Awaitable[None] | None:
        """Answer the request.

        :returns: What sends a stream, to be awaited when this has been.
        :raises QueueFull: The pool has no slot for it.
        :raises Exception: What the application raised and did not answer itself.
        """
        length = declared_length(self._environ)
        # A body that is refused or that the client waits to be asked for is not awaited here.
        if length and "HTTP_EXPECT" not in self._environ:
            most = self._max_body()
            if most is None or length <= most:
                await self._inbox.read_ahead(min(length, READ_AHEAD))  # no thread waits for it
        if self._inbox.gone:
            return None
        self._waiting = PromptFuture(self._loop_here)
        watch = DisconnectWatch(self._inbox, self)
        watch.start()  # before: once the pool has the call, two threads want the interpreter
        try:
            self._withdraw = self._threads.submit_with_callback(
                self._own, self._made, partial(self._told.tell, self)
            )
            self.started = True
            answer = await self._waiting
        except asyncio.CancelledError:
            self.cancel()
            self._close_unread(self._waiting)
            if self._overdue:
                await send_all(self._say_late(), self._inbox, self._send)
                return None
            if not watch.acted:
                raise
            return None
        finally:
            watch.stop()
            self._withdraw = None  # it leads back here
            self._environ.pop(ON_DEADLINE, None)  # and so does this
            if self._timer is not None:
                self._timer.cancel()
        if isinstance(answer, Portable):
            return await answer_on_loop(
                answer.given(), self._own.context, self._reply, self._inbox, self._send
            )
        await send_all(answer, self._inbox, self._send)
        return None

    def _made(self) -> Sequence[Message] | Portable:
        """Runs in the thread. Gives what is left to send, or a body to be read on the loop."""
        body = self._answers(self._environ, self._reply)
        self._answered = True  # what is sent may take as long as it takes
        if isinstance(body, Streamed) or (
            PORTABLE in self._environ and not isinstance(body, Whole)
        ):
            answer = Portable(body)
            if not self._inbox.gone:
                return answer
            answer.close()
            return ()
        return say(self._reply, body, self._inbox, self._wait_for_server)

    def lose_answer(self, answer: Any) -> None:
        """The loop is closed, and no one waits."""
        if isinstance(answer, Portable):
            answer.close()

    def take_answer(self, answer: Any, error: BaseException | None) -> None:
        """Go on with what the thread has answered; on the loop."""
        waiting = self._waiting
        assert waiting is not None
        if waiting.done():  # the client has left, or the deadline has passed
            if isinstance(answer, Portable):
                self._close_elsewhere(answer)
        elif error is None:
            waiting.set_result(answer)
        elif isinstance(error, CancelledError | asyncio.CancelledError):
            waiting.cancel()
        else:
            waiting.set_exception(error)

    def _on_deadline(self, seconds: float) -> None:
        self._loop_here.call_soon_threadsafe(self._set_timer, seconds)

    def _set_timer(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds + ANSWERS_WITHIN, self._expire)

    def _expire(self) -> None:
        """The view blocks past its deadline: answer in its place; the thread cannot be stopped."""
        if not self._answered and self._waiting is not None and not self._waiting.done():
            self._overdue = True
            self._waiting.cancel()

    def _say_late(self) -> list[Message]:
        reply = Reply()
        body = self._late(self._environ, reply.start_response)
        try:
            return list(reply.messages(body))
        finally:
            close_body(body)

    def _wait_for_server(self, messages: Sequence[Message]) -> None:
        self._loop.run(self._sending(messages))

    async def _sending(self, messages: Sequence[Message]) -> None:
        self._sender = asyncio.current_task()
        try:
            if not self._inbox.gone:
                await send_all(messages, self._inbox, self._send)
        except asyncio.CancelledError:
            if not self._inbox.gone:
                raise
        finally:
            self._sender = None

    def cancel(self) -> None:
        """Drop what the thread still sends, and do not let it wait for a client that has left."""
        self._inbox.gone = True
        if self._withdraw is not None:
            self._withdraw()
        if self._sender is not None:  # gunicorn (27) would wait for ever until the client reads
            self._sender.cancel()

    def _close_unread(self, waiting: PromptFuture[Any]) -> None:
        """Close a body that came when its request was about to be cancelled."""
        with suppress(BaseException):  # what the thread raised, or no answer
            answer = waiting.result()
            if isinstance(answer, Portable):
                self._close_elsewhere(answer)

    def _close_elsewhere(self, answer: Portable) -> None:
        # The loop cannot wait for its end here.
        try:
            self._threads.submit_in(self._own, answer.close)
        except (QueueFull, ExecutorShutdown):  # the permits it holds must not wait for a slot
            self._loop_here.run_in_executor(None, self._own, answer.close, (), {})
