"""Who is counted."""

from __future__ import annotations

import pytest
from flask import Flask

from flask_concurrency.keys import header, remote_address

ADDRESSES = [  # what the server reports -> who is counted
    ("192.0.2.7", "192.0.2.7"),
    ("::ffff:192.0.2.7", "192.0.2.7"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
    ("fe80::1%eth0", "fe80::/64"),
    ("192.0.2.7:40001", "192.0.2.7"),  # Azure Application Gateway, IIS
    ("[2001:db8:1:2:3:4:5:6]:40001", "2001:db8:1:2::/64"),
    ("[2001:db8:1:2:3:4:5:6]", "2001:db8:1:2::/64"),
    ("[::ffff:192.0.2.7]:40001", "192.0.2.7"),
    ("64:ff9b::192.0.2.7", "192.0.2.7"),  # NAT64 (RFC 6052)
    ("::ffff:0:192.0.2.7", "192.0.2.7"),  # SIIT (RFC 2765)
    ("::192.0.2.7", "192.0.2.7"),  # IPv4-compatible
    ("::1", "::/64"),
    ("localhost:80", "localhost:80"),
    ("192.0.2.7:port", "192.0.2.7:port"),
    ("unix:/run/app.sock", "unix:/run/app.sock"),
    ("", ""),
]


@pytest.mark.parametrize(("address", "counted"), ADDRESSES)
def test_a_subscriber_is_one_client(address: str, counted: str) -> None:
    """IPv6 by its /64, IPv6 that carries IPv4 as IPv4, a port never; anything else as it is."""
    with Flask(__name__).test_request_context("/", environ_base={"REMOTE_ADDR": address}):
        assert remote_address() == counted


def test_a_forwarded_header_is_not_believed() -> None:
    """A client that sends ``X-Forwarded-For`` without a configured proxy keeps its address."""
    headers = {"X-Forwarded-For": "203.0.113.9"}
    with Flask(__name__).test_request_context(
        "/", headers=headers, environ_base={"REMOTE_ADDR": "192.0.2.7"}
    ):
        assert remote_address() == "192.0.2.7"


def test_a_header_is_a_key() -> None:
    """With its value; without it, the anonymous key."""
    api_key = header("X-API-Key")
    with Flask(__name__).test_request_context("/", headers={"X-API-Key": "secret"}):
        assert api_key() == "secret"
    with Flask(__name__).test_request_context("/"):
        assert api_key() == ""
