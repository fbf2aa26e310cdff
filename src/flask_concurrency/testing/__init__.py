"""For test suites: fresh counts, time that only the test advances, tasks that run inline."""

from flask_concurrency.testing.counts import fresh_counts
from flask_concurrency.testing.executors import inline_executors
from flask_concurrency.testing.inline_executor import InlineExecutor
from flask_concurrency.testing.manual_clock import ManualClock

__all__ = ["InlineExecutor", "ManualClock", "fresh_counts", "inline_executors"]
