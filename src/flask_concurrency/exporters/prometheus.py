"""Write what was counted in Prometheus' text format. Knows no Flask and counts nothing.

The library's own multiprocess mode is not used: the counters of all processes are added up already,
in the files that :mod:`flask_concurrency.telemetry` keeps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

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


def expose(totals: Totals, gauges: Iterable[Gauge] = ()) -> bytes:
    """Write totals and gauges as Prometheus reads them."""
    return generate_latest(_Shown([*_families(totals), *map(_gauge, gauges)]))


class _Shown(Collector):
    """What ``generate_latest`` asks of a registry."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        yield from self._families


def _families(totals: Totals) -> Iterator[Family]:
    found: defaultdict[str, list[tuple[tuple[str, ...], tuple[int, ...]]]] = defaultdict(list)
    for (title, *labels), numbers in sorted(totals.items()):
        found[title].append((tuple(labels), numbers))
    for name, metric in METRICS.items():
        if name in found:
            yield _family(metric, found[name])


def _family(metric: Metric, series: list[tuple[tuple[str, ...], tuple[int, ...]]]) -> Family:
    labels = [_word(label) for label in metric.labels]
    name = _word(metric.name)
    if metric.kind == "counter":
        counter = CounterMetricFamily(name, metric.help, labels=labels)
        for values, numbers in series:
            counter.add_metric(values, numbers[0])
        return counter
    unit = "_seconds" if metric.unit == "s" else "_bytes"
    histogram = HistogramMetricFamily(name + unit, metric.help, labels=labels)
    bounds = [*map(floatToGoString, metric.bounds), "+Inf"]
    for values, numbers in series:
        up_to, buckets = 0, []
        for bound, number in zip(bounds, numbers[:-1], strict=True):
            up_to += number
            buckets.append((bound, up_to))
        histogram.add_metric(values, buckets, metric.sum_of(numbers))
    return histogram


def _gauge(gauge: Gauge) -> Family:
    family = GaugeMetricFamily(
        _word(gauge.name), gauge.help, labels=[_word(label) for label in gauge.labels]
    )
    for labels, value in gauge.values.items():
        family.add_metric(labels, value)
    return family


def _word(name: str) -> str:
    return name.replace(".", "_")
