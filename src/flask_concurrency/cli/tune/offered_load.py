"""Send requests to a server of this machine, so many at once, or so many a second. Judges nothing.

Many at once tells what it can do; many a second, each sent at its instant whether others have been
answered or not, tells how long clients would wait: latency counts from that instant, so that a
server that stalls is not asked less for it.
"""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter, sleep
from typing import Final

TIMEOUT: Final = 10.0
"""Seconds after which an answer is taken for none."""
MOST_SENDERS: Final = 128


@dataclass(slots=True)
class Answers:
    """What came back.

    :ivar latencies: Seconds of each answer.
    :ivar statuses: Answers by status; 0 for none.
    :ivar answered_at: When each came, of each sender by itself.
    :ivar throughput: Answers a second, of :func:`many_at_once`.
    """

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    answered_at: list[list[float]] = field(default_factory=list)
    throughput: float = 0.0

    @property
    def refused(self) -> int:
        """Answers that say no: 4xx, 5xx, or none."""
        return sum(number for status, number in self.statuses.items() if not 100 < status < 400)


def steady_rate(answered_at: Sequence[Sequence[float]], seconds: float) -> float:
    """Answers a second while each sender had a request under way all the time.

    Little's law: as many as there are senders, by the time from one answer of a sender to its next.
    Until each was answered once, they queue up; what is under way at the end is answered after it,
    and counts. Requests that wait equally long are answered in waves, so that between two instants
    there may be more or fewer of them; in the time of a sender there are not.

    :param answered_at: When each sender was answered, the first one first.
    :param seconds: How long all of it took: what counts where few were answered twice.
    """
    between = sum(at[-1] - at[0] for at in answered_at if at)
    number = sum(len(at) - 1 for at in answered_at if at)
    if between <= 0 or 2 * number < len(answered_at):
        return sum(map(len, answered_at)) / seconds
    return len(answered_at) * number / between


def many_at_once(
    port: int,
    path: str,
    number: int,
    seconds: float,
    *,
    keep: bool = True,
    timeout: float = TIMEOUT,
) -> Answers:
    """Keep a number of requests under way, each sent when the one before is answered.

    :param keep: Whether requests follow each other on one connection. Several workers share the
        requests as clients spread them only if each comes on a connection of its own.
    :param timeout: Seconds after which an answer is taken for none.
    """
    began_at = perf_counter()
    end_at = began_at + seconds
    answers = Answers()

    def send() -> None:
        ask = _asker(port, path, answers, keep=keep, timeout=timeout)
        while (now := perf_counter()) < end_at:
            ask(now)

    _together([send] * number)
    answers.throughput = steady_rate(answers.answered_at, perf_counter() - began_at)
    return answers


def many_a_second(
    port: int,
    path: str,
    rate: float,
    seconds: float,
    *,
    keep: bool = True,
    timeout: float = TIMEOUT,
) -> Answers:
    """Send requests at their instants, whatever has become of those before.

    Parameters as of :func:`many_at_once`.
    """
    began_at = perf_counter()
    answers = Answers()
    number = max(1, int(rate * seconds))
    turn = iter(range(number))
    lock = threading.Lock()

    def send() -> None:
        ask = _asker(port, path, answers, keep=keep, timeout=timeout)
        while True:
            with lock:
                place = next(turn, None)
            if place is None:
                return
            due_at = began_at + place / rate
            sleep(max(0.0, due_at - perf_counter()))
            ask(due_at)

    _together([send] * min(number, MOST_SENDERS))
    return answers


def _asker(
    port: int, path: str, answers: Answers, *, keep: bool, timeout: float
) -> Callable[[float], None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    fields = {} if keep else {"Connection": "close"}
    answered_at: list[float] = []
    answers.answered_at.append(answered_at)

    def ask(due_at: float) -> None:
        status = 0
        try:
            connection.request("GET", path, headers=fields)
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            connection.close()
            sleep(0.01)
        now = perf_counter()
        answered_at.append(now)
        answers.latencies.append(now - due_at)
        answers.statuses[status] += 1

    return ask


def _together(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
