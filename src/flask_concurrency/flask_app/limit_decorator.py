"""What ``limit()`` gives: a decorator for routes, and a block for anything else.

Knows how a block joins its request; decides no limit.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import replace
from functools import cached_property, partial
from types import TracebackType
from typing import Any, Final, TypeVar

from flask import Blueprint, Flask, has_request_context, request

from flask_concurrency.admission.answer import Answer
from flask_concurrency.engine.declaration import Declaration
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.current_journey import journey_of
from flask_concurrency.flask_app.hooks import ask_at_call
from flask_concurrency.flask_app.http.responses import (
    REFUSED_UNASKED,
    BadCost,
    cannot_count,
    refusal,
)
from flask_concurrency.vocabulary.errors import ConfigurationError, StoreError, UnreadableCost
from flask_concurrency.vocabulary.limits import Adaptive, DynamicLimit, InFlight
from flask_concurrency.vocabulary.permit import Ending

Target = TypeVar("Target", bound=Any)
Outcome = TypeVar("Outcome")


class _NoView(ConfigurationError, AttributeError):
    """Tools that look for a name find none; Flask shows the message."""


class LimitDecorator:
    """A declared limit, ready to be put on a view, a class or a blueprint, or around a block.

    :ivar used: Whether it was put on anything or around a block.
    """

    def __init__(
        self,
        declaration: Declaration,
        apply: Callable[[Any], Any],
        current_state: Callable[[], AppState],
    ) -> None:
        self._declaration = declaration
        self._apply = apply
        self._current_state = current_state
        self._inside: list[Answer] = []
        self.used = False

    @property
    def __name__(self) -> str:
        """What Flask asks a view for, and this is none.

        :raises ConfigurationError: Always.
        """
        raise _NoView(
            "@concurrency.limit stands above a view without its limit, or is used as a view: "
            'write @concurrency.limit("5/minute").'
        )

    def __call__(self, target: Target) -> Target:
        """Limit a view function, a ``View`` class, a method of one, or a blueprint.

        In a request, as in ``method_decorators`` of Flask-RESTX, it is asked when ``target`` is
        called, since its route is decided by then.

        :raises ConfigurationError: With ``at="call"`` it is no function.
        """
        self.used = True
        shared = isinstance(target, type | Flask | Blueprint)
        if self._declaration.at == "call":
            if shared or not callable(target):
                raise ConfigurationError(
                    f'at="call" asks where the decorator stands, and {target!r} is no function: '
                    "put it on a view or a method, or into the list 'decorators' of a class."
                )
            decorated: Target = self._apply(self._asking(target, self._declaration))
        elif has_request_context() and not shared and callable(target):
            decorated = self._asking(target, self._declared_in_request)
        else:
            decorated = self._apply(target)
        return decorated

    @cached_property
    def _declared_in_request(self) -> Declaration:
        return replace(self._declaration, at="call")

    def _asking(self, target: Any, declaration: Declaration) -> Any:
        """A function that asks before it calls ``target``, if there is a request to limit."""

        def check() -> None:
            ask_at_call(self._current_state(), declaration)

        if inspect.iscoroutinefunction(target):

            @functools.wraps(target)
            async def asking(*args: Any, **kwargs: Any) -> Any:
                if has_request_context():
                    await _run(check)
                return await target(*args, **kwargs)
        else:

            @functools.wraps(target)
            def asking(*args: Any, **kwargs: Any) -> Any:
                if has_request_context():
                    check()
                return target(*args, **kwargs)

        return asking

    def __enter__(self) -> LimitDecorator:
        """Take what the block costs.

        :raises Refusal: A limit refuses; Flask answers 429 or 503 unless it is caught.
        :raises ConfigurationError: The limit has no name.
        :raises LoopBlocked: It would wait in a task of an event loop; there, use ``async with``.
        """
        self._enter(self._take())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give back what was held; units of a rate stay spent."""
        _give_back(self._leave(), error)

    async def __aenter__(self) -> LimitDecorator:
        """Take what the block costs; others on the loop go on while it waits.

        :raises Refusal: A limit refuses; Flask answers 429 or 503 unless it is caught.
        :raises ConfigurationError: The limit has no name.
        """
        self._enter(await _run(self._take))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give back what was held; units of a rate stay spent."""
        await _run(partial(_give_back, self._leave(), error))

    def chooses_by(self, functions: Collection[Any]) -> str | None:
        """The name of the first of these functions that it takes for one that gives limits."""
        for limit in self._declaration.limits:
            if isinstance(limit, DynamicLimit) and limit.choose in functions:
                return limit.choose.__qualname__
        return None

    def _take(self) -> Answer:
        self.used = True
        self._check_block()
        try:
            answer = self._current_state().ask_block(self._declaration)
        except StoreError as error:
            _join(Answer.of(REFUSED_UNASKED))
            raise cannot_count() from error
        _join(answer)
        if not answer.admitted:
            raise refusal(answer.decision)
        if answer.error is not None:
            _give_back(answer, answer.error)
            if isinstance(answer.error, UnreadableCost):
                raise BadCost() from answer.error
            raise answer.error
        return answer

    def _enter(self, answer: Answer) -> None:
        self._inside.append(answer)
        _entered.set((*_entered.get(), (self, answer)))

    def _leave(self) -> Answer:
        blocks = _entered.get()
        for index in reversed(range(len(blocks))):
            apply, answer = blocks[index]
            if apply is self:
                blocks = (*blocks[:index], *blocks[index + 1 :])
                _entered.set(blocks)
                with suppress(ValueError):  # it was left in another context
                    self._inside.remove(answer)
                    return answer
        # Entered in another context, as by a generator that another thread closes. Whichever of
        # them is taken for it, in the end all are given back.
        return self._inside.pop()

    def _check_block(self) -> None:
        declared = self._declaration
        if declared.name is None:
            raise ConfigurationError(
                "A block belongs to no route, so it needs a name to be counted by, as in "
                'limit("3/day", name="sms").'
            )
        if declared.methods is not None or declared.replace:
            raise ConfigurationError(
                f"The block {declared.name!r} belongs to no route, so methods= and replace= mean "
                "nothing for it: leave them out."
            )
        counts_clients = any(
            not isinstance(limit, InFlight | Adaptive) for limit in declared.limits
        )
        if counts_clients and declared.key is None and not has_request_context():
            raise ConfigurationError(
                f"The block {declared.name!r} runs outside of a request, where there is no client "
                'to count: say whom to count, as in limit("3/day", name="sms", key=lambda: phone).'
            )
        if declared.settled_by_response and not has_request_context():
            raise ConfigurationError(
                f"The block {declared.name!r} runs outside of a request, where no response will "
                "say what is charged: leave charge_when= and final_cost= out."
            )


# A block may be entered by many requests at once, and again inside itself. One variable for all
# marks: those of blocks are made anew for each request, and a thread's context never forgets one.
_entered: Final[ContextVar[tuple[tuple[LimitDecorator, Answer], ...]]] = ContextVar(
    "limit_blocks", default=()
)


_joining = threading.Lock()


def _give_back(answer: Answer, error: BaseException | None) -> None:
    if answer.permit is not None:
        answer.permit.release(Ending.COMPLETED if error is None else Ending.ABANDONED)


def _join(answer: Answer) -> None:
    """Add the decision of a block to the current request, if there is one, and settle it.

    The permit is the block's own: in a task it may last longer than the request.
    """
    if has_request_context():
        with _joining:  # the tasks of one request may all be in a block
            journey_of(request.environ).join(answer.without_permit())


async def _run(function: Callable[[], Outcome]) -> Outcome:
    """Run what may wait, without holding up the loop."""
    from flask_concurrency.runtime.greenlet_bridge import run_suspendable

    return await run_suspendable(function, copy_context())
