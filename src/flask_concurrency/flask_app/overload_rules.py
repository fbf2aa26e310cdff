"""Build from an app's settings what runs before Flask under overload. Sees no request."""

from __future__ import annotations

from flask import Flask

from flask_concurrency.engine.plan import Source, adaptive_limit, candidates
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.http.overload_responses import OverloadResponse
from flask_concurrency.flask_app.overload.control import OverloadControl, Rule
from flask_concurrency.vocabulary.limits import Adaptive


def make_control(app: Flask, state: AppState) -> OverloadControl | None:
    """What asks the adaptive limits of a whole app; ``None`` where it has none."""
    settings = state.settings
    sources = [Source("app", declared) for declared in settings.app_limits]
    rules = []
    for found in candidates(sources, method="", key=state.key):
        if isinstance(found.limit, Adaptive):
            limit = adaptive_limit(found, None, state.adaptive)
            methods = found.source.declaration.methods
            rules.append(Rule(limit, methods, found.key, OverloadResponse(limit.name)))
    if not rules:
        return None
    from flask_concurrency.flask_app.http.arrivals import Arrivals

    askers = state.askers(app)
    return OverloadControl(
        rules,
        askers=askers,
        arrivals=Arrivals(
            trusts_proxy=settings.trust_request_start or settings.max_request_age is not None,
            knows_lag=not app.testing,  # a test's client waits for nothing
        ),
        skips_gone=settings.skip_gone_clients,
        needs_cors=lambda: state.cors is not None or askers.finds_cors,
        announce=state.announce,
    )
