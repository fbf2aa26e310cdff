"""Declare a function as a job: it stays callable, and can be submitted. Knows no ledger."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from flask_concurrency.flask_app.jobs.job import Job
from flask_concurrency.vocabulary.errors import ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")


class Session(Protocol):
    """A session of SQLAlchemy, or what stands for one, as ``db.session`` does."""

    def __call__(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """What may be said of one submit.

    :ivar key: Idempotency key. Default: the ``Idempotency-Key`` of the request, if there is one.
    :ivar delay: Seconds for which it is not started.
    :ivar owner: Whose it is. Default: whose request this is.
    :ivar after_commit: A session; the job is submitted when it commits.
    """

    key: str | None = None
    delay: float = 0.0
    owner: str | None = None
    after_commit: Any = None


Submit = Callable[["DeclaredJob[Any, Any]", tuple[Any, ...], dict[str, Any], SubmitOptions], Job]


class DeclaredJob(Generic[P, T]):
    """A function that was declared as a job; to call it runs it at once, here.

    :ivar function: The function.
    :ivar name: Under which it is submitted, and found by workers.
    :ivar queue: Its queue.
    :ivar options: What was declared beside.
    """

    def __init__(
        self,
        function: Callable[P, T],
        *,
        name: str | None,
        queue: str,
        options: dict[str, Any],
        submit: Submit,
    ) -> None:
        _check(function, name, queue)
        self.function = function
        self.name: str = name or function.__name__
        self.queue = queue
        self.options = options
        self._submit = submit
        self._parameters = inspect.signature(function)
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function here and now."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<job {self.name!r}>"

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Have the function called by a worker; when this returns, the job is kept.

        :raises TypeError: The function does not take these arguments.
        :raises JobNotJson: An argument is not JSON, or they are too large.
        :raises TooManyJobs: As many are queued as may be.
        :raises IdempotencyConflict: The idempotency key was used for other arguments.
        :raises JobsUnavailable: It cannot be kept at the moment, so it was not accepted.
        """
        return self._submit_with(SubmitOptions(), args, kwargs)

    def with_options(
        self,
        *,
        key: str | None = None,
        delay: float = 0.0,
        owner: str | None = None,
        after_commit: Any = None,
    ) -> SubmitWith[P]:
        """Say more of one submit: ``build_report.with_options(delay=60).submit(2026)``.

        :param key: Idempotency key: what is submitted again with the same one and the same
            arguments is the same job. Default: the ``Idempotency-Key`` of the request.
        :param delay: Seconds for which it is not started.
        :param owner: Whose it is. Default: whose request this is.
        :param after_commit: A session of SQLAlchemy, such as ``db.session``: the job is submitted
            when it commits, and never if it rolls back.
        """
        return SubmitWith(self, SubmitOptions(key, delay, owner, after_commit))

    def _submit_with(
        self, options: SubmitOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Job:
        self._parameters.bind(*args, **kwargs)  # a mistake is raised here, not in a worker
        return self._submit(self, args, kwargs, options)


@dataclass(frozen=True, slots=True)
class SubmitWith(Generic[P]):
    """A job with options for one submit."""

    job: DeclaredJob[P, Any]
    options: SubmitOptions

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """As :meth:`DeclaredJob.submit`, with these options."""
        return self.job._submit_with(replace(self.options), args, kwargs)


def _check(function: object, name: object, queue: object) -> None:
    if not callable(function) or inspect.isclass(function):
        raise ConfigurationError(f"job({function!r}): decorate a function.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"job({function!r}): a generator returns nothing to keep. Return the result, and tell "
            "of progress with concurrency.jobs.current.progress(...)."
        )
    for what, text in (("name", name), ("queue", queue)):
        if text is not None and (not isinstance(text, str) or not text.strip() or len(text) > 200):
            raise ConfigurationError(f"job({what}={text!r}): give a short text.")
    if name is None and not getattr(function, "__name__", "").isidentifier():
        raise ConfigurationError(f"job({function!r}): it has no name of its own; give name=.")
