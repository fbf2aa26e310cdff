"""Put measurements and advice into a terminal's words and into one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import isinf

from flask_concurrency.cli.tune.advice import Advice
from flask_concurrency.cli.tune.measuring import Measured
from flask_concurrency.cli.tune.scalability import Level, Scalability, fit
from flask_concurrency.telemetry.in_words import duration

WIDTH = 40
"""Characters of the longest bar."""

Tuned = tuple[Measured, Advice]

BOUND = {
    "interpreter": "the interpreter",
    "pool": "a pool",
    "waiting": "nothing yet: it only waits",
}


def in_text(measured: Measured, advice: Advice) -> str:
    """What a terminal shows of one route."""
    lines = [measured.path, "", *_bars(measured.levels, advice.knee, "knee")]
    if measured.together:
        lines += ["", f"  On {measured.workers} workers:"]
        lines += _bars(measured.together, advice.in_flight, "the limit")
    offered = measured.offered
    places = f" of {advice.places}" if advice.places else ""
    lines += [
        "",
        f"  Bound by: {BOUND[advice.bound]}{places}",
        f"  Workers: {advice.workers}   Threads of each: {advice.threads}   "
        f'Limit: "{advice.in_flight} in flight"',
        f"  At {offered.rate:.3g} requests a second: half within {duration(offered.p50)}, "
        f"95 % within {duration(offered.p95)}, 99 % within {duration(offered.p99)}",
        "",
    ]
    lines += [f"  - {reason}" for reason in advice.reasons]
    return "\n".join(lines)


def _bars(levels: Sequence[Level], marked: int, word: str) -> Iterator[str]:
    most = max(level.throughput for level in levels)
    for level in levels:
        bar = "█" * max(1, round(level.throughput / most * WIDTH))
        mark = f" ← {word}" if level.concurrency == marked else ""
        yield (
            f"  {level.concurrency:>3} at once {bar:<{WIDTH}} {level.throughput:>7.1f}/s"
            f" {duration(level.latency):>8}{mark}"
        )


def in_html(app: str, tuned: Sequence[Tuned]) -> str:
    """A page that needs no other file."""
    sections = "\n".join(_section(measured, advice) for measured, advice in tuned)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(app)}: find your numbers</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; --ink: #1c1d1f; --paper: #fbfbfa; --soft: #63666b;
  --line: #d9dad6; --mark: #2456c4; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e9e9e6; --paper: #141517;
  --soft: #a0a4aa; --line: #303338; --mark: #86abff; }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper); font-variant-numeric: tabular-nums; }}
svg {{ width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--soft); }}
h2 {{ margin-top: 2.5rem; }} dl {{ display: flex; gap: 2rem; flex-wrap: wrap; }}
dt {{ color: var(--soft); font-size: .85rem; }} dd {{ margin: 0; font-size: 1.3rem; }}
</style></head><body><h1>{escape(app)}: find your numbers</h1>
<p>Filled dots are what one process did, and the line is the universal scalability law; open ones
are what all workers did together.</p>
{sections}
</body></html>
"""


def as_data(measured: Measured, advice: Advice) -> dict[str, object]:
    """What scripts read of one route."""
    law = fit(measured.levels)
    return {
        "path": measured.path,
        "bound": advice.bound,
        "places": advice.places,
        "workers": advice.workers,
        "threads": advice.threads,
        "in_flight": advice.in_flight,
        "knee": advice.knee,
        "reasons": list(advice.reasons),
        "levels": _levels(measured.levels),
        "together": {"workers": measured.workers, "levels": _levels(measured.together)},
        "law": {
            "rate": law.rate,
            "queueing": law.queueing,
            "crosstalk": law.crosstalk,
            "peak": None if isinf(law.peak) else law.peak,
        },
        "offered": {
            "rate": round(measured.offered.rate, 3),
            "p50": round(measured.offered.p50, 6),
            "p95": round(measured.offered.p95, 6),
            "p99": round(measured.offered.p99, 6),
        },
    }


def _levels(levels: Sequence[Level]) -> list[dict[str, float]]:
    return [
        {
            "concurrency": level.concurrency,
            "throughput": round(level.throughput, 3),
            "latency": round(level.latency, 6),
            "cpu": round(level.cpu, 3),
            "held_up": round(level.held_up, 3),
        }
        for level in levels
    ]


def _section(measured: Measured, advice: Advice) -> str:
    places = f" of {advice.places}" if advice.places else ""
    facts = (
        ("Bound by", BOUND[advice.bound] + places),
        ("Workers", str(advice.workers)),
        ("Threads of each", str(advice.threads)),
        ("Limit", f"{advice.in_flight} in flight"),
    )
    shown = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in advice.reasons)
    return (
        f"<section><h2>{escape(measured.path)}</h2><dl>{shown}</dl>"
        f"{_plot(measured, advice, fit(measured.levels))}<ul>{reasons}</ul></section>"
    )


def _plot(measured: Measured, advice: Advice, law: Scalability) -> str:
    width, height, left, below = 640, 260, 56, 34
    levels = (*measured.levels, *measured.together)
    most = max(level.concurrency for level in levels)
    alone = max(level.concurrency for level in measured.levels)
    top = 1.1 * max(
        *(level.throughput for level in levels), *(law.throughput(n) for n in range(1, alone + 1))
    )

    def at(n: float, x: float) -> tuple[str, str]:
        across = left + (width - left - 12) * n / most
        return f"{across:.1f}", f"{(height - below) * (1 - x / top):.1f}"

    def dots(levels: Sequence[Level], fill: str, whose: str) -> str:
        return "".join(
            f'<circle cx="{across}" cy="{down}" r="4" fill="{fill}" stroke="var(--mark)">'
            f"<title>{whose}: {level.throughput:.1f}/s with {level.concurrency}</title></circle>"
            for level in levels
            for across, down in [at(level.concurrency, level.throughput)]
        )

    def line(n: int, word: str, down: int) -> str:
        across = at(n, 0)[0]
        side = 'dx="-4" text-anchor="end"' if n > 0.9 * most else 'dx="4"'
        return (
            f'<path d="M{across},0V{height - below}" stroke="var(--line)" stroke-dasharray="4 4"/>'
            f'<text x="{across}" y="{down}" {side}>{word}</text>'
        )

    curve = " ".join(",".join(at(n / 4, law.throughput(n / 4))) for n in range(4, 4 * alone + 1))
    ticks = "".join(
        f'<text x="{at(n, 0)[0]}" y="{height - below + 16}" text-anchor="middle">{n}</text>'
        for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
        if n <= most and n / most > 0.06
    )
    label = f"Throughput of {escape(measured.path)} by concurrency"
    limit = line(advice.in_flight, "limit", 26) if measured.together else ""
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f'<path d="M{left},0V{height - below}H{width}" fill="none" stroke="var(--line)"/>'
        f'<text x="{left - 8}" y="14" text-anchor="end">{top:.3g}/s</text>{ticks}'
        f'<text x="{width}" y="{height - 2}" text-anchor="end">requests at once</text>'
        f"{line(advice.knee, 'knee', 12)}{limit}"
        f'<polyline points="{curve}" fill="none" stroke="var(--soft)" stroke-width="1.5"/>'
        f"{dots(measured.levels, 'var(--mark)', 'One process')}"
        f"{dots(measured.together, 'var(--paper)', f'{measured.workers} workers')}</svg>"
    )
