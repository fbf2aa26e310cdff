"""Run scripts on the server: one command each, within a time, with errors in our words.

Knows no key and no policy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from flask_concurrency.runtime.greenlet_bridge import can_suspend, in_thread
from flask_concurrency.stores.redis.connections import (
    Caller,
    Client,
    check_options,
    connect,
    disconnect,
    end_within,
    scan,
)
from flask_concurrency.stores.redis.scripts import Script
from flask_concurrency.stores.redis.url import Address
from flask_concurrency.vocabulary.errors import StoreError, StoreUnavailable

NONSENSE = (TypeError, ValueError, LookupError, AttributeError)
"""What the client library makes of an answer that no Redis gives."""

ERRORS = (RedisError, RedisClusterException, OSError, *NONSENSE)

FOREIGN = "WRONGTYPE"
"""In what the server says of a key that holds something else than the command is for."""

PROBE = "redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) return {1, 2}"
PROBE_REPLY = [1, 2]

MOST_SHOWN = 60
"""Characters of a strange answer that are shown."""

PROBED_FOR = 1_000
"""Milliseconds the key lives by which it is seen whether the server takes writes."""

SCANNED = 500
"""Keys looked at in one command: the server does nothing else meanwhile, a fraction of a
millisecond."""


THREADS = 8
"""Calls at once for requests on an event loop; at 0.2 ms each, 40,000 a second."""


class ScriptClient:
    """Runs scripts on one server or cluster.

    :param address: Where it is.
    :param timeout: Seconds a call takes at most.
    :raises ConfigurationError: An option of the URL is wrong.
    """

    def __init__(self, address: Address, *, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        check_options(address)
        self._client: Client | None = None
        self._call: Caller | None = None
        self._connecting = threading.Lock()
        self._threads = _threads()

    def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]
    ) -> list[int]:
        """Run a script; one command, unless the server has not seen the script or lost it.

        For a request on an event loop it is run in a thread: the loop never waits for the server.

        :raises StoreUnavailable: No answer in time, or one that every call would get.
        :raises StoreError: A key holds something that is not ours.
        """
        if can_suspend():
            return in_thread(self._threads, self._run, script, keys, arguments)
        return self._run(script, keys, arguments)

    def _run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]
    ) -> list[int]:
        end_within(self._timeout)
        try:
            call = self._call or self._connected()
            reply: list[int]
            # As text: hiredis 3.5 crashes where a signal's handler raises while it packs an int.
            number = str(len(keys))
            try:
                reply = call("EVALSHA", script.sha, number, *keys, *arguments)
            except NoScriptError:
                reply = call("EVAL", script.text, number, *keys, *arguments)
            return reply
        except ERRORS as error:
            raise self._translated(error) from error

    def run_packed(self, packed: bytes, numbers: int) -> list[int] | None:
        """Run a script that the server has seen; one command, packed already.

        For a request on an event loop it is run in a thread: the loop never waits for the server.

        :param numbers: How many whole numbers the script answers.
        :returns: The numbers; ``None`` where the script did not run: to ask by :meth:`run` tells
            why not, or mends it.
        :raises StoreUnavailable: No answer in time, or none of a script of ours.
        """
        if can_suspend():
            return in_thread(self._threads, self._run_packed, packed, numbers)
        return self._run_packed(packed, numbers)

    def _run_packed(self, packed: bytes, numbers: int) -> list[int] | None:
        end_within(self._timeout)
        try:
            call = self._call or self._connected()
            if not call.exchanges:
                return None
            reply = call.exchange(packed, numbers)
        except ERRORS as error:
            raise self._translated(error) from error
        if type(reply) is list:
            return reply
        if reply[:1] == b"-":
            return None
        raise self.misunderstood(reply)

    def probe(self, key: str) -> None:
        """See whether the server answers and takes writes.

        :raises StoreUnavailable: It does not.
        """
        reply = self._do("EVAL", PROBE, 1, key, PROBED_FOR)
        if reply != PROBE_REPLY:
            raise self.misunderstood(reply)

    def misunderstood(self, reply: object) -> StoreUnavailable:
        """The error of an answer that no script of ours gives."""
        shown = repr(reply)
        if len(shown) > MOST_SHOWN:
            shown = shown[:MOST_SHOWN] + "…"
        return StoreUnavailable(f"{self._address.text!r} is no Redis: it answered {shown}.")

    def find(self, pattern: str) -> Iterator[list[bytes]]:
        """Find the keys a glob pattern names, some at a time; one command for each some.

        A key that is there from the beginning to the end is found, perhaps twice. Between two
        commands all else may happen on the server, so what was found may be deleted meanwhile.

        :param pattern: Of one slot, where there is a cluster: it begins with a hash tag.
        :raises StoreUnavailable: The server does not answer.
        """
        cursor = 0
        while True:
            cursor, keys = self._scan(pattern, cursor)
            if keys:
                yield keys
            if not cursor:
                return

    def delete(self, keys: Sequence[str] | Sequence[bytes]) -> int:
        """Delete keys; returns how many there were.

        :raises StoreUnavailable: The server does not answer or takes no writes.
        """
        deleted = self._do("DEL", *keys)
        if not isinstance(deleted, int):
            raise self.misunderstood(deleted)
        return deleted

    def close(self) -> None:
        """Close all connections; another call opens them again."""
        threads, self._threads = self._threads, _threads()
        threads.shutdown()
        if self._client is not None:
            with suppress(RedisError, OSError):
                disconnect(self._client)

    def _do(self, *command: str | bytes | int) -> Any:
        end_within(self._timeout)
        try:
            return (self._call or self._connected())(*command)
        except ERRORS as error:
            raise self._translated(error) from error

    def _scan(self, pattern: str, cursor: int) -> tuple[int, list[bytes]]:
        end_within(self._timeout)
        try:
            self._connected()
            assert self._client is not None
            return scan(self._client, pattern, cursor, SCANNED)
        except ERRORS as error:
            raise self._translated(error) from error

    def _connected(self) -> Caller:
        """What calls the server, made by the first call: a cluster's asks for its nodes at once."""
        with self._connecting:
            if self._call is None:
                self._client = connect(self._address)
                self._call = Caller(self._client)
            return self._call

    def _translated(self, error: Exception) -> StoreError:
        words = (str(error) or type(error).__name__).rstrip(".")
        if isinstance(error, ResponseError) and FOREIGN in words:
            return StoreError(
                f"{self._address.text!r} holds something under a key of ours: {words}. Remove "
                "the key, or choose another namespace."
            )
        return StoreUnavailable(f"{self._address.text!r} is of no use: {words}.")


def _threads() -> ThreadPoolExecutor:
    """Where requests on an event loop call the server; a thread starts when one does."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="concurrency-redis")
