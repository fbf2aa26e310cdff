"""The grammar of limits: what may be written, and the message of a mistake."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency import Adaptive, ConfigurationError, InFlight, Rate
from flask_concurrency.vocabulary.grammar import MAX_QUOTA, SECONDS_PER
from flask_concurrency.vocabulary.limits import read_limits

WRITTEN = [  # text -> (quota, period, shortest spelling)
    ("5/minute", (5, 60.0, "5/minute")),
    ("5 per minute", (5, 60.0, "5/minute")),
    ("100 per 2 hours", (100, 7_200.0, "100/2 hours")),
    ("1 PER Day", (1, 86_400.0, "1/day")),
    ("3/week", (3, 604_800.0, "3/week")),
    ("3/ 6 months", (3, 15_552_000.0, "3/6 months")),
    ("0/second", (0, 1.0, "0/second")),
]


@pytest.mark.parametrize(("text", "expected"), WRITTEN)
def test_a_rate_is_read(text: str, expected: tuple[int, float, str]) -> None:
    """Every spelling of the grammar gives quota, seconds and one canonical text."""
    rate = Rate(text)
    assert (rate.quota, rate.period, rate.text) == expected


@pytest.mark.parametrize("text", ["8 in flight", "8 in-flight", "8 concurrent", "8 IN FLIGHT"])
def test_an_in_flight_limit_is_read(text: str) -> None:
    """Requests at once are written in words, too."""
    assert read_limits(text) == (InFlight(8),)


@pytest.mark.parametrize(
    ("text", "expected", "shortest"),
    [
        ("adaptive", Adaptive(), "adaptive"),
        ("ADAPTIVE 500ms", Adaptive(deadline=0.5), "adaptive 500ms"),
        ("adaptive 0.25 s", Adaptive(deadline=0.25), "adaptive 250ms"),
        ("adaptive 2s", Adaptive(deadline=2.0), "adaptive 2s"),
    ],
)
def test_an_adaptive_limit_is_read(text: str, expected: Adaptive, shortest: str) -> None:
    """One word, and the deadline where it is not a second."""
    assert read_limits(text) == (expected,)
    assert expected.text == shortest
    assert read_limits(shortest) == (expected,)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"deadline": 0}, "deadline=0"),
        ({"deadline": -1.0}, "deadline=-1.0"),
        ({"deadline": 0.01}, "deadline=0.01"),
        ({"deadline": float("nan")}, "deadline=nan"),
        ({"deadline": float("inf")}, "deadline=inf"),
        ({"deadline": "1s"}, "deadline='1s'"),
        ({"deadline": True}, "deadline=True"),
        ({"deadline": None}, "deadline=None"),
        ({"min": 0}, "min=0"),
        ({"min": -1}, "min=-1"),
        ({"min": 1.5}, "min=1.5"),
        ({"max": 0}, "max=0"),
        ({"max": "8"}, "max='8'"),
        ({"min": 8, "max": 4}, "min=8, max=4"),
    ],
)
def test_an_impossible_adaptive_limit_is_refused_where_it_is_written(
    options: dict[str, object], told: str
) -> None:
    """The message names what was given."""
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        Adaptive(**options)  # type: ignore[arg-type]


def test_limits_are_joined_by_semicolon_or_comma() -> None:
    """The tutorial's own text works, with either separator and any spacing."""
    limits = read_limits("100 per day; 10 per hour, 5/minute ;2 in flight;")
    assert [limit.text for limit in limits] == ["100/day", "10/hour", "5/minute", "2 in flight"]


def test_text_and_objects_mix() -> None:
    """Wherever a limit is expected, text, objects and iterables of them will do."""
    rate = Rate("5/minute", algorithm="fixed-window")
    assert read_limits(["1/day", rate, InFlight(3)]) == (Rate("1/day"), rate, InFlight(3))


MISTAKES = [  # text -> (the place the caret shows, words of the message)
    ("10 per fortnight", ("fortnight", "unknown unit 'fortnight' (units are second")),
    ("100/day; 5/minuet", ("minuet", "did you mean 'minute'?")),
    ("5/0 days", ("0 days", "a period of 0 has no end")),
    ("100/day; lots", ("lots", "expected 'N per unit', 'N in flight' or 'adaptive'")),
    ("-5/minute", ("-5/minute", "expected 'N per unit'")),
    ("5.5/minute", ("5.5/minute", "expected 'N per unit'")),
    ("5 per minute 3", ("5 per minute 3", "expected 'N per unit'")),
    ("5 pers minute", ("5 pers minute", "expected 'N per unit'")),
    ("adaptive 500", ("500", "after 'adaptive' comes a deadline, as in 'adaptive 500ms'")),
    ("5/minute; adaptive soon", ("soon", "after 'adaptive' comes a deadline")),
    ("adaptive 5ms", ("5ms", "a deadline has 50 ms to 3600 s")),
    ("adaptive 2 hours", ("2 hours", "after 'adaptive' comes a deadline")),
    ("adaptively", ("adaptively", "expected 'N per unit'")),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_a_malformed_limit_is_told_where_and_how(text: str, told: tuple[str, str]) -> None:
    """The message shows the text, points at the position, and gives an example."""
    with pytest.raises(ConfigurationError) as caught:
        read_limits(text)
    message = str(caught.value)
    place, words = told
    lines = message.splitlines()
    assert words in message
    assert lines[1].strip() == text
    assert lines[1][lines[2].index("^") :].startswith(place)
    assert "8 in flight" in message


@pytest.mark.parametrize("written", ["", " ; , ", None, 5, 5.0, b"5/minute", object()])
def test_what_is_no_limit_is_refused(written: object) -> None:
    """Nothing that cannot be read becomes "no limit"."""
    with pytest.raises(ConfigurationError, match=r"holds no limit|is not a limit"):
        read_limits(written)  # type: ignore[arg-type]


@pytest.mark.parametrize("quota", [-1, True, 1.5, "8", None, MAX_QUOTA + 1])
def test_an_impossible_quota_is_refused(quota: object) -> None:
    """A quota is a whole number that a server could mean."""
    with pytest.raises(ConfigurationError, match=r"InFlight\(8\)"):
        InFlight(quota)  # type: ignore[arg-type]


def test_a_quota_beyond_reason_is_refused_in_text() -> None:
    """A typing error in a number is found where it is written, however long the number is."""
    for quota in ("10000000000", "9" * 5_000):
        with pytest.raises(ConfigurationError, match="limits nothing"):
            Rate(f"{quota}/day")
    assert Rate(f"{'0' * 5_000}7/day") == Rate("7/day")


@pytest.mark.parametrize("multiple", [1_001, 10**15, "9" * 5_000])
def test_a_period_beyond_reason_is_refused_in_text(multiple: int | str) -> None:
    """A structured field could not carry it, nor could a clock."""
    with pytest.raises(ConfigurationError, match="1,000 years at most"):
        Rate(f"5 per {multiple} years")


@pytest.mark.parametrize("text", ["5/minute; 1/day", "8 in flight", 5])
def test_a_rate_object_is_exactly_one_rate(text: object) -> None:
    """``Rate`` carries one algorithm, so it takes one rate."""
    with pytest.raises(ConfigurationError, match="exactly one rate"):
        Rate(text)  # type: ignore[arg-type]


def test_an_unknown_algorithm_is_refused() -> None:
    """The message lists the algorithms there are."""
    with pytest.raises(ConfigurationError, match=r"'magic'.*'sliding-window', 'fixed-window'"):
        Rate("5/minute", algorithm="magic")  # type: ignore[arg-type]


def test_only_a_token_bucket_holds_a_burst() -> None:
    """Elsewhere a burst would be silently ignored."""
    assert Rate("5/minute", algorithm="token-bucket").burst == 5
    assert Rate("5/minute", algorithm="token-bucket", burst=20).burst == 20
    with pytest.raises(ConfigurationError, match="only a token bucket"):
        Rate("5/minute", burst=20)
    with pytest.raises(ConfigurationError, match="burst=-1"):
        Rate("5/minute", algorithm="token-bucket", burst=-1)


@given(
    quota=st.integers(0, MAX_QUOTA),
    multiple=st.integers(1, 999),
    unit=st.sampled_from(sorted(SECONDS_PER)),
    plural=st.sampled_from(["", "s"]),
    joined=st.sampled_from(["/", " per ", "  /  "]),
)
def test_reading_undoes_writing(
    quota: int, multiple: int, unit: str, plural: str, joined: str
) -> None:
    """Whatever can be written is read, and its shortest spelling reads the same."""
    rate = Rate(f" {quota}{joined}{multiple} {unit}{plural} ")
    assert (rate.quota, rate.period) == (quota, multiple * SECONDS_PER[unit])
    assert Rate(rate.text) == rate


@pytest.mark.slow
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text crashes the reader."""
    with suppress(ConfigurationError):
        assert read_limits(text)
