"""The logged-in user is counted, on every request that knows one."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_login import (  # type: ignore[import-untyped]
    LoginManager,
    UserMixin,
    login_user,
    logout_user,
)

from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.engine.declaration import Stage
from flask_concurrency.keys import user

STAGES: list[Stage] = ["arrival", "view"]


class Person(UserMixin):  # type: ignore[misc]
    """A user as an app has them; the loader of these tests finds every name."""

    def __init__(self, name: str) -> None:
        self.id = name

    @property
    def is_active(self) -> bool:
        """Whether the account is in use."""
        return not str(self.id).startswith("suspended")


@pytest.fixture
def app() -> Flask:
    """An app one can log in to."""
    app = Flask(__name__)
    app.secret_key = "for tests"
    logins = LoginManager(app)
    logins.user_loader(Person)

    @app.post("/login/<name>")
    def login(name: str) -> str:
        return str(login_user(Person(name)))

    @app.post("/logout")
    def logout() -> str:
        return str(logout_user())

    return app


@pytest.fixture
def clients(app: Flask) -> Callable[[str], FlaskClient]:
    """``clients("192.0.2.7")`` gives a browser with cookies of its own at that address."""

    def client(address: str) -> FlaskClient:
        browser = app.test_client()
        browser.environ_base["REMOTE_ADDR"] = address
        return browser

    return client


def test_who_is_logged_in_is_counted_wherever_they_are(
    app: Flask, clients: Callable[[str], FlaskClient]
) -> None:
    """The id of the user, as text that no address can be."""
    app.add_url_rule("/whom", "whom", user)
    at_home = clients("192.0.2.7")
    at_home.post("/login/42")

    assert at_home.get("/whom").text == "user:42"
    at_home.environ_base["REMOTE_ADDR"] = "198.51.100.1"
    assert at_home.get("/whom").text == "user:42"


def test_who_is_not_logged_in_is_counted_by_address(
    app: Flask, clients: Callable[[str], FlaskClient]
) -> None:
    """Before the login and after the logout; IPv6 folds as it does without users."""
    app.add_url_rule("/whom", "whom", user)
    client = clients("2001:db8:1:2::3")

    assert client.get("/whom").text == "address:2001:db8:1:2::/64"
    client.post("/login/42")
    assert client.get("/whom").text == "user:42"
    client.post("/logout")
    assert client.get("/whom").text == "address:2001:db8:1:2::/64"


def test_a_name_that_looks_like_an_address_is_still_a_name(
    app: Flask, clients: Callable[[str], FlaskClient]
) -> None:
    """No user can spend an address's quota, or hide in it, by the name they choose."""
    app.add_url_rule("/whom", "whom", user)
    client = clients("192.0.2.7")
    client.post("/login/address:192.0.2.9")

    assert client.get("/whom").text == "user:address:192.0.2.9"


def test_an_account_that_is_suspended_is_nobody(
    app: Flask, clients: Callable[[str], FlaskClient]
) -> None:
    """Flask-Login still finds it in the session, but it is not authenticated."""
    app.add_url_rule("/whom", "whom", user)
    client = clients("192.0.2.7")
    with client.session_transaction() as session:
        session["_user_id"] = "suspended"

    assert client.get("/whom").text == "address:192.0.2.7"


@pytest.mark.parametrize("number", [0, 7])
def test_a_number_is_a_user(app: Flask, number: int) -> None:
    """Also where ``get_id`` gives no text, and also zero."""

    class Numbered(Person):
        def get_id(self) -> int:
            return number

    app.login_manager.request_loader(lambda request: Numbered("x"))  # type: ignore[attr-defined]
    app.add_url_rule("/whom", "whom", user)

    assert app.test_client().get("/whom").text == f"user:{number}"


@pytest.mark.parametrize("at", STAGES)
def test_each_user_has_a_quota_of_their_own(
    app: Flask, clients: Callable[[str], FlaskClient], at: Stage
) -> None:
    """Two users behind one address do not disturb each other, nor an anonymous client."""
    concurrency = Concurrency(app)

    @app.get("/")
    @concurrency.limit("1/hour", key=user, at=at)
    def index() -> str:
        return "in"

    ada, brian, nobody = (clients("192.0.2.7") for _ in range(3))
    ada.post("/login/ada")
    brian.post("/login/brian")

    for client in (ada, brian, nobody):
        assert [client.get("/").status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("at", STAGES)
def test_a_user_has_one_quota_in_all_browsers(
    app: Flask, clients: Callable[[str], FlaskClient], at: Stage
) -> None:
    """Another session at another address is still the same user."""
    concurrency = Concurrency(app)

    @app.get("/")
    @concurrency.limit("1/hour", key=user, at=at)
    def index() -> str:
        return "in"

    phone, laptop = clients("192.0.2.7"), clients("198.51.100.1")
    phone.post("/login/ada")
    laptop.post("/login/ada")

    assert [phone.get("/").status_code, laptop.get("/").status_code] == [200, 429]


def test_a_loader_that_needs_a_hook_is_asked_at_the_view(app: Flask) -> None:
    """On arrival no hook has run; at the view all have."""
    concurrency = Concurrency(app)
    found: list[str] = []

    @app.before_request
    def prepare() -> None:
        found.append("prepared")

    def load(request: object) -> Person:
        return Person(found[-1])

    app.login_manager.request_loader(load)  # type: ignore[attr-defined]

    @app.get("/")
    @concurrency.limit("1/hour", key=user, at="view")
    def index() -> str:
        return user()

    assert app.test_client().get("/").text == "user:prepared"


def test_it_can_be_the_key_of_the_whole_app(
    app: Flask, clients: Callable[[str], FlaskClient]
) -> None:
    """``Concurrency(key=user)`` counts users by every limit that says nothing else."""
    Concurrency(app, key=user, app_limits="2/hour")
    ada = clients("192.0.2.7")
    ada.post("/login/ada")  # spends one of the address's

    assert [ada.get("/nowhere").status_code for _ in range(3)] == [404, 404, 429]
    assert clients("192.0.2.7").get("/nowhere").status_code == 404


def test_an_app_without_a_login_manager_is_told_what_it_lacks() -> None:
    """Not ``AttributeError`` from the depths of another library."""
    app = Flask("shop")
    with (
        app.test_request_context("/"),
        pytest.raises(ConfigurationError, match=r"'shop' has none: call LoginManager\(app\)"),
    ):
        user()


def test_without_flask_login_the_import_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As early as can be: where the code names the key. The other keys do without."""
    import flask_concurrency.keys as keys

    monkeypatch.setitem(sys.modules, "flask_login", None)
    monkeypatch.delitem(sys.modules, "flask_concurrency.flask_app.declarations.logged_in_user")

    with pytest.raises(ConfigurationError, match="pip install Flask-Login"):
        from flask_concurrency.keys import user  # noqa: F401
    assert keys.header("X-API-Key").__qualname__ == "header('X-API-Key')"


def test_the_module_of_keys_has_no_other_names() -> None:
    """A misspelt key is an error as for any module."""
    import flask_concurrency.keys as keys

    with pytest.raises(AttributeError, match="has no attribute 'users'"):
        _ = keys.users
