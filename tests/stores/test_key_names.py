"""Names of keys on a server: bounded, apart from each other, in one slot of a cluster."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.stores import key_names
from flask_concurrency.stores.key_names import KeyNames
from flask_concurrency.stores.store import Check

POLICY = SlidingWindow(5, 60.0)
texts = st.text(st.characters(), max_size=300)  # lone surrogates, too


def name(limiter_id: str, key: str, *, namespace: str = "shop", letter: str = "s") -> str:
    return KeyNames(namespace).of(Check(limiter_id, POLICY, key, 1), letter)


@settings(max_examples=30)
@given(texts, texts, texts)
def test_a_name_is_short_and_plain_whatever_it_is_made_of(
    namespace: str, limiter_id: str, key: str
) -> None:
    """Printable ASCII without spaces, so that memcached takes it, too, and a person can type it."""
    found = name(limiter_id, key, namespace=namespace[:20])
    assert re.fullmatch(r"[!-~]+", found)
    assert len(found) <= 250


@settings(max_examples=30)
@given(texts, texts)
def test_all_names_of_a_namespace_are_in_one_slot(limiter_id: str, key: str) -> None:
    """A cluster hashes what stands in the first braces, and there is only one pair of them."""
    found = name(limiter_id, key, namespace="a}b{c")
    assert found.startswith("{flask-concurrency:a%7db%7bc}:")
    assert found.count("{") == found.count("}") == 1


def test_who_is_counted_apart_has_another_name() -> None:
    """Namespace, policy, limiter and key each make a name of their own, however long they are."""
    long = "x" * 1_000
    names = {
        name("a", "k"),
        name("a", "l"),
        name("b", "k"),
        name("a", "k", letter="f"),
        name("a", "k", namespace="other"),
        name(long + "1", "k"),
        name(long + "2", "k"),
        name("a", long + "1"),
        name("a", long + "2"),
    }
    assert len(names) == 9


def test_a_name_tells_a_person_which_limit_it_counts() -> None:
    """A person who looks into the server finds the route and the limit in it."""
    assert ":2:s:route_index_route_5_minute~" in name("route\x1findex\x1froute:5/minute", "k")


def test_names_of_limiters_are_kept_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits chosen in requests can be many; what is kept ready of them is bounded."""
    monkeypatch.setattr(key_names, "MAX_LIMITERS", 3)
    names = KeyNames("shop")
    made = [names.of(Check(str(number), POLICY, "k", 1), "s") for number in range(10)]
    assert len(names._limiters) <= 3
    assert made == [names.of(Check(str(number), POLICY, "k", 1), "s") for number in range(10)]
