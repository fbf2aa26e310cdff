"""The app inside worker processes: how it is found, and what a task has of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency, ConfigurationError, WorkerStartFailed
from flask_concurrency.flask_app.work.worker_app import WorkerApp, find_app

SHOP = """
from flask import Flask, current_app, g
from flask_concurrency import Concurrency

concurrency = Concurrency()
ended = []

def create_app(color="red"):
    app = Flask(__name__)
    app.config.update(COLOR=color, TESTING=True, CONCURRENCY_PROCESSES=OPTIONS)
    concurrency.init_app(app)

    @app.teardown_appcontext
    def note(error):
        ended.append(type(error).__name__)

    return app

def color():
    assert "used" not in g
    g.used = True
    return current_app.config["COLOR"]

def fail():
    raise KeyError(color())

def nested():
    return color(), concurrency.processes.submit(color).result()

def endings():
    return list(ended)
"""

MakeShop = Callable[..., Any]


@pytest.fixture
def make_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeShop]:
    """Write a module with an app factory, and import it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("FLASK_APP", raising=False)
    made: list[Any] = []

    def make(name: str, *, end: str = "", **options: Any) -> Any:
        (tmp_path / f"{name}.py").write_text(SHOP.replace("OPTIONS", repr(options)) + end)
        made.append(import_module(name))
        return made[-1]

    yield make
    for module in made:
        for app in tuple(module.concurrency._apps):
            with app.app_context():
                module.concurrency.processes.shutdown(cancel_futures=True)
        del sys.modules[module.__name__]


@pytest.mark.slow
def test_pitfall_5_each_task_of_a_worker_has_an_app_context_of_its_own(make_shop: MakeShop) -> None:
    """Torn down when it ends, with its error; so does a task that a task submits."""
    shop = make_shop("shop_of_factory", app="shop_of_factory:create_app('blue')", max_workers=1)
    with shop.create_app().app_context():
        processes = shop.concurrency.processes
        assert processes.submit(shop.color).result(30) == "blue"
        assert isinstance(processes.submit(shop.fail).exception(30), KeyError)
        assert processes.submit(shop.endings).result(30) == ["NoneType", "KeyError"]
        assert processes.submit(shop.nested).result(30) == ("blue", "blue")


@pytest.mark.slow
def test_the_name_of_the_app_in_its_module_is_found(make_shop: MakeShop) -> None:
    """Though it got that name after the extension was made."""
    shop = make_shop("shop_with_name", end="\nstore = create_app()\n", max_workers=1)
    with shop.store.app_context():
        assert shop.concurrency.processes.submit(shop.color).result(30) == "red"


@pytest.mark.slow
def test_pitfall_24_an_app_is_sent_as_the_place_to_import_it_from(
    make_shop: MakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``FLASK_APP`` names it for ``flask run`` and ``flask concurrency serve``."""
    shop = make_shop("shop_of_command", max_workers=1)
    monkeypatch.setenv("FLASK_APP", "shop_of_command:create_app('green')")
    with shop.create_app().app_context():
        assert shop.concurrency.processes.submit(shop.color).result(30) == "green"


@pytest.mark.slow
def test_an_app_that_is_not_found_is_asked_for_by_a_task_that_wants_it(make_shop: MakeShop) -> None:
    """Others run as ever; the message says how to name it."""
    shop = make_shop("shop_without_name", max_workers=1)
    with shop.create_app().app_context():
        processes = shop.concurrency.processes
        assert processes.submit(abs, -1).result(30) == 1
        error = processes.submit(shop.color).exception(30)
    assert isinstance(error, RuntimeError)
    (note,) = error.__notes__
    assert "where to import it from is not known" in note
    assert "CONCURRENCY_PROCESSES = {'app': 'module:name'}" in note


@pytest.mark.slow
def test_an_app_that_is_named_wrongly_is_told(make_shop: MakeShop) -> None:
    """To every task, for the developer has said that there is one."""
    shop = make_shop("shop_misnamed", app="shop_misnamed:no_such_app", max_workers=1)
    with (
        shop.create_app().app_context(),
        pytest.raises(WorkerStartFailed, match=r"(?s)shop_misnamed:no_such_app.*cannot be"),
    ):
        shop.concurrency.processes.submit(abs, -1).result(30)


def _told(place: str | None, import_name: str | None) -> str:
    with (
        pytest.raises(RuntimeError) as caught,
        find_app(place, import_name)(),
    ):
        raise RuntimeError("Working outside of application context.")
    (note,) = caught.value.__notes__
    return note


def test_why_an_app_was_not_found_is_told(make_shop: MakeShop) -> None:
    """It cannot be imported, is another app, or is where workers do not look."""
    make_shop("shop_of_others")
    assert "importing 'no_such_module:app' failed" in _told("no_such_module:app", "mine")
    assert "is another one" in _told("shop_of_others:create_app", "mine")
    assert "in the script that was run" in _told("__main__:app", "__main__")


def test_other_errors_are_left_as_they_are() -> None:
    """The note is for tasks that use the app."""
    with pytest.raises(RuntimeError) as caught, find_app(None, "mine")():
        raise RuntimeError("something else")
    assert not hasattr(caught.value, "__notes__")


def test_an_app_of_the_script_that_was_run_is_found_where_that_was_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it is for a task that is defined in it."""
    app = Flask("script")
    monkeypatch.setitem(sys.modules, "__mp_main__", type(sys)("script"))
    monkeypatch.setattr(sys.modules["__mp_main__"], "shop", app, raising=False)
    from flask import current_app

    with find_app("__main__:shop", "__main__")():
        assert current_app.name == "script"


@pytest.mark.parametrize("named", [7, ["shop"]])
def test_a_place_that_is_no_text_is_refused(named: Any) -> None:
    """Where it is configured."""
    app = Flask(__name__)
    app.config["CONCURRENCY_PROCESSES"] = {"app": named}
    with pytest.raises(ConfigurationError, match=r"app=.*is no place to import an app from"):
        Concurrency(app)


def test_an_app_called_by_its_own_process_is_that_app() -> None:
    """What crosses to a worker may be called here, too."""
    here = WorkerApp(Flask("nowhere"))
    with pytest.raises(RuntimeError, match="application context"), here()():
        raise RuntimeError("application context")
