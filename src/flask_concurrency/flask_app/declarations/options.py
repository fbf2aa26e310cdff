"""Check what a limit is declared with, where it is written, so that no request meets a mistake.

Knows options and their values; knows no app and no request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import get_args

from flask import Response

from flask_concurrency.admission.limiter import check_cost
from flask_concurrency.engine.declaration import Declaration, Stage
from flask_concurrency.flask_app.http.rate_limit_fields import check_name
from flask_concurrency.vocabulary.errors import ConfigurationError
from flask_concurrency.vocabulary.limits import Adaptive, LimitLike, read_limits
from flask_concurrency.vocabulary.request_functions import RESPONSE, check_function

KNOWN_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
)


class Limits:
    """Limits with options, for ``default_limits`` and ``app_limits``.

    .. code-block:: python

        Concurrency(app, default_limits=["10/hour", Limits("5/minute", methods=["POST"])])

    The options are those of :meth:`Concurrency.limit`, but for ``replace``: nothing is wider.

    :ivar declaration: What was written, checked.
    :raises ConfigurationError: Anything of it is malformed.
    """

    def __init__(
        self,
        *limits: LimitLike,
        key: Callable[[], object] | None = None,
        cost: int | Callable[[], int] = 1,
        methods: Iterable[str] | None = None,
        exempt_when: Callable[[], bool] | None = None,
        name: str | None = None,
        at: Stage = "arrival",
        charge_when: Callable[[Response], bool] | None = None,
        final_cost: Callable[[Response], int] | None = None,
        shadow: bool = False,
        static: bool = False,
    ) -> None:
        if at == "call":
            raise ConfigurationError(
                'Limits(..., at="call"): no decorator stands anywhere for limits of the app. Give '
                '"view", or put limit(..., at="call") on the view.'
            )
        self.declaration = declare(
            limits,
            key=key,
            cost=cost,
            methods=methods,
            exempt_when=exempt_when,
            name=name,
            at=at,
            charge_when=charge_when,
            final_cost=final_cost,
            shadow=shadow,
            static=static,
            example='Limits("5/minute", methods=["POST"])',
        )


LimitsLike = LimitLike | Limits | Declaration | Iterable["LimitsLike"]
"""What ``default_limits`` and ``app_limits`` may be written as."""


def declare(
    limits: tuple[LimitLike, ...],
    *,
    key: Callable[[], object] | None,
    cost: int | Callable[[], int],
    methods: Iterable[str] | None,
    exempt_when: Callable[[], bool] | None,
    name: str | None,
    at: Stage,
    charge_when: Callable[[Response], bool] | None,
    final_cost: Callable[[Response], int] | None,
    shadow: bool,
    static: bool = False,
    replace: bool = False,
    example: str = 'limit("5/minute")',
) -> Declaration:
    """Check limits and their options; see :meth:`Concurrency.limit`.

    :param example: How it is written right.
    :raises ConfigurationError: Anything of it is malformed.
    """
    if not limits:
        raise ConfigurationError(f"{example.partition('(')[0]}() needs a limit, as in {example}.")
    read = read_limits(limits)
    if any(isinstance(limit, Adaptive) for limit in read):
        _check_adaptive(cost=cost, at=at, charge_when=charge_when, exempt_when=exempt_when)
    return Declaration(
        limits=read,
        key=None if key is None else check_function("key", key),
        cost=check_function("cost", cost) if callable(cost) else check_cost(cost, written="cost"),
        methods=None if methods is None else _checked_methods(methods),
        exempt_when=None if exempt_when is None else check_function("exempt_when", exempt_when),
        replace=_checked_choice("replace", replace),
        name=None if name is None else check_name(name),
        at=_checked_stage(at),
        charge_when=(
            None if charge_when is None else check_function("charge_when", charge_when, RESPONSE)
        ),
        final_cost=(
            None if final_cost is None else check_function("final_cost", final_cost, RESPONSE)
        ),
        shadow=_checked_choice("shadow", shadow),
        static=_checked_choice("static", static),
    )


def _check_adaptive(*, cost: object, **options: object) -> None:
    """Refuse options that a limit cannot have that learns how many requests it may admit.

    :raises ConfigurationError: Naming the option.
    """
    senseless = [option for option, value in options.items() if value not in (None, "arrival")]
    if cost != 1:
        senseless.insert(0, "cost")
    if senseless:
        raise ConfigurationError(
            f'{senseless[0]}= means nothing for "adaptive", which is asked before all else and '
            "counts requests: leave it out, or declare the other limits in another call."
        )


def read_declarations(written: LimitsLike) -> tuple[Declaration, ...]:
    """Turn what was written for an app into declarations, in the order written.

    :raises ConfigurationError: Naming the text, the place in it, and an example.
    """
    return tuple(_declarations(written))


def _declarations(written: LimitsLike) -> Iterator[Declaration]:
    if isinstance(written, Declaration):
        yield written
    elif isinstance(written, Limits):
        yield written.declaration
    elif isinstance(written, Mapping):
        raise ConfigurationError(
            f"{dict(written)!r}: options stand in no dict; write Limits, as in "
            'Limits("5/minute", methods=["POST"]).'
        )
    elif isinstance(written, Iterable) and not isinstance(written, str):
        for part in written:
            yield from _declarations(part)
    else:
        yield Declaration(read_limits(written))


def _checked_choice(option: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{option}={value!r}: give True or False.")
    return value


def _checked_stage(at: Stage) -> Stage:
    if at not in get_args(Stage):
        raise ConfigurationError(f'at={at!r}: give "arrival", "view" or "call".')
    return at


def _checked_methods(methods: Iterable[str]) -> frozenset[str]:
    names = [methods] if isinstance(methods, str) else list(methods)
    unknown = [name for name in names if name not in KNOWN_METHODS]
    if unknown or not names:
        raise ConfigurationError(
            f'methods={names!r}: name HTTP methods in capitals, as in methods=["POST"].'
        )
    # As Flask does for routes: a limit on GET holds for HEAD, the same without its body.
    return frozenset({*names, "HEAD"} if "GET" in names else names)
