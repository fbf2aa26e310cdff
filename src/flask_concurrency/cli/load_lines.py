"""Put what an app counts of its requests into words for a terminal. Knows counts as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import click

from flask_concurrency.flask_app.app_snapshot import FleetSnapshot, Snapshot
from flask_concurrency.telemetry.in_words import duration, per_second, percent
from flask_concurrency.telemetry.load import LimitLoad, Load

COUNTS_NOTHING = (
    "This app counts no refusals. Call concurrency.dashboard(app) or concurrency.metrics(app), or "
    "set CONCURRENCY_COUNTS = True."
)
WORDS = {
    "over_quota": "over quota",
    "busy": "too many at once",
    "gave_up": "gave up waiting",
    "shed": "shed",
}


def load_rows(before: Snapshot | None, now: Snapshot) -> list[tuple[str, str]]:
    """What comes in now, if it was looked at before, and what came in so far."""
    if now.load is None:
        return []
    rows = []
    if before is not None and before.load is not None and now.at > before.at:
        seconds = now.at - before.at
        load = _added(before.load, now.load)
        text = per_second(load.requests / seconds)
        rows.append(("now", text + _became(load)))
    rows.append(_so_far(now.load))
    return rows


def refusal_rows(before: Snapshot | None, now: Snapshot) -> list[tuple[str, str]]:
    """One row for each limit that refused, the one first that refused most."""
    earlier = {
        (each.limit, each.route): each.refused for each in (before.decisions if before else ())
    }
    rows = []
    for each in now.decisions:
        if not each.refused:
            continue
        text = _decided(each)
        added = each.refused - earlier.get((each.limit, each.route), each.refused)
        if before is not None and added > 0 and now.at > before.at:
            rate = per_second(added / (now.at - before.at))
            text = click.style(f"{rate} refused now", fg="red", bold=True) + f"; {text}"
        rows.append((_title(each), text))
    return rows


def fleet_rows(fleet: FleetSnapshot) -> list[tuple[str, str]]:
    """What came in on all hosts so far, and one row for each limit that refused."""
    refused = [(_title(each), _decided(each)) for each in fleet.decisions if each.refused]
    return [_so_far(fleet.load), *refused]


def age_line(app: str, now: Snapshot, wall: str) -> str:
    """When this was so, and how old what other processes said is."""
    said = [each.published for each in now.processes]
    if not said:
        return f"{app}, {wall}"
    age = duration(max(0.0, now.at - min(said)))
    number = len(said)
    return f"{app}, {wall}; {number} process{'es' if number > 1 else ''}, last heard {age} ago"


def other_spelling(key: str, found: Snapshot) -> str | None:
    """What to say where no limit knows a key, but one that looks like it was refused."""
    if any(each.used for each in found.limits if each.key == key):
        return None
    known = {refused for process in found.processes for refused in process.refused}
    known.discard(key)
    near: Sequence[str] = [each for each in sorted(known) if key in each or each in key]
    near = near or get_close_matches(key, known, n=1)
    if not near:
        return None
    return f"No limit has counted {key!r}. Did you mean {near[0]!r}, which was refused lately?"


def _so_far(load: Load) -> tuple[str, str]:
    return "so far", f"{load.requests:,} requests{_became(load)}"


def _decided(each: LimitLoad) -> str:
    reasons = [
        f"{number:,} {WORDS[result]}" for result, number in each.results.items() if result in WORDS
    ]
    return f"{', '.join(reasons)}; {each.results.get('admitted', 0):,} admitted"


def _title(each: LimitLoad) -> str:
    return f"{each.route}: {each.limit}" if each.route else each.limit


def _added(before: Load, now: Load) -> Load:
    return Load(
        now.requests - before.requests,
        now.good - before.good,
        now.refused - before.refused,
        now.errors - before.errors,
        now.late - before.late,
        now.seconds - before.seconds,
    )


def _became(load: Load) -> str:
    if not load.requests:
        return ""
    parts: Iterable[tuple[int, str]] = (
        (load.refused, "refused"),
        (load.errors, "failed"),
        (load.late, "too late"),
    )
    said = [
        click.style(f"{percent(number / load.requests)} {word}", fg="red")
        for number, word in parts
        if number
    ]
    return "".join(f", {part}" for part in said) + f"; {duration(load.mean)} each"
