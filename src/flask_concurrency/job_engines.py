"""For adapters that let a queue carry jobs: :class:`Engine`, :class:`CarriedJobs`."""

from __future__ import annotations

from flask_concurrency.flask_app.jobs.app_jobs import AppJobs
from flask_concurrency.flask_app.jobs.engine import CarriedJobs, Engine

__all__ = ["AppJobs", "CarriedJobs", "Engine"]
