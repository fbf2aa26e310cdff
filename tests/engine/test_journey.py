"""A journey knows what every gate has said, whenever it is asked for."""

from __future__ import annotations

from flask_concurrency import InFlight, Rate
from flask_concurrency.admission.gate import Gate
from flask_concurrency.admission.limiter import Limiter
from flask_concurrency.engine.journey import NOT_ASKED, Journey
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.limits import Limit
from flask_concurrency.vocabulary.permit import Ending


def gate(limit: Limit) -> Gate:
    """A gate with one limit of one client."""
    limiter = Limiter(name=limit.text, id=limit.text, limit=limit, key=lambda: "k")
    return Gate([limiter], MemoryStore(clock=ManualClock()))


def test_what_was_looked_at_before_is_not_kept() -> None:
    """Verdicts are made when they are asked for, and anew once another gate was asked."""
    journey = Journey()
    assert journey.decision is NOT_ASKED
    journey.ask(gate(Rate("5/minute")))
    assert [verdict.remaining for verdict in journey.decision.verdicts] == [4]
    journey.ask(gate(InFlight(3)))
    names = [verdict.name for verdict in journey.decision.verdicts]
    assert names == ["5/minute", "3 in flight"]
    assert journey.decision is journey.decision
    journey.end(Ending.COMPLETED)


def test_a_journey_holds_a_permit_until_its_end() -> None:
    """A rate gives nothing back, so there is nothing to end; a permit returns."""
    journey, one = Journey(), gate(InFlight(1))
    journey.ask(gate(Rate("5/minute")))
    assert not journey.has_anything_to_end
    journey.ask(one)
    assert journey.has_anything_to_end
    assert journey.holds_permit
    assert not one.acquire().admitted
    journey.end(Ending.COMPLETED)
    again = one.acquire()
    assert again.admitted
    assert again.permit is not None
    again.permit.release()
