"""The guards by themselves: what a request that matters more is given, and what others yield."""

from __future__ import annotations

from flask_concurrency.policies.overload import BUSY, YIELDED, OverloadGuards


def capped(cap: float, inside: int) -> OverloadGuards:
    """Guards with a cap that was found, and so many requests inside."""
    guards = OverloadGuards(1.0)
    for _ in range(inside):
        guards.enter(0.0, 0.0)
    guards.late.cap = cap
    return guards


def test_others_yield_to_a_critical_request_that_found_no_place() -> None:
    """For a second they fill three quarters of their share, and then all of it again."""
    guards = capped(cap=8.0, inside=11)
    assert guards.refuses(0.0, 0.0, "critical") == "cap"
    for entry in list(guards.late._inside)[:5]:
        guards.late.leave(entry, 0.1)
    assert guards.late.in_flight == 6 == int(8 * YIELDED)
    assert guards.refuses(0.2, 0.0) == "cap"
    assert guards.refuses(0.2, 0.0, "critical") is None
    assert guards.refuses(BUSY, 0.0) is None


def test_nothing_is_yielded_while_critical_requests_find_a_place() -> None:
    """A class may use all that the others leave."""
    guards = capped(cap=8.0, inside=7)
    assert guards.refuses(0.0, 0.0, "critical") is None
    assert guards.refuses(0.0, 0.0) is None
