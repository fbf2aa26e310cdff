"""Mistakes that are easily made, and what each is answered."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.flask_app.settings import Settings, read_settings


@pytest.mark.parametrize("above", [True, False])
def test_limit_without_parentheses_says_what_to_write(
    above: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Below ``@app.get`` it fails at once; above it the first request logs a warning."""
    app = Flask("shop")
    concurrency = Concurrency(app)

    def index() -> str:
        return "hello"

    limit: Any = concurrency.limit
    if above:
        limited = limit(app.get("/")(index))
        with caplog.at_level(logging.WARNING, logger="flask_concurrency.limits"):
            app.test_client().get("/")
        (message,) = caplog.messages
        assert "index" in message
        assert '@concurrency.limit("5/minute")' in message
        del limited
    else:
        with pytest.raises(ConfigurationError, match=r'write @concurrency.limit\("5/minute"\)'):
            app.get("/")(limit(index))


def test_what_is_no_app_is_refused() -> None:
    """Flask-Limiter takes the key first."""
    with pytest.raises(ConfigurationError, match="key="):
        Concurrency(lambda: "me")  # type: ignore[arg-type]


CONFIGURATION: list[tuple[str, Any, str]] = [
    ("CONCURENCY_STORE", "memory://", "did you mean 'CONCURRENCY_STORE'"),
    ("CONCURRENCIES_ENABLED", False, "did you mean 'CONCURRENCY_ENABLED'"),
    ("CONCURRENCY_REDIS_URL", "redis://x", "did you mean 'CONCURRENCY_STORE'"),
    ("CONCURRENCY_DEFAULT", "5/minute", "did you mean 'CONCURRENCY_DEFAULT_LIMITS'"),
    ("CONCURRENCY_DEFAULT_LIMITS", "", "CONCURRENCY_DEFAULT_LIMITS"),
    ("CONCURRENCY_DEFAULT_LIMITS", " ", "CONCURRENCY_DEFAULT_LIMITS"),
    ("CONCURRENCY_DEFAULT_LIMITS", 0, "CONCURRENCY_DEFAULT_LIMITS"),
    ("CONCURRENCY_DEFAULT_LIMITS", 0.0, "CONCURRENCY_DEFAULT_LIMITS"),
    ("CONCURRENCY_DEFAULT_LIMITS", False, "CONCURRENCY_DEFAULT_LIMITS"),
    ("CONCURRENCY_DEFAULT_LIMITS", None, "CONCURRENCY_DEFAULT_LIMITS"),
    ("CONCURRENCY_DEFAULT_LIMITS", {}, "stand in no dict"),
    ("CONCURRENCY_APP_LIMITS", {"5/minute": {"methods": ["GET"]}}, "stand in no dict"),
    ("CONCURRENCY_NAMESPACE", 1.1, "number in quotes"),
    ("CONCURRENCY_ENABLED", 0, "true or false"),
]


@pytest.mark.parametrize(("key", "value", "message"), CONFIGURATION)
def test_a_value_of_the_environment_is_never_read_otherwise(
    key: str, value: Any, message: str
) -> None:
    """``from_prefixed_env`` reads numbers, empty texts and JSON; none of it switches limits off."""
    with pytest.raises(ConfigurationError, match=message):
        read_settings({key: value})


def test_no_limits_and_the_number_of_a_release_may_be_said() -> None:
    """An empty list means none; a whole number is a name."""
    assert read_settings({"CONCURRENCY_DEFAULT_LIMITS": []}).default_limits == ()
    assert read_settings({"CONCURRENCY_NAMESPACE": 42}).namespace == "42"


KUBERNETES = {
    "FLASK_CONCURRENCY_SERVICE_HOST": "10.0.0.1",
    "FLASK_CONCURRENCY_SERVICE_PORT": "8000",
    "FLASK_CONCURRENCY_SERVICE_PORT_HTTP": "8000",
    "FLASK_CONCURRENCY_PORT": "tcp://10.0.0.1:8000",
    "FLASK_CONCURRENCY_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "FLASK_CONCURRENCY_PORT_8000_TCP_PROTO": "tcp",
    "FLASK_CONCURRENCY_PORT_8000_TCP_ADDR": "10.0.0.1",
}


def test_a_service_called_flask_concurrency_stops_no_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes writes its host and ports into the environment of every container."""
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(name, value)
    app = Flask("shop")
    app.config.from_prefixed_env()
    assert app.config["CONCURRENCY_SERVICE_HOST"] == "10.0.0.1"
    assert read_settings(app.config) == Settings()
    monkeypatch.delenv("FLASK_CONCURRENCY_SERVICE_HOST")
    with pytest.raises(ConfigurationError, match="CONCURRENCY_SERVICE_HOST"):
        read_settings(app.config)


@pytest.mark.parametrize("both", [False, True])
def test_configuration_of_flask_limiter_that_is_left_over_is_told(
    both: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless Flask-Limiter is in use as well, as while routes move one after the other."""
    app = Flask("shop")
    app.config["RATELIMIT_DEFAULT"] = "5/minute"
    Concurrency(app)
    if both:
        app.extensions["limiter"] = {object()}
    with caplog.at_level(logging.WARNING, logger="flask_concurrency.limits"):
        for _ in range(2):
            app.test_client().get("/")
    told = [text for text in caplog.messages if "RATELIMIT_DEFAULT" in text]
    assert len(told) == (0 if both else 1)
    assert all("CONCURRENCY_DEFAULT_LIMITS" in text for text in told)
