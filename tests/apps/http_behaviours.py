"""An ordinary Flask app that shows what a request came with, on plain views and on async ones.

Every view is there twice: below ``/sync`` as a function, below ``/async`` as a coroutine function.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flask import (
    Flask,
    Response,
    abort,
    jsonify,
    make_response,
    redirect,
    request,
    send_file,
    session,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_concurrency import Concurrency

app = Flask(__name__)
app.secret_key = "not a secret"
app.config["MAX_CONTENT_LENGTH"] = 200_000
app.config["CONCURRENCY_STORE"] = "memory://"
app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1, x_prefix=1)  # type: ignore[method-assign]
concurrency = Concurrency(app)

View = Callable[..., ResponseReturnValue]


def both(rule: str, **options: Any) -> Callable[[View], View]:
    """Register a view and its asynchronous twin."""

    def register(view: View) -> View:
        async def twin(**arguments: Any) -> ResponseReturnValue:
            await asyncio.sleep(0)
            return view(**arguments)

        app.add_url_rule(f"/sync{rule}", f"sync_{view.__name__}", view, **options)
        app.add_url_rule(f"/async{rule}", f"async_{view.__name__}", twin, **options)
        return view

    return register


@both("/hello")
def hello() -> ResponseReturnValue:
    return f"Hello, {request.args.get('name', 'World')}!"


@both("/path/<path:rest>")
def path(rest: str) -> ResponseReturnValue:
    return jsonify(rest=rest, info=request.environ["PATH_INFO"], script=request.script_root)


@both("/slash/")
def slash() -> ResponseReturnValue:
    return "with a slash"


@both("/headers")
def headers() -> ResponseReturnValue:
    return jsonify(many=request.headers["X-Many"].replace(" ", ""), odd=request.headers["X-Odd"])


@both("/cookies")
def cookies() -> ResponseReturnValue:
    response = make_response(jsonify(request.cookies))
    response.set_cookie("one", "1")
    response.set_cookie("two", "2")
    return response


@both("/visits")
def visits() -> ResponseReturnValue:
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@both("/echo", methods=["POST", "PUT"])
def echo() -> ResponseReturnValue:
    return Response(request.get_data(), mimetype="application/octet-stream")


@both("/form", methods=["POST"])
def form() -> ResponseReturnValue:
    files = {name: storage.read().decode() for name, storage in request.files.items()}
    return jsonify(form=request.form, files=files)


@both("/lines", methods=["POST"])
def lines() -> ResponseReturnValue:
    return jsonify([len(line) for line in request.stream])


@both("/json", methods=["POST"])
def json() -> ResponseReturnValue:
    return jsonify(request.get_json())


@both("/unread", methods=["POST"])
def unread() -> ResponseReturnValue:
    return "not read"


@both("/teapot")
def teapot() -> ResponseReturnValue:
    abort(418)


@both("/broken")
def broken() -> ResponseReturnValue:
    raise RuntimeError("broken on purpose")


@both("/nothing")
def nothing() -> ResponseReturnValue:
    return "", 204


@both("/fields")
def fields() -> ResponseReturnValue:
    return "fields", [("X-Latin", "caf\xe9"), ("X-Many", "a"), ("X-Many", "b")]


@both("/tagged")
def tagged() -> ResponseReturnValue:
    response = make_response("tagged")
    response.set_etag("abc")
    return response.make_conditional(request)


@both("/stream")
def stream() -> ResponseReturnValue:
    def parts() -> Iterator[str]:
        for number in range(3):
            yield f"{number} of {request.path}\n"

    return Response(stream_with_context(parts()), mimetype="text/plain")


@both("/counted-stream")
def counted_stream() -> ResponseReturnValue:
    return Response(iter([b"ab", b"", b"cd"]), headers={"Content-Length": "4"})


@both("/large")
def large() -> ResponseReturnValue:
    return Response(b"0123456789" * 100_000, mimetype="application/octet-stream")


FILE = Path(tempfile.gettempdir()) / f"http-behaviours-{os.getuid()}.txt"


@both("/file")
def file() -> ResponseReturnValue:
    FILE.write_text("0123456789" * 10)
    return send_file(FILE, mimetype="text/plain", etag="file", last_modified=1_000_000_000)


@both("/there")
def there() -> ResponseReturnValue:
    return redirect(url_for("sync_hello", _external=True))


@both("/client")
def client() -> ResponseReturnValue:
    return jsonify(scheme=request.scheme, host=request.host, secure=request.is_secure)


waiting: list[str] = []
left: list[str] = []


@app.get("/wait/<name>")
@concurrency.limit("1 in flight", name="wait")
async def wait(name: str) -> ResponseReturnValue:
    waiting.append(name)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        left.append(name)
    return "never"


@app.get("/who-waits")
async def who_waits() -> ResponseReturnValue:
    return jsonify(waiting=waiting, left=left)


@app.get("/place")
@concurrency.limit("1 in flight", name="wait")
def place() -> ResponseReturnValue:
    return "free"


asgi = concurrency.asgi_app(app)
