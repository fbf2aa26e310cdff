"""A chat: all who have the page open read at once what is said. Thousands may have it open.

Run it on an event loop, where an open page costs no thread::

    flask --app examples/chat/app concurrency serve --asgi --workers 1

and open http://127.0.0.1:8000/ twice. What is said is kept in this one process: with more than one
worker, let them tell each other by a channel of Redis.
"""

from __future__ import annotations

import os

from flask import Flask, Response, abort, render_template, request

from flask_concurrency import Concurrency

from .room import Room

LONGEST = 500
"""Characters of a message."""

app = Flask(__name__)
app.config["HEARTBEAT"] = float(os.environ.get("HEARTBEAT", 15))
concurrency = Concurrency(app)
room = Room(remembered=100)


@app.get("/")
def page() -> str:
    """The page."""
    return render_template("chat.html", longest=LONGEST)


@app.get("/messages")
@concurrency.limit("5000 in flight")
def listen() -> Response:
    """Send what is said, beginning with what this browser missed while it was cut off."""
    return concurrency.event_stream(room.listen, heartbeat=app.config["HEARTBEAT"])


@app.post("/messages")
@concurrency.limit("30/minute")
def say() -> tuple[str, int]:
    """Send a message to all in the room."""
    name = request.form.get("name", "").strip()
    text = request.form.get("text", "").strip()
    if not name or not text or len(name) > 40 or len(text) > LONGEST:
        abort(400, f"Give a name, and a text of at most {LONGEST} characters.")
    room.say(name, text)
    return "", 204


asgi = concurrency.asgi_app(app)
"""For servers that are told what to run: ``uvicorn --app-dir examples chat.app:asgi``."""
