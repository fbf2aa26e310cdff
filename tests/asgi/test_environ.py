"""What a WSGI application finds in its environment on ASGI."""

from __future__ import annotations

from typing import Any

import pytest

from flask_concurrency.asgi.environ import SCOPE, make_environ


def environ_of(**given: Any) -> dict[str, Any]:
    """The environment of a request; ``headers`` as text."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in given.pop("headers", [])]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": headers,
        **given,
    }
    return make_environ(scope)


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ({"path": "/a b"}, "/a b"),
        ({"path": "/你"}, "/\xe4\xbd\xa0"),
        ({"path": "/你", "raw_path": b"/%E4%BD%A0"}, "/\xe4\xbd\xa0"),
        ({"path": "/\ufffd/", "raw_path": b"/%FF%2F"}, "/\xff/"),
        ({"path": "/a", "raw_path": b"/a?b=%20"}, "/a"),
        ({"path": "/a", "raw_path": None}, "/a"),
        ({"path": "http://a.example/b/c", "raw_path": b"http://a.example/b/c"}, "/b/c"),
        ({"path": "http://a.example", "raw_path": b"http://a.example"}, "/"),
        ({"path": "*", "raw_path": b"*"}, "*"),
    ],
)
def test_the_path_is_what_the_client_sent_byte_for_byte(scope: dict[str, Any], path: str) -> None:
    """From the raw path where there is one: what is no UTF-8 is lost in the other."""
    assert environ_of(**scope)["PATH_INFO"] == path


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ({"path": "/b/你", "raw_path": b"/a/b/%E4%BD%A0"}, "/b/\xe4\xbd\xa0"),
        ({"path": "/b", "raw_path": b""}, "/b"),
        ({"path": "/b", "raw_path": b"/a/%FF", "root_path": "/a"}, "/b"),
        ({"path": "/\ufffd", "raw_path": b"/a/%FF", "root_path": "/a"}, "/\xff"),
    ],
)
def test_a_path_that_middleware_has_rewritten_counts(scope: dict[str, Any], path: str) -> None:
    """Though it left the raw path alone; one that was only cut to its mount point is no other."""
    assert environ_of(**scope)["PATH_INFO"] == path


@pytest.mark.parametrize(
    ("root_path", "path", "script_name", "path_info"),
    [
        ("", "/a", "", "/a"),
        ("/shop", "/shop/a", "/shop", "/a"),
        ("/shop/", "/shop/a", "/shop", "/a"),
        ("/shop", "/shop", "/shop", ""),
        ("/shop", "/a", "/shop", "/a"),  # a server that has cut it off already
        ("/shop", "/shopping", "/shop", "/shopping"),
    ],
)
def test_the_mount_point_is_no_part_of_the_path(
    root_path: str, path: str, script_name: str, path_info: str
) -> None:
    """Together they are what the client asked for."""
    environ = environ_of(root_path=root_path, path=path)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)


def test_repeated_fields_are_one() -> None:
    """Joined by commas, cookies by semicolons."""
    fields = [("x-a", "1"), ("cookie", "a=1"), ("x-a", "2"), ("cookie", "b=2"), ("x-a", "3")]
    environ = environ_of(headers=fields)
    assert environ["HTTP_X_A"] == "1,2,3"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"


def test_a_field_cannot_pretend_to_be_another() -> None:
    """WSGI gives ``X_Forwarded_For`` and ``X-Forwarded-For`` one name; proxies write the latter."""
    fields = [("x_forwarded_for", "6.6.6.6"), ("content_length", "9"), ("x-odd", "\xe9")]
    environ = environ_of(headers=fields)
    assert not [name for name in environ if "FORWARDED" in name or "LENGTH" in name]
    assert environ["HTTP_X_ODD"] == "\xe9"


def test_content_fields_have_no_prefix() -> None:
    """As CGI spells them."""
    environ = environ_of(headers=[("content-type", "text/plain"), ("content-length", "3")])
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/plain", "3")
    assert "HTTP_CONTENT_TYPE" not in environ


@pytest.mark.parametrize(
    ("scope", "name", "port"),
    [
        ({"server": ("10.0.0.1", 8000)}, "10.0.0.1", "8000"),
        ({"server": ("/run/shop.sock", None)}, "localhost", "80"),
        ({"server": None, "headers": [("host", "shop.example:81")]}, "shop.example", "81"),
        ({"headers": [("host", "shop.example")], "scheme": "https"}, "shop.example", "443"),
        ({"headers": [("host", "[::1]")]}, "[::1]", "80"),
    ],
)
def test_a_server_has_a_name_and_a_port(scope: dict[str, Any], name: str, port: str) -> None:
    """WSGI demands both, and a Unix socket has neither."""
    environ = environ_of(**scope)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)


def test_a_client_may_have_no_address() -> None:
    """Behind a Unix socket, as on gunicorn."""
    assert environ_of(client=None)["REMOTE_ADDR"] == ""
    environ = environ_of(client=("1.2.3.4", 5))
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("1.2.3.4", "5")


def test_the_rest_says_what_pep_3333_wants() -> None:
    """And carries the scope along."""
    environ = environ_of(http_version="2", query_string=b"a=\xe9", scheme="https", path="/p")
    assert environ["SERVER_PROTOCOL"] == "HTTP/2"
    assert environ["QUERY_STRING"] == "a=\xe9"
    assert environ["REQUEST_URI"] == "/p?a=\xe9"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["wsgi.input_terminated"] is True
    assert environ[SCOPE]["method"] == "GET"
