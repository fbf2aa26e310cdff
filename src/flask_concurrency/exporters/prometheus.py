"""Write what was counted in Prometheus' text format. Knows no Flask and counts nothing.

The library's own multiprocess mode is not used: the counters of all processes are added up already,
in the files that :mod:`flask_concurrency.telemetry` keeps.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.telemetry.metrics import METRICS, Metric
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

_ORDER: Final = {name: place for place, name in enumerate(METRICS)}


class Exposition:
    """Totals and gauges as Prometheus reads them, scrape by scrape.

    prometheus-client writes each series once. From then on its numbers are filled in where they
    have changed, and what has not is sent as it was: to write all of it anew takes ten times as
    long where there are many (``bench counting-scrape``).
    """

    def __init__(self) -> None:
        self._start()
        call_in_child(self, Exposition._start)
        self._written: dict[Hashable, _Series] = {}
        self._in_order: list[_Series] = []
        self._scrapes = 0

    def _start(self) -> None:
        self._lock = threading.Lock()

    def write(self, totals: Totals, gauges: Iterable[Gauge] = ()) -> bytes:
        """The text of a scrape."""
        with self._lock:
            self._scrapes += 1
            if len(self._written) > MOST_SERIES:
                self._written.clear()
            known = len(self._written)
            for name, numbers in totals.items():
                series = self._written.get(name) or self._add_metric(name)
                if series is not None and len(numbers) == series.width:  # else another version's
                    series.show(numbers, self._scrapes)
            for gauge in gauges:
                for labels, value in gauge.values.items():
                    shown = self._written.get((gauge.name, labels))
                    if shown is None:
                        shown = self._add_gauge(gauge, labels)
                    shown.show((value,), self._scrapes)
            if len(self._written) != known:
                self._in_order = sorted(self._written.values(), key=lambda each: each.place)
            return b"".join(self._texts())

    def _texts(self) -> Iterator[bytes]:
        """The series of this scrape, with a head before the first of each family."""
        head = b""
        for series in self._in_order:
            if series.scrape == self._scrapes:
                if series.head != head:
                    head = series.head
                    yield head
                yield series.text

    def _add_metric(self, name: tuple[str, ...]) -> _Series | None:
        metric = METRICS.get(name[0])
        if metric is None:
            return None
        place = _ORDER[metric.name], name
        if metric.kind == "counter":
            made = _Series(_counter(metric, name[1:]), place)
        else:
            made = _Series(_histogram(metric, name[1:]), place, histogram=metric)
        self._written[name] = made
        return made

    def _add_gauge(self, gauge: Gauge, labels: tuple[str, ...]) -> _Series:
        names = [_word(name) for name in gauge.labels]
        family = GaugeMetricFamily(_word(gauge.name), gauge.help, labels=names)
        family.add_metric(labels, 0)
        made = _Series(family, (len(_ORDER), (gauge.name, *labels)))
        self._written[gauge.name, labels] = made
        return made


class _Series:
    """A series as it is written.

    :param family: A family with this series alone.
    :param place: Where it stands among the others.
    :param histogram: Its metric, if it is a histogram.
    :ivar width: How many numbers it has.
    :ivar head: What stands before the first series of its family.
    :ivar text: A line for each number, as of the last scrape that had it.
    :ivar scrape: Which one that was.
    """

    __slots__ = ("_body", "_histogram", "_numbers", "head", "place", "scrape", "text", "width")

    def __init__(
        self,
        family: Family,
        place: tuple[int, tuple[str, ...]],
        histogram: Metric | None = None,
    ) -> None:
        lines = generate_latest(_Shown(family)).removesuffix(b"\n").split(b"\n")
        head = [line for line in lines if line.startswith(b"#")]
        body = [line.rpartition(b" ")[0].replace(b"%", b"%%") for line in lines[len(head) :]]
        self.head = b"".join(line + b"\n" for line in head)
        # A count by ``%d``: ``%a`` takes twice as long.
        if histogram is None:
            self._body = body[0] + b" %a\n"
        else:
            self._body = b" %d\n".join(body) + b" %a\n"
        self.place = place
        self._histogram = histogram
        self.width = 1 if histogram is None else histogram.width
        self._numbers: tuple[float, ...] = ()
        self.text = b""
        self.scrape = 0

    def show(self, numbers: tuple[float, ...], scrape: int) -> None:
        """Say what is to be shown in a scrape."""
        if numbers != self._numbers:
            self._numbers = shown = numbers
            if self._histogram is not None:
                *up_to, _ = accumulate(numbers)
                shown = (*up_to, up_to[-1], self._histogram.sum_of(numbers))
            self.text = self._body % shown
        self.scrape = scrape


def _counter(metric: Metric, labels: tuple[str, ...]) -> Family:
    names = [_word(label) for label in metric.labels]
    family = CounterMetricFamily(_word(metric.name), metric.help, labels=names)
    family.add_metric(labels, 0)
    return family


def _histogram(metric: Metric, labels: tuple[str, ...]) -> Family:
    names = [_word(label) for label in metric.labels]
    unit = "_seconds" if metric.unit == "s" else "_bytes"
    family = HistogramMetricFamily(_word(metric.name) + unit, metric.help, labels=names)
    bounds = [*map(floatToGoString, metric.bounds), "+Inf"]
    family.add_metric(labels, [(bound, 0) for bound in bounds], 0)
    return family


class _Shown(Collector):
    """What ``generate_latest`` asks of a registry."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        yield self._family


def _word(name: str) -> str:
    return name.replace(".", "_")
