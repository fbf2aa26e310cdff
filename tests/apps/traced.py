"""An app whose worker processes write their spans into a file."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from flask import Flask
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from flask_concurrency import Concurrency

SPANS = "TRACED_SPANS"
"""Environment variable with the file's path."""

app = Flask(__name__)
app.config["CONCURRENCY_STORE"] = "memory://"
app.config["CONCURRENCY_PROCESSES"] = {"max_workers": 1}
concurrency = Concurrency(app)
provider = TracerProvider()
tracer = provider.get_tracer("traced")


class ToFile(SpanExporter):
    """Writes a line for each span: its name, its trace and its parent."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append them."""
        with Path(os.environ[SPANS]).open("a") as file:
            for span in spans:
                parent = None if span.parent is None else span.parent.span_id
                file.write(json.dumps([span.name, span.context.trace_id, parent]) + "\n")
        return SpanExportResult.SUCCESS


def export() -> None:
    """Have this process export its spans, a batch every few seconds, as is usual."""
    if trace.get_tracer_provider() is not provider:
        provider.add_span_processor(BatchSpanProcessor(ToFile()))
        trace.set_tracer_provider(provider)


def work(name: str) -> tuple[str, int]:
    """Do something in a span; gives what came as baggage, and the process."""
    export()
    with tracer.start_as_current_span(name):
        return str(baggage.get_baggage("customer")), os.getpid()


def fail() -> None:
    """Fail in the caller's trace."""
    raise ValueError(str(baggage.get_baggage("customer")))


def lock() -> object:
    """What cannot be sent back."""
    return threading.Lock()
