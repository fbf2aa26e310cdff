"""Record what is counted with OpenTelemetry's instruments as well. Knows no Flask, counts nothing.

Names, labels, units and buckets are those of :mod:`flask_concurrency.telemetry.metrics`, which are
the semantic conventions' where these exist. Each process records what happens in it, since each
has its own meter provider; what collects them adds up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask_concurrency.telemetry.metrics import METRICS
from flask_concurrency.telemetry.names import Change
from flask_concurrency.vocabulary.errors import ConfigurationError

try:
    from opentelemetry.metrics import get_meter
except ModuleNotFoundError as error:
    raise ConfigurationError(
        f"OpenTelemetry needs {error.name!r}, which is not installed. "
        'Run: pip install "Flask-Concurrency[opentelemetry]"'
    ) from None

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, MeterProvider

METER = "flask_concurrency"


class Instruments:
    """One instrument for each metric, made when it is first recorded.

    :param provider: Makes the meter; ``None`` for the process's own.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self._meter = get_meter(METER, meter_provider=provider)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def record(self, changes: Iterable[Change]) -> None:
        """Record what is added to the counters."""
        for (title, *labels), width, index, amount in changes:
            metric = METRICS[title]
            if metric.kind == "counter":
                self._counter(title).add(amount, dict(zip(metric.labels, labels, strict=True)))
            elif index == width - 1:  # the sum, which grows by what was observed
                value = amount / 1e6 if metric.unit == "s" else float(amount)
                attributes = dict(zip(metric.labels, labels, strict=True))
                self._histogram(title).record(value, attributes)

    def _counter(self, title: str) -> Counter:
        found = self._counters.get(title)
        if found is None:
            metric = METRICS[title]
            found = self._meter.create_counter(title, metric.unit, metric.help)
            self._counters[title] = found
        return found

    def _histogram(self, title: str) -> Histogram:
        found = self._histograms.get(title)
        if found is None:
            metric = METRICS[title]
            found = self._meter.create_histogram(
                title,
                metric.unit,
                metric.help,
                explicit_bucket_boundaries_advisory=list(metric.bounds),
            )
            self._histograms[title] = found
        return found
