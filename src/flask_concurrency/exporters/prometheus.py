"""Write what was counted in Prometheus' text format. Knows no Flask and counts nothing.

The library's own multiprocess mode is not used: the counters of all processes are added up already,
in the files that :mod:`flask_concurrency.telemetry` keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Final

from flask_concurrency.telemetry.metrics import METRICS
from flask_concurrency.telemetry.names import Totals
from flask_concurrency.vocabulary.errors import ConfigurationError

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.registry import Collector
    from prometheus_client.utils import floatToGoString
except ModuleNotFoundError as error:
    raise ConfigurationError(
        f"Metrics need {error.name!r}, which is not installed. "
        'Run: pip install "Flask-Concurrency[metrics]"'
    ) from None

CONTENT_TYPE = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Gauge:
    """Something that goes up and down, as it is now.

    :ivar name: Dotted, as the metrics' names.
    :ivar labels: What distinguishes its series.
    :ivar values: A value for the labels of each series.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


MOST_SERIES: Final = 16_384
"""Series whose text is kept ready."""


def expose(totals: Totals, gauges: Iterable[Gauge] = ()) -> bytes:
    """Write totals and gauges as Prometheus reads them.

    prometheus-client writes each series once; from then on only its numbers are filled in. To write
    all of it anew takes ten times as long where there are many (``bench counting-scrape``).
    """
    written: list[str] = []
    found: dict[str, list[tuple[tuple[str, ...], tuple[int, ...]]]] = {}
    for name in sorted(totals):
        metric, numbers = METRICS.get(name[0]), totals[name]
        if metric is not None and len(numbers) == metric.width:  # else another version's
            found.setdefault(metric.name, []).append((name[1:], numbers))
    for title, metric in METRICS.items():
        for place, (labels, numbers) in enumerate(found.get(title, ())):
            text = _series(title, labels)
            if not place:
                written.append(text.head)
            if metric.kind == "counter":
                written.append(text.body % numbers)
            else:
                up_to = (*accumulate(numbers[:-1]),)
                written.append(text.body % (*up_to, up_to[-1], metric.sum_of(numbers)))
    for gauge in gauges:
        for place, (labels, value) in enumerate(gauge.values.items()):
            text = _gauge(gauge.name, gauge.help, gauge.labels, tuple(labels))
            if not place:
                written.append(text.head)
            written.append(text.body % value)
    return "".join(written).encode()


@dataclass(frozen=True, slots=True)
class _Text:
    """A series as it is written.

    :ivar head: What stands before the first series of its family.
    :ivar body: A line for each of its numbers, which is to be filled in.
    """

    head: str
    body: str


@lru_cache(maxsize=MOST_SERIES)
def _series(title: str, labels: tuple[str, ...]) -> _Text:
    metric = METRICS[title]
    names = [_word(label) for label in metric.labels]
    if metric.kind == "counter":
        counter = CounterMetricFamily(_word(title), metric.help, labels=names)
        counter.add_metric(labels, 0)
        return _written(counter)
    unit = "_seconds" if metric.unit == "s" else "_bytes"
    histogram = HistogramMetricFamily(_word(title) + unit, metric.help, labels=names)
    bounds = [*map(floatToGoString, metric.bounds), "+Inf"]
    histogram.add_metric(labels, [(bound, 0) for bound in bounds], 0)
    return _written(histogram)


@lru_cache(maxsize=MOST_SERIES)
def _gauge(title: str, help: str, names: tuple[str, ...], labels: tuple[str, ...]) -> _Text:
    family = GaugeMetricFamily(_word(title), help, labels=[_word(name) for name in names])
    family.add_metric(labels, 0)
    return _written(family)


class _Shown(Collector):
    """What ``generate_latest`` asks of a registry."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        yield self._family


def _written(family: Family) -> _Text:
    """A family of one series, with room for its numbers."""
    lines = generate_latest(_Shown(family)).decode().removesuffix("\n").split("\n")
    head = [line for line in lines if line.startswith("#")]
    body = [line.rpartition(" ")[0].replace("%", "%%") for line in lines[len(head) :]]
    return _Text("".join(f"{line}\n" for line in head), "".join(f"{line} %s\n" for line in body))


def _word(name: str) -> str:
    return name.replace(".", "_")
