"""The page's own server: the page, its static files, and pages worth waiting for.

Decides what a browser may load here; what the panels show comes from the API; the jobs are its own.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from examples.demo import problems
from examples.demo.choices import LIMITS, PLACES
from examples.demo.measuring import measuring
from examples.demo.origins import HOME_VARIABLE, Origins
from examples.demo.overloading import overloading
from examples.demo.reporting import OPTIONS, concurrency, reporting
from examples.demo.sample_pages import sample_pages
from examples.demo.shown_code import highlighted, source_of
from examples.demo.sizes import MAX_UPLOAD, MOST_WAITS, WORKERS
from flask import Flask, Response, render_template

HOME = str(Path(__file__).parent / "instance")
"""Where jobs are kept if the launcher does not say."""


def create_app(origins: Origins) -> Flask:
    """Make the page whose API is at ``origins.api``."""
    app = Flask(__name__, instance_path=os.environ.get(HOME_VARIABLE, HOME))
    app.config["ORIGINS"] = origins
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    problems.install(app)
    app.register_blueprint(sample_pages)
    app.register_blueprint(measuring)
    app.register_blueprint(overloading)
    app.register_blueprint(reporting)
    app.config["CONCURRENCY_JOBS"] = OPTIONS
    app.config.from_prefixed_env("DEMO")
    concurrency.init_app(app)
    # What a job does is on the page; the terminal is for what the demo cannot do.
    logging.getLogger("flask_concurrency.jobs").addFilter(_is_error)

    @app.get("/")
    def index() -> str:
        return render_template(
            "page.html",
            origins=origins,
            workers=WORKERS,
            processors=os.cpu_count() or 1,
            limits=LIMITS,
            places=PLACES,
            max_upload=MAX_UPLOAD,
            most_requests=MOST_WAITS,
            source_of=source_of,
            highlighted=highlighted,
        )

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
            f"connect-src 'self' {origins.api}; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return app


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


app = create_app(Origins.from_environment())
