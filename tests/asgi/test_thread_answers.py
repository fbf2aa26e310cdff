"""What threads answer comes to the loop, which is woken no more often than it has to be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flask_concurrency.asgi.thread_answers import ThreadAnswers


class Loop:
    """Stands in for a loop: keeps what it was woken for until the test lets it go on."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []
        self.closed = False

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.due.append(callback)

    def is_closed(self) -> bool:
        return self.closed

    def go_on(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()


class Request:
    """Notes what it was told."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.taken: list[tuple[Any, BaseException | None]] = []
        self.lost: list[Any] = []

    def take_answer(self, answer: Any, error: BaseException | None) -> None:
        self.taken.append((answer, error))
        if self.fails:
            raise ValueError(answer)

    def lose_answer(self, answer: Any) -> None:
        self.lost.append(answer)
        if self.fails:
            raise OSError(answer)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def answers(loop: Loop) -> ThreadAnswers:
    stand_in: Any = loop
    return ThreadAnswers(stand_in)


def test_the_loop_is_woken_once_for_many(loop: Loop, answers: ThreadAnswers) -> None:
    """And again for what comes after it has looked."""
    one, other, error = Request(), Request(), OSError()
    answers.tell(one, "a", None)
    answers.tell(other, None, error)
    assert len(loop.due) == 1
    loop.go_on()
    assert (one.taken, other.taken) == ([("a", None)], [(None, error)])
    answers.tell(one, "b", None)
    assert len(loop.due) == 1
    loop.go_on()
    assert one.taken == [("a", None), ("b", None)]


def test_one_that_fails_keeps_nothing_from_the_others(loop: Loop, answers: ThreadAnswers) -> None:
    """They come in the loop's next turn."""
    bad, good = Request(fails=True), Request()
    answers.tell(bad, "a", None)
    answers.tell(good, "b", None)
    with pytest.raises(ValueError, match="a"):
        loop.go_on()
    loop.go_on()
    assert good.taken == [("b", None)]
    assert not loop.due


def test_answers_for_a_closed_loop_are_lost_aloud(loop: Loop, answers: ThreadAnswers) -> None:
    """Those on the way as well, and each that comes later."""
    request = Request()
    loop.closed = True
    answers.tell(request, "a", None)
    answers.tell(request, "b", None)
    assert request.lost == ["a", "b"]
    assert not request.taken


def test_threads_may_tell_while_the_loop_looks() -> None:
    """No answer is left behind, on a loop as servers have it."""

    async def story() -> list[int]:
        loop = asyncio.get_running_loop()
        answers, come = ThreadAnswers(loop), asyncio.Event()
        taken: list[int] = []

        class Counting(Request):
            def take_answer(self, answer: Any, error: BaseException | None) -> None:
                taken.append(answer)
                if len(taken) == 4_000:
                    come.set()

        def tell() -> None:
            for number in range(1_000):
                answers.tell(Counting(), number, None)

        await asyncio.gather(*[asyncio.to_thread(tell) for _ in range(4)])
        await asyncio.wait_for(come.wait(), 30)
        return taken

    assert sorted(asyncio.run(story())) == sorted([*range(1_000)] * 4)


def test_an_answer_whose_body_cannot_be_closed_keeps_no_other(
    loop: Loop, answers: ThreadAnswers, caplog: pytest.LogCaptureFixture
) -> None:
    """What its closing raises is logged."""
    bad, good = Request(fails=True), Request()
    answers.tell(bad, "a", None)
    answers.tell(good, "b", None)
    loop.closed = True
    answers.tell(good, "c", None)
    assert (bad.lost, good.lost) == (["a"], ["b", "c"])
    assert "could not be closed" in caplog.text
