"""Spans of tasks in worker processes have those of their callers as parents."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanContext
from tests.apps import traced

from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.executors.processes.trace_context import fields_of_caller
from flask_concurrency.vocabulary.errors import TaskNotPicklable

pytestmark = pytest.mark.slow


@pytest.fixture
def spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that workers write."""
    path = tmp_path / "spans"
    monkeypatch.setenv(traced.SPANS, str(path))
    return path


@pytest.fixture
def processes() -> Iterator[ProcessExecutor]:
    """Workers of one app's life."""
    executor = ProcessExecutor(1)
    yield executor
    executor.shutdown()


@pytest.fixture
def view() -> Iterator[SpanContext]:
    """The span that a caller is in, with baggage of its own."""
    token = context.attach(baggage.set_baggage("customer", "ada"))
    try:
        with traced.tracer.start_as_current_span("view") as span:
            yield span.get_span_context()
    finally:
        context.detach(token)


def test_spans_of_workers_have_the_callers_as_parent_and_none_is_lost(
    spans: Path, processes: ProcessExecutor, view: SpanContext
) -> None:
    """By every way to submit, although a worker exports in batches and ends before one is full."""
    told = [processes.submit(traced.work, "submitted").result()]
    told += processes.map(traced.work, ["mapped", "mapped too"], chunksize=2)
    told.append(asyncio.run(processes.run(traced.work, "awaited")))
    told.append(processes.spawn(traced.work, "spawned").result())
    processes.shutdown()
    lines = [json.loads(line) for line in spans.read_text().splitlines()]
    assert [name for name, _, _ in lines] == [
        "submitted", "mapped", "mapped too", "awaited", "spawned",
    ]  # fmt: skip
    assert {(trace_id, parent) for _, trace_id, parent in lines} == {(view.trace_id, view.span_id)}
    assert {customer for customer, _ in told} == {"ada"}
    assert os.getpid() not in {process for _, process in told}


def test_a_task_outside_of_a_trace_has_none(spans: Path, processes: ProcessExecutor) -> None:
    """Nor that of the task before it."""
    token = context.attach(baggage.set_baggage("customer", "ada"))
    assert processes.submit(traced.work, "in").result()[0] == "ada"
    context.detach(token)
    assert fields_of_caller() == {}
    assert processes.submit(traced.work, "out").result()[0] == "None"
    processes.shutdown()
    (_, before, _), (_, after, parent) = map(json.loads, spans.read_text().splitlines())
    assert parent is None
    assert before != after


def test_what_a_task_raises_and_is_called_stays_as_it_is(
    processes: ProcessExecutor, view: SpanContext
) -> None:
    """The trace is around the call, and no part of it."""
    with pytest.raises(ValueError, match="ada"):
        processes.submit(traced.fail).result()
    with pytest.raises(TaskNotPicklable, match=r"<lambda>.*Write the lambda as a function"):
        processes.submit(lambda: None)


def test_what_a_worker_says_of_a_task_names_the_task(
    processes: ProcessExecutor, view: SpanContext
) -> None:
    """And not what was put around it."""
    with pytest.raises(TaskNotPicklable, match=r"The result of 'tests\.apps\.traced\.lock'"):
        processes.submit(traced.lock).result()


def test_an_app_without_opentelemetry_loads_nothing_of_it() -> None:
    """Neither where it submits a task nor in its workers."""
    loaded = "[n for n in __import__('sys').modules if n.startswith('opentelemetry')]"
    code = (
        "from flask_concurrency.executors.processes.executor import ProcessExecutor\n"
        "if __name__ == '__main__':\n"
        "    with ProcessExecutor(1) as processes:\n"
        f"        assert processes.submit(eval, {loaded!r}).result() == []\n"
        f"    assert {loaded} == []\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_what_is_sent_along_is_small(view: SpanContext) -> None:
    """A few hundred bytes a task."""
    fields = fields_of_caller()
    assert fields.keys() == {"traceparent", "baggage"}
    assert len(pickle.dumps(fields)) < 300
    assert trace.get_current_span().get_span_context() == view
