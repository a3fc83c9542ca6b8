from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylae.maintenance.switch import LONGEST, MOST_TEXT, Scope, Switch, key_of, read, text_problem
from pylae.store.store import check_key

GOOD: dict[str, Any] = {
    "version": 1, "scope": "service", "name": "shop", "text": "shut", "retry_after": 60, "since": "today", "by": "me"
}  # fmt: skip
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
PLACES = st.tuples(st.sampled_from(["service", "route"]), NAMES)


@given(PLACES, PLACES)
def test_every_name_has_a_key_of_its_own(one: tuple[Scope, str], other: tuple[Scope, str]) -> None:
    check_key(key_of(*one))
    assert (key_of(*one) == key_of(*other)) is (one == other)


def test_keys_of_simple_names_can_be_read() -> None:
    assert key_of("gateway", "") == "maintenance/gateway"
    assert key_of("service", "shop") == "maintenance/services/shop"
    assert key_of("route", "a/b ~") == "maintenance/routes/a%2Fb%20%7E"


@given(PLACES, st.text(min_size=1, max_size=MOST_TEXT), st.integers(1, LONGEST))
def test_what_is_written_can_be_read(place: tuple[Scope, str], text: str, after: int) -> None:
    switch = Switch(*place, text, after, "2026-01-01T00:00:00+00:00", "admin")
    if text_problem(text) is None:
        assert read(switch.value(), switch.key) == switch


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"version": 2}, "of version 1"),
        ({"scope": "host"}, "what it is for"),
        ({"scope": "gateway"}, "what it is for"),
        ({"name": ""}, "what it is for"),
        ({"name": None}, "its name is missing"),
        ({"name": "\ud800"}, "has no encoding"),
        ({"name": "other"}, "of another key"),
        ({"text": "a\nb"}, "its text must be one line"),
        ({"text": " "}, "its text must have"),
        ({"text": "x" * (MOST_TEXT + 1)}, "its text must have"),
        ({"text": "x" * 10_000}, "its text is missing or too long"),
        ({"retry_after": 0}, "its retry_after"),
        ({"retry_after": True}, "its retry_after"),
        ({"retry_after": 1.5}, "its retry_after"),
        ({"retry_after": LONGEST + 1}, "its retry_after"),
        ({"since": 7}, "its since"),
        ({"by": "x" * 10_000}, "its by"),
    ],
)
def test_what_somebody_else_wrote_is_refused_with_a_reason(changed: dict[str, Any], words: str) -> None:
    assert read(json.dumps(GOOD), "maintenance/services/shop")
    with pytest.raises(ValueError, match=words):
        read(json.dumps({**GOOD, **changed}), "maintenance/services/shop")


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"nothing", b"[]", b"7", b"[" * 100_000, b'"x"'])
def test_what_is_no_document_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it is not "):
        read(value)
