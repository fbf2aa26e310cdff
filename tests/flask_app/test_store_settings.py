"""The configuration of the store: what may be said, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from flask_concurrency.flask_app.settings import read_settings
from flask_concurrency.vocabulary.errors import ConfigurationError


def test_an_outage_is_met_here_after_a_quarter_of_a_second() -> None:
    """Unless the app says otherwise."""
    settings = read_settings({})
    assert (settings.store_timeout, settings.on_store_failure) == (0.25, "local")


@pytest.mark.parametrize("seconds", [1, 0.05])
def test_a_timeout_is_any_number_of_seconds(seconds: float) -> None:
    """Whole or not."""
    assert read_settings({"CONCURRENCY_STORE_TIMEOUT": seconds}).store_timeout == seconds


@pytest.mark.parametrize("value", [0, -1, "1", None, True, float("inf"), float("nan")])
def test_a_timeout_that_is_none_is_refused(value: Any) -> None:
    """A store is not waited for without end, and cannot answer in no time."""
    with pytest.raises(ConfigurationError, match="CONCURRENCY_STORE_TIMEOUT"):
        read_settings({"CONCURRENCY_STORE_TIMEOUT": value})


@pytest.mark.parametrize("policy", ["local", "admit", "refuse"])
def test_there_are_three_policies(policy: str) -> None:
    """Count here, admit, or refuse."""
    settings = read_settings({"CONCURRENCY_ON_STORE_FAILURE": policy})
    assert settings.on_store_failure == policy


@pytest.mark.parametrize("value", ["Local", "", None, ["local"]])
def test_another_policy_is_refused_with_the_choices(value: Any) -> None:
    """Where it is written, not in the first outage."""
    with pytest.raises(ConfigurationError, match="'local', 'admit', 'refuse'"):
        read_settings({"CONCURRENCY_ON_STORE_FAILURE": value})
