"""An app with seven extensions, none of which knows of ASGI, answers alike on both interfaces."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
from collections.abc import Callable, Coroutine, Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask import Flask

from asgi_exchange import ask

MODULE = Path(__file__).parents[1] / "apps" / "seven_extensions.py"

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Ask = Callable[..., Coroutine[Any, Any, "Said"]]


class Said(NamedTuple):
    """What an app answered."""

    status: int
    text: str
    cookie: str | None


class Visitor:
    """A browser that keeps one cookie."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._cookie = ""
        self.seen: list[tuple[str, int, str]] = []

    async def get(self, path: str) -> str:
        return await self._send("GET", path)

    async def post(self, path: str, body: str = "", kind: str = "") -> str:
        return await self._send("POST", path, body, kind)

    async def fill_in(self, path: str, name: str) -> str:
        form = await self.get(path)
        (token,) = re.findall(r'name="csrf_token"[^>]*value="([^"]+)"', form)
        return await self.post(path, f"name={name}&csrf_token={token}", FORM)

    async def _send(self, method: str, path: str, body: str = "", kind: str = "") -> str:
        fields = [("Cookie", self._cookie)] if self._cookie else []
        fields += [("Content-Type", kind)] if kind else []
        said = await self._ask(path, method, fields, body.encode())
        if said.cookie is not None:
            self._cookie = said.cookie
        self.seen.append((f"{method} {path}", said.status, _comparable(said.text)))
        return said.text


FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[[str], Flask]]:
    """Make the app for one interface, with a database of its own."""
    make = runpy.run_path(str(MODULE))["make_app"]
    made: list[Flask] = []

    def make_in(name: str) -> Flask:
        directory = tmp_path / name
        directory.mkdir()
        made.append(make(directory))
        return made[-1]

    yield make_in
    for app in made:
        executors = app.extensions["concurrency"].executors
        executors.threads.shutdown()
        executors.loop.shutdown()
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()


def on_wsgi(app: Flask) -> Ask:
    client = app.test_client(use_cookies=False)

    async def send(path: str, method: str, fields: list[tuple[str, str]], body: bytes) -> Said:
        answer = client.open(path, method=method, headers=fields, data=body)
        return Said(answer.status_code, answer.text, _cookie(answer.headers.get("Set-Cookie")))

    return send


def on_asgi(app: Flask) -> Ask:
    async def send(path: str, method: str, fields: list[tuple[str, str]], body: bytes) -> Said:
        answer = await ask(app.extensions["asgi"], path, method, fields=fields, body=body)
        return Said(answer.status, answer.text, _cookie(answer.get("set-cookie")))

    return send


@pytest.mark.parametrize("kind", ["", "async-"])
def test_a_visit_is_the_same_on_both_interfaces(
    make_app: Callable[[str], Flask], run: Run, kind: str
) -> None:
    """Forms, logins, sessions, tables, caches, the admin's pages and the API."""

    async def visit(visitor: Visitor) -> list[tuple[str, int, str]]:
        await visitor.get(f"/{kind}me")
        await visitor.post(f"/{kind}register", "name=Eve", FORM)
        await visitor.fill_in(f"/{kind}register", "")
        await visitor.fill_in(f"/{kind}register", "Ada")
        await visitor.post(f"/{kind}login/Nobody")
        await visitor.post(f"/{kind}login/Ada")
        await visitor.get(f"/{kind}me")
        await visitor.get(f"/{kind}me")
        await visitor.get(f"/{kind}cached")
        await visitor.get(f"/{kind}cached")
        await visitor.post("/api/users", json.dumps({"name": "Grace"}), JSON)
        await visitor.post("/api/users", json.dumps({"nom": "Linus"}), JSON)
        await visitor.get("/api/users")
        await visitor.get("/api/nothing")
        await visitor.get("/admin/")
        await visitor.get("/admin/people/")
        await visitor.post("/logout")
        await visitor.get(f"/{kind}me")
        return visitor.seen

    wsgi = run(visit(Visitor(on_wsgi(make_app("wsgi")))))
    asgi = run(visit(Visitor(on_asgi(make_app("asgi")))))
    assert asgi == wsgi
    statuses = [status for _, status, _ in wsgi]
    assert statuses == [
        401,
        *(400, 200, 400, 200, 201),
        *(404, 200, 200, 200, 200, 200),
        *(201, 400, 200, 404, 200, 200, 200, 401),
    ]
    said = [text for _, _, text in wsgi]
    assert [json.loads(text)["visits"] for text in said[8:10]] == [1, 2]
    assert said[10] == said[11] == "computed 1"
    assert json.loads(said[14]) == [{"name": "Ada"}, {"name": "Grace"}]
    assert "Grace" in said[17]


def test_200_interleaved_requests_keep_what_is_their_own(
    make_app: Callable[[str], Flask], run: Run
) -> None:
    """Request, ``g``, session, user and database session, across awaits, groups and threads."""
    names = [f"user{number}" for number in range(10)]

    async def crowd() -> list[list[Any]]:
        send = on_asgi(make_app("asgi"))
        visitors = []
        for name in names:
            visitor = Visitor(send)
            await visitor.fill_in("/register", name)
            await visitor.post(f"/login/{name}")
            visitors.append(visitor)
        said = await asyncio.gather(
            *(visitors[number % 10].get(f"/interleaved/{number}/200") for number in range(200))
        )
        return [json.loads(text) for text in said]

    sessions = set()
    for number, found in enumerate(run(crowd())):
        *own, database_session = found[0]
        view_args = {"number": number, "among": 200}
        assert own == [names[number % 10], number, view_args, number, number]
        assert found == [found[0]] * 3
        sessions.add(database_session)
    assert len(sessions) == 200


def _cookie(field: str | None) -> str | None:
    if field is None:
        return None
    return "; ".join(f"{key}={morsel.value}" for key, morsel in SimpleCookie(field).items())


def _comparable(text: str) -> str:
    """Without what is drawn by chance."""
    return re.sub(r'(name="csrf_token"[^>]*value=)"[^"]+"', r"\1", text)
