"""What OpenTelemetry is told, and that spans keep their parents."""

from __future__ import annotations

from typing import Any

from flask import Flask
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flask_concurrency import Concurrency
from flask_concurrency.telemetry.metrics import LIMIT_DECISIONS, REQUEST_DURATION, TASKS


def recorded(reader: InMemoryMetricReader) -> dict[str, Any]:
    """Each instrument by its name."""
    found = reader.get_metrics_data()
    assert found is not None
    return {
        metric.name: metric
        for resource in found.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_what_is_counted_is_recorded_under_the_same_names() -> None:
    """With the same labels and buckets, and the same sums."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app)
    concurrency.opentelemetry(app, meter_provider=provider)

    @app.get("/items/<int:number>")
    @concurrency.limit("2/minute")
    def item(number: int) -> str:
        return str(concurrency.threads.submit(int, number).result())

    for number in range(5):
        app.test_client().get(f"/items/{number}")
    with app.app_context():
        concurrency.threads.shutdown()
    found = recorded(reader)
    duration = found[REQUEST_DURATION.name]
    assert duration.unit == "s"
    points = {
        point.attributes["http.response.status_code"]: point for point in duration.data.data_points
    }
    assert {status: point.count for status, point in points.items()} == {"200": 2, "429": 3}
    assert tuple(points["200"].explicit_bounds) == REQUEST_DURATION.bounds
    assert points["200"].attributes["http.route"] == "/items/<int:number>"
    decisions = {
        point.attributes["result"]: point.value
        for point in found[LIMIT_DECISIONS.name].data.data_points
    }
    assert decisions == {"admitted": 2, "over_quota": 3}
    (tasks,) = found[TASKS.name].data.data_points
    assert (tasks.attributes["executor"], tasks.value) == ("threads", 2)
    provider.shutdown()


def test_a_span_of_a_task_has_its_callers_as_parent() -> None:
    """On a thread and on the loop."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app)

    def on_thread() -> None:
        with tracer.start_as_current_span("thread"):
            pass

    async def on_loop() -> None:
        with tracer.start_as_current_span("loop"):
            pass

    with app.app_context():
        with tracer.start_as_current_span("view"):
            concurrency.threads.submit(on_thread).result()
            concurrency.loop.run(on_loop())
        concurrency.threads.shutdown()
        concurrency.loop.shutdown()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    view = spans["view"].context
    for name in ("thread", "loop"):
        parent = spans[name].parent
        assert view is not None
        assert parent is not None
        assert parent.span_id == view.span_id
    provider.shutdown()
