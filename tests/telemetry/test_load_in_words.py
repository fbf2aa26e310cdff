"""What two readings of the counters tell, and how it is said."""

from __future__ import annotations

import pytest

from flask_concurrency.telemetry.counters import Counters
from flask_concurrency.telemetry.in_words import (
    Facts,
    JobFacts,
    duration,
    per_second,
    percent,
    summary,
)
from flask_concurrency.telemetry.load import (
    LimitLoad,
    Load,
    difference,
    jobs_of,
    limits_of,
    load_of,
    mean_wait,
    quantile,
    routes_of,
)
from flask_concurrency.telemetry.metrics import JOBS, LIMIT_DECISIONS, LIMIT_WAITS, REQUEST_DURATION


def counted() -> Counters:
    """Some requests, as middleware would count them."""
    counters = Counters(None)
    for status, route, seconds in (
        ("200", "/a", 0.02),
        ("200", "/a", 0.2),
        ("429", "/a", 0.001),
        ("503", "/b", 0.001),
        ("500", "/b", 0.03),
        ("504", "/b", 3.0),
        ("404", "", 0.001),
        ("200", "/_concurrency/data.json", 0.01),
    ):
        counters.add(REQUEST_DURATION.observed(seconds, "GET", route, status))
    return counters


def test_load_is_told_by_what_became_of_requests() -> None:
    """A refusal is no error, and what only watches is no load."""
    load = load_of(counted().totals(), without="/_concurrency")
    assert (load.requests, load.good, load.refused, load.errors, load.late) == (7, 2, 2, 1, 1)
    assert load.mean == pytest.approx(3.253 / 7)


def test_a_difference_is_what_was_added() -> None:
    """What is new counts whole; what has not grown is left out."""
    counters = counted()
    before = counters.totals()
    counters.add(REQUEST_DURATION.observed(0.01, "GET", "/c", "200"))
    counters.add(REQUEST_DURATION.observed(0.01, "GET", "/a", "200"))
    changes = difference(before, counters.totals())
    assert load_of(changes).requests == 2
    assert {name[2] for name in changes} == {"/a", "/c"}


def test_routes_are_told_by_the_time_they_took() -> None:
    """A refusal takes next to none, and would make a slow route look quick."""
    first, second, *_ = routes_of(counted().totals())
    assert (first.route, second.route) == ("/b", "/a")
    assert (second.p50, second.p95) == (0.025, 0.25)


def test_limits_are_told_by_whom_they_kept_out() -> None:
    """A shadow keeps no request out."""
    counters = Counters(None)
    for limit, result, times in (
        ("route:5/minute", "admitted", 50),
        ("route:2 in flight", "busy", 3),
        ("route:2 in flight", "gave_up", 4),
        ("shadow", "would_refuse", 9),
    ):
        counters.add([LIMIT_DECISIONS.once(limit, "/a", result, amount=times)])
    first, *others = limits_of(counters.totals())
    assert (first.limit, first.refused) == ("route:2 in flight", 7)
    assert [each.refused for each in others] == [0, 0]


def test_a_quantile_is_the_bound_of_its_bucket() -> None:
    """What is beyond the last one counts as twice that."""
    buckets = [0] * (len(REQUEST_DURATION.bounds) + 1)
    assert quantile(REQUEST_DURATION, buckets, 0.5) == 0.0
    buckets[2], buckets[-1] = 9, 1
    assert quantile(REQUEST_DURATION, buckets, 0.5) == 0.025
    assert quantile(REQUEST_DURATION, buckets, 1.0) == 20.0


def test_a_wait_is_told_exactly() -> None:
    """The bound of a bucket may be more than twice as long."""
    counters = Counters(None)
    counters.add(LIMIT_WAITS.observed(0.3, "a"))
    counters.add(LIMIT_WAITS.observed(1.9, "b"))
    assert mean_wait(counters.totals()) == pytest.approx(1.1)
    assert mean_wait({}) == 0.0


BUSY = LimitLoad("route:8 in flight", "/report", {"busy": 41, "admitted": 59})
CLIENTS = LimitLoad("route:5/minute", "/login", {"over_quota": 3})
SHED = LimitLoad("app:adaptive", "", {"shed": 50})


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        (Facts(), "idle", "No requests."),
        (
            Facts(load=Load(requests=100, good=100, seconds=2.0), seconds=5),
            "good",
            "All well: 20 requests a second, 20 ms each.",
        ),
        (
            Facts(
                load=Load(requests=100, good=59, refused=41),
                limits=[BUSY],
                waiting=12,
                wait=1.9,
            ),
            "bad",
            "41 % refused: /report is over 8 in flight; 12 wait, 1.9 s each. "
            "100 requests a second in all.",
        ),
        (
            Facts(load=Load(requests=100, good=97, refused=3), limits=[CLIENTS]),
            "busy",
            "3 % refused: clients of /login are over 5/minute. 100 requests a second in all.",
        ),
        (
            Facts(load=Load(requests=1000, good=999, refused=1), limits=[CLIENTS]),
            "good",
            "Under 1 % refused: clients of /login are over 5/minute. "
            "1,000 requests a second in all.",
        ),
        (
            Facts(load=Load(requests=100, refused=50), limits=[SHED], cap=4, age=0.2),
            "bad",
            "50 % refused: adaptive sheds what would be late; the adaptive limit lets 4 in; "
            "requests are 200 ms old when they come in. 100 requests a second in all.",
        ),
        (
            Facts(load=Load(requests=10, good=5, errors=3, late=2), lag=0.5),
            "bad",
            "30 % failed; 20 % too late; an event loop is 500 ms late. "
            "10 requests a second in all.",
        ),
        (Facts(store_lost=True), "busy", "No requests; the store does not answer."),
    ],
)
def test_the_sentence_on_top_says_what_is_wrong_and_why(
    facts: Facts, level: str, words: str
) -> None:
    """For a person who has five seconds."""
    assert summary(facts) == (level, words)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0000052, "5 µs"),
        (0.0214, "21.4 ms"),
        (2.5, "2.5 s"),
        (90, "90 s"),
        (600, "10 min"),
        (86_012, "23.9 h"),
        (400_000, "4.63 d"),
    ],
)
def test_durations_have_the_unit_that_people_read(seconds: float, words: str) -> None:
    """``86012 s`` is nothing that a person can picture."""
    assert duration(seconds) == words


def test_rates_and_shares_are_read_as_well() -> None:
    """Less than one a second is told by the minute."""
    assert per_second(0.5) == "30 requests a minute"
    assert percent(0.004) == "under 1 %"
    assert percent(0.0) == "0 %"


@pytest.mark.parametrize(
    ("jobs", "level", "words"),
    [
        (JobFacts(workers=0), "idle", ""),
        (JobFacts(running=2, workers=1), "good", " Jobs: 2 running."),
        (JobFacts(queued=3, workers=0), "good", " Jobs: 3 queued."),  # for later
        (
            JobFacts(queued=3, longest_wait=2.0, workers=1),
            "good",
            " Jobs: 3 queued, the oldest for 2 s.",
        ),
        (
            JobFacts(queued=3, running=2, longest_wait=12.0, workers=1),
            "busy",
            " Jobs: 2 running; 3 queued, the oldest for 12 s.",
        ),
        (
            JobFacts(queued=1, longest_wait=2.0, workers=0),
            "bad",
            " Jobs: 1 queued, the oldest for 2 s; no worker is alive.",
        ),
        (JobFacts(queued=1, longest_wait=2.0), "good", " Jobs: 1 queued, the oldest for 2 s."),
        (
            JobFacts(failed=4, rescued=1, workers=1),
            "busy",
            " Jobs: 4 failed lately; 1 taken back from a worker that died.",
        ),
        (JobFacts(available=False), "bad", " Jobs can be neither read nor accepted."),
    ],
)
def test_jobs_are_told_after_requests(jobs: JobFacts, level: str, words: str) -> None:
    """What is worse of both says how bad it is."""
    assert summary(Facts(jobs=jobs)) == (level, f"No requests.{words}")
    load = Load(requests=100, errors=50)
    found, text = summary(Facts(load=load, jobs=jobs))
    assert found == "bad"
    assert text == f"50 % failed. 100 requests a second in all.{words}"


def test_jobs_are_told_by_name_and_event() -> None:
    """That first of which most failed; what did not happen is not told."""
    counters = Counters(None)
    for job, event, times in (("a", "submitted", 2), ("b", "failed", 1), ("b", "submitted", 1)):
        counters.add([JOBS.once(job, event, amount=times)])
    first, second = jobs_of(counters.totals())
    assert (first.name, first.events) == ("b", {"failed": 1, "submitted": 1})
    assert (second.name, second.events) == ("a", {"submitted": 2})
