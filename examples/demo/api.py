"""The API of the demo: an ordinary Flask app that Flask-Concurrency serves, in four chapters.

Decides what the app is made of; each chapter decides its own views and limits.
"""

from __future__ import annotations

from examples.demo import problems
from examples.demo.burst import burst
from examples.demo.extension import concurrency
from examples.demo.fetching import fetching
from examples.demo.origins import Origins
from examples.demo.pictures import pictures
from examples.demo.sizes import MAX_UPLOAD, POOL_THREADS
from examples.demo.waiting import waiting
from flask import Flask

from flask_concurrency import Refusal


def create_app(origins: Origins) -> Flask:
    """Make the API for a page at ``origins.page``."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_UPLOAD
    app.config["CONCURRENCY_THREADS"] = {"max_workers": POOL_THREADS}
    # What tiles need is imported once, before the workers are forked.
    app.config["CONCURRENCY_PROCESSES"] = {
        "preload": ["examples.demo.fractal", "examples.demo.contact_sheet"]
    }
    app.config["FETCH_ORIGINS"] = frozenset(origins.page_aliases)
    app.config.from_prefixed_env("DEMO")
    concurrency.init_app(app)
    concurrency.cors(app, origins=origins.page_aliases)
    problems.install(app)
    app.register_error_handler(Refusal, lambda refusal: refusal)  # it spells itself
    for chapter in (burst, fetching, pictures, waiting):
        app.register_blueprint(chapter)
    return app


app = create_app(Origins.from_environment())
