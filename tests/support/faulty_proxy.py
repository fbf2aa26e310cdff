"""Stand between a Redis client and its server, and do what bad networks and peers do."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal

Fault = Literal["none", "delay", "black hole", "reset amid the reply", "reply"]

DELAY = 0.05
LOOKS_EVERY = 0.05
"""Seconds after which its threads look whether they are to end."""
RESET = struct.pack("ii", 1, 0)
"""For ``SO_LINGER``: close with a reset, whatever is still to be sent."""


class FaultyProxy:
    """Forwards connections to a port of this host.

    :ivar fault: What it does from now on, to connections that are open, too. ``"delay"`` holds each
        command for 50 ms, ``"black hole"`` takes them and never answers, ``"reset amid the reply"``
        sends half of it, ``"reply"`` answers scripts with :attr:`reply`, and all else as it is.
    :ivar reply: What ``"reply"`` answers with.
    """

    def __init__(self, server: int) -> None:
        self.fault: Fault = "none"
        self.reply = b""
        self._server = server
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends = threading.Event()

    def __enter__(self) -> FaultyProxy:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, name="proxy")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ends.is_set():
            if not select.select([self._listener], [], [], LOOKS_EVERY)[0]:
                continue
            client, _ = self._listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self._server))
            except OSError:  # it is down
                client.close()
            else:
                self._start(self._forward, client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while not self._ends.is_set():
                ready, _, _ = select.select([client, server], [], [], LOOKS_EVERY)
                if client in ready and not self._send_command(client, server):
                    return
                if server in ready and not self._send_reply(client, server):
                    return

    def _send_command(self, client: socket.socket, server: socket.socket) -> bool:
        sent = client.recv(65_536)
        if self.fault == "delay":
            self._ends.wait(DELAY)
        if self.fault == "reply" and b"EVAL" in sent.upper():
            client.sendall(self.reply)
        elif self.fault != "black hole":
            server.sendall(sent)
        return bool(sent)

    def _send_reply(self, client: socket.socket, server: socket.socket) -> bool:
        said = server.recv(65_536)
        if self.fault == "reset amid the reply":
            client.sendall(said[: len(said) // 2])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return False
        client.sendall(said)
        return bool(said)
