"""The functions a limit asks: which are refused where they are written, and what they may give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, abort, request
from werkzeug.local import LocalProxy

from flask_concurrency import Concurrency, ConfigurationError, Limits, Rate
from flask_requests import statuses


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    return Concurrency(app, store="memory://")


async def asynchronous() -> Any: ...


class Asynchronous:
    async def __call__(self) -> Any: ...


def generator() -> Iterator[str]:
    yield "me"


def takes_a_request(request: object) -> Any: ...


def default_name(name: str = "ada") -> str:
    return name


REFUSED = [
    (asynchronous, "async"),
    (Asynchronous(), "async"),
    (generator, "generator"),
    (takes_a_request, "argument"),
    (LocalProxy(lambda: "ada"), "proxy"),
]


@pytest.mark.parametrize(("function", "why"), REFUSED)
@pytest.mark.parametrize("option", ["key", "exempt_when", "cost", "limit"])
def test_a_function_that_cannot_work_is_refused_where_it_is_written(
    concurrency: Concurrency, option: str, function: Any, why: str
) -> None:
    """Coroutine functions, generators, wrong parameters: none of them says anything in time."""
    limits = (function,) if option == "limit" else ("5/minute",)
    options: dict[str, Any] = {} if option == "limit" else {option: function}
    with pytest.raises(ConfigurationError, match=why):
        concurrency.limit(*limits, **options)
    with pytest.raises(ConfigurationError, match=why):
        Limits(*limits, **options)


def test_what_is_asked_with_the_response_takes_it(concurrency: Concurrency) -> None:
    """``charge_when`` without a parameter would fail in each response."""
    with pytest.raises(ConfigurationError, match="argument"):
        concurrency.limit("5/minute", charge_when=lambda: True)  # type: ignore[misc, arg-type]


def test_the_key_of_the_extension_is_checked_alike() -> None:
    """Nor does it come to a request."""
    with pytest.raises(ConfigurationError, match="argument"):
        Concurrency(key=takes_a_request)  # type: ignore[arg-type]


def test_functions_with_defaults_and_builtins_are_fine(concurrency: Concurrency) -> None:
    """Only what cannot be called is refused."""
    concurrency.limit("5/minute", key=default_name, exempt_when=bool)


class User:
    """A user without a text of its own."""


async def identity() -> str:
    return "ada"


TEXTLESS: list[Callable[[], object]] = [
    User,
    lambda: [User()],
    lambda: (each for each in "ab"),
    lambda: identity(),
    lambda: identity,
    lambda: {"a", "b"},
]


@pytest.mark.parametrize("key", TEXTLESS)
def test_a_key_without_a_text_of_its_own_is_refused_loudly(
    app: Flask, concurrency: Concurrency, key: Callable[[], object]
) -> None:
    """Its address in memory would count each request as a new client, or as another's."""

    @app.get("/")
    @concurrency.limit("1/hour", key=key)
    def index() -> str:
        return "hello"

    app.testing = True
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="has no text of its own"):
            app.test_client().get("/")


@pytest.mark.parametrize("key", [42, 4.5, True, b"ab", ("a", 1), frozenset()])
def test_other_keys_are_counted_by_their_text(
    app: Flask, concurrency: Concurrency, key: object
) -> None:
    """Numbers, tuples and the like say the same in each process."""

    @app.get("/")
    @concurrency.limit("1/hour", key=lambda: key)
    def index() -> str:
        return "hello"

    if key == frozenset():
        app.testing = True
        with pytest.raises(ConfigurationError):
            app.test_client().get("/")
    else:
        assert statuses(app, times=2) == [200, 429]


RAISING: list[tuple[str, Callable[[], Any], int]] = [
    ("key", lambda: request.args["name"], 400),
    ("key", lambda: abort(403), 403),
    ("key", lambda: 1 // 0, 500),
    ("cost", lambda: request.args["n"], 400),
    ("exempt_when", lambda: 1 // 0, 500),
    ("limit", lambda: abort(403), 403),
]


@pytest.mark.parametrize(("option", "function", "status"), RAISING)
def test_a_function_that_raises_frees_from_no_other_limit(
    app: Flask, concurrency: Concurrency, option: str, function: Callable[[], Any], status: int
) -> None:
    """The others are asked and charged first, so that errors cannot be asked for without end."""
    limits: tuple[Any, ...] = (function,) if option == "limit" else ("100/hour",)
    options: dict[str, Any] = {} if option == "limit" else {option: function}

    @app.get("/")
    @concurrency.limit("2/hour")
    @concurrency.limit("2 in flight")
    @concurrency.limit(*limits, **options)
    def index() -> str:
        return "hello"

    assert statuses(app, times=4) == [status, status, 429, 429]


def test_permits_come_back_where_a_key_raised(app: Flask, concurrency: Concurrency) -> None:
    """What the other limits granted ends with the request."""

    @app.get("/")
    @concurrency.limit("1 in flight")
    @concurrency.limit("100/hour", key=lambda: request.args["name"])
    def index() -> str:
        return "hello"

    assert statuses(app, times=3) == [400, 400, 400]
    assert statuses(app, "/?name=ada") == [200]


def test_units_of_the_others_are_settled_where_a_key_raised(
    app: Flask, concurrency: Concurrency
) -> None:
    """The error's response decides as any other one does."""

    @app.get("/")
    @concurrency.limit("1/hour", charge_when=lambda response: response.status_code == 200)
    @concurrency.limit("100/hour", key=lambda: request.args["name"])
    def index() -> str:
        return "hello"

    assert statuses(app, times=3) == [400, 400, 400]


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        ("3", [200, 200, 200, 429]),
        ("0", [200] * 10 + [429]),  # costs 1
        ("-5", [200] * 10 + [429]),
        ("x", [400, 400]),
        ("1" * 30, [429, 429]),
        ("1" * 5000, [400, 400]),
    ],
)
def test_a_cost_that_a_client_chooses_is_bounded(
    app: Flask, concurrency: Concurrency, n: str, expected: list[int]
) -> None:
    """At least one unit, never an error of the server, and nothing is given to the client."""

    @app.get("/")
    @concurrency.limit("10/hour", cost=lambda: int(request.args["n"]))
    def index() -> str:
        return "hello"

    assert statuses(app, f"/?n={n}", times=len(expected)) == expected


def test_a_cost_that_a_client_spoils_is_counted_by_the_others(
    app: Flask, concurrency: Concurrency
) -> None:
    """400, but not without end."""

    @app.get("/")
    @concurrency.limit("2/hour")
    @concurrency.limit("10/hour", cost=lambda: int(request.args["n"]))
    def index() -> str:
        return "hello"

    assert statuses(app, "/?n=x", times=3) == [400, 400, 429]


@pytest.mark.parametrize("option", ["exempt_when", "charge_when"])
def test_an_answer_that_must_be_awaited_is_refused(
    app: Flask, concurrency: Concurrency, option: str
) -> None:
    """A coroutine is true, whatever it would say."""

    async def no() -> bool:
        return False

    def asks(*response: Response) -> Any:
        return no()

    options: dict[str, Any] = {option: asks}

    @app.get("/")
    @concurrency.limit(Rate("1/hour"), **options)
    def index() -> str:
        return "hello"

    app.testing = True
    with pytest.raises(ConfigurationError, match="await"):
        app.test_client().get("/")


def test_a_cost_that_is_known_after_the_work_is_settled(
    app: Flask, concurrency: Concurrency
) -> None:
    """What was reserved too much comes back, what is missing is spent, to nothing at most."""

    @app.get("/<int:rows>")
    @concurrency.limit("20/hour", cost=5, final_cost=lambda response: int(response.headers["Rows"]))
    def index(rows: int) -> Response:
        return Response("rows", headers={"Rows": str(rows)})

    def left() -> int:
        with app.test_client().get("/5") as response:
            return int(response.headers["RateLimit"].partition("r=")[2].partition(";")[0])

    assert statuses(app, "/1") == [200]
    assert left() == 14  # 20 - 1 - 5
    assert statuses(app, "/9") == [200]  # 5 reserved, 9 charged: 5 are left
    assert statuses(app, "/99") == [200]  # as many as are left
    assert statuses(app, "/1") == [429]


def test_a_function_that_raises_frees_from_no_other_charge(
    app: Flask, concurrency: Concurrency
) -> None:
    """Each limit is settled by its own function."""

    @app.get("/")
    @concurrency.limit("20/hour", name="refunds", final_cost=lambda response: 1 // 0)
    @concurrency.limit("20/hour", name="rows", final_cost=lambda response: 20)
    def index() -> str:
        return "rows"

    assert statuses(app, times=2) == [500, 429]


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "off", "none"])
def test_a_text_that_says_no_is_no_yes(app: Flask, concurrency: Concurrency, text: str) -> None:
    """Texts of the environment are true to Python, whatever they say."""

    @app.get("/")
    @concurrency.limit("1/hour", exempt_when=lambda: text)  # type: ignore[arg-type, return-value]
    def index() -> str:
        return "shop"

    app.testing = False
    assert statuses(app, times=2) == [500, 500]
    text = "yes"
    assert statuses(app, times=2) == [200, 200]


def test_a_final_cost_must_be_a_number(app: Flask, concurrency: Concurrency) -> None:
    """Our fault, not the client's."""

    @app.get("/")
    @concurrency.limit("20/hour", final_cost=lambda response: "many")  # type: ignore[arg-type, return-value]
    def index() -> str:
        return "rows"

    app.testing = True
    with pytest.raises(ConfigurationError, match="final_cost"):
        app.test_client().get("/")
