"""Configuration: read once, and every mistake named."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.flask_app.declarations.options import read_declarations
from flask_concurrency.flask_app.settings import Settings, read_settings
from flask_concurrency.vocabulary.limits import read_limits


def test_nothing_configured_is_the_default() -> None:
    """Other extensions' keys are not ours to judge."""
    assert read_settings({"SECRET_KEY": "x", "CONCURRENT": 1}) == Settings()


def test_configuration_wins_over_code() -> None:
    """Who deploys knows better than who wrote it; what is not configured stays as written."""
    settings = read_settings(
        {"CONCURRENCY_DEFAULT_LIMITS": "1/day", "CONCURRENCY_THREADS": {"max_workers": 3}},
        default_limits=read_declarations("2/day"),
        app_limits=read_declarations("3/day"),
    )
    assert [each.limits for each in settings.default_limits] == [read_limits("1/day")]
    assert [each.limits for each in settings.app_limits] == [read_limits("3/day")]
    assert settings.threads == {"max_workers": 3}


def test_limits_can_be_configured_away() -> None:
    """An empty list means none, also where the code gives some."""
    settings = read_settings({"CONCURRENCY_APP_LIMITS": []}, app_limits=read_declarations("3/day"))
    assert settings.app_limits == ()


@pytest.mark.parametrize("key", ["STORE", "NAMESPACE", "MAX_REQUEST_AGE", "SERVER_THREADS"])
def test_a_default_of_none_may_be_written(key: str) -> None:
    """The reference names it, so it can be said."""
    assert read_settings({f"CONCURRENCY_{key}": None}) == Settings()


@pytest.mark.parametrize("variable", ["SERVE_WORKERS", "STATUS_KEY", "POOL_THREADS"])
def test_the_environment_may_speak_to_commands_and_to_the_app(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``from_prefixed_env`` takes along the options of ``flask concurrency serve``."""
    monkeypatch.setenv(f"FLASK_CONCURRENCY_{variable}", "4")
    monkeypatch.setenv("FLASK_CONCURRENCY_HEADERS", "false")
    app = Flask(__name__)
    app.config.from_prefixed_env()
    assert read_settings(app.config).headers is False


@pytest.mark.parametrize("variable", ["SERVER_THREADS", "POOL_THREADS"])
def test_a_server_that_is_no_number_is_named(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable and what it says."""
    monkeypatch.setenv(f"FLASK_CONCURRENCY_{variable}", "many")
    with pytest.raises(ConfigurationError, match=f"FLASK_CONCURRENCY_{variable}='many'"):
        read_settings({})


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"CONCURRENCY_DEFALT_LIMITS": "1/day"}, "did you mean 'CONCURRENCY_DEFAULT_LIMITS'?"),
    ({"CONCURRENCY_XYZ": 1}, "known are CONCURRENCY_STORE"),
    ({"CONCURRENCY_store": "memory://"}, "'CONCURRENCY_store'"),
    ({"CONCURRENCY_DEFAULT_LIMITS": "often"}, "CONCURRENCY_DEFAULT_LIMITS: 'often'"),
    ({"CONCURRENCY_APP_LIMITS": 5}, "CONCURRENCY_APP_LIMITS: 5"),
    ({"CONCURRENCY_STORE": 5}, "CONCURRENCY_STORE = 5"),
    ({"CONCURRENCY_ENABLED": None}, "CONCURRENCY_ENABLED = None"),
    ({"CONCURRENCY_SERVE_WORKERS": 4}, "'CONCURRENCY_SERVE_WORKERS'"),
    ({"CONCURRENCY_STORE": "etcd://"}, "'etcd://'"),
    ({"CONCURRENCY_ENABLED": "no"}, "CONCURRENCY_ENABLED = 'no': give True or False"),
    ({"CONCURRENCY_ENABLED": "False"}, "in the environment, true or false."),
    ({"CONCURRENCY_HEADERS": "both"}, "legacy"),
    ({"CONCURRENCY_THREADS": 8}, "CONCURRENCY_THREADS = 8: give a dict"),
]


@pytest.mark.parametrize(("config", "told"), MISTAKES)
def test_a_mistake_fails_at_init_app(config: dict[str, Any], told: str) -> None:
    """The message names key and value."""
    app = Flask(__name__)
    app.config.update(config)
    with pytest.raises(ConfigurationError) as caught:
        Concurrency(app)
    assert told in str(caught.value)
