"""All listeners receive what is said, and what they missed while they were cut off."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

EXAMPLES = Path(__file__).parents[2] / "examples"
GIVE_UP = 30


def heard(answer: requests.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Number and content of each message, as they come in."""
    number = ""
    for line in answer.iter_lines(chunk_size=1):
        field, _, value = line.decode().partition(": ")
        if field == "id":
            number = value
        elif field == "data":
            yield number, json.loads(value)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["uvicorn", "granian-asgi"])
def test_what_is_said_is_heard_by_all(serve_all: Callable[..., str], server: str) -> None:
    """At once, by connected clients; later, by clients that come back; in any number."""
    url = serve_all("examples/chat/app", server) + "/messages"

    def say(text: str) -> int:
        return requests.post(url, data={"name": "Ada", "text": text}, timeout=GIVE_UP).status_code

    with ExitStack() as leaving:
        listeners = [
            leaving.enter_context(requests.get(url, stream=True, timeout=GIVE_UP))
            for _ in range(20)
        ]
        rooms = [heard(listener) for listener in listeners]
        assert say("hello") == 204
        assert [next(room) for room in rooms] == [("1", {"name": "Ada", "text": "hello"})] * 20
        listeners[0].close()
        assert say("still\nhere?") == 204
        assert [next(room)[1]["text"] for room in rooms[1:]] == ["still\nhere?"] * 19
        back = leaving.enter_context(
            requests.get(url, stream=True, timeout=GIVE_UP, headers={"Last-Event-ID": "1"})
        )
        assert next(heard(back)) == ("2", {"name": "Ada", "text": "still\nhere?"})
        back = leaving.enter_context(  # from before a restart
            requests.get(url, stream=True, timeout=GIVE_UP, headers={"Last-Event-ID": "99"})
        )
        assert next(heard(back))[0] == "1"
        assert say("") == 400


@pytest.mark.slow
def test_a_server_that_is_told_to_end_does_not_wait_for_its_listeners(tmp_path: Path) -> None:
    """It ends their streams itself; otherwise it would wait until it is killed."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "chat.app:asgi"]
        server = subprocess.Popen(
            [*command, "--log-level=warning", f"--fd={bound.fileno()}"],
            pass_fds=[bound.fileno()],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        )
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/messages"
        try:
            with requests.get(url, stream=True, timeout=GIVE_UP) as listener:
                server.send_signal(signal.SIGTERM)
                assert list(heard(listener)) == []
                assert server.wait(GIVE_UP) == -signal.SIGTERM
        finally:
            server.kill()
            server.wait()
