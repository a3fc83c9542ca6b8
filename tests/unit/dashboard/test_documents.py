"""API keys in documents of a configuration, and how values are shown."""

from __future__ import annotations

from typing import Any

import pytest

from pylae.config.models.config import Config
from pylae.dashboard.configuration import values
from pylae.dashboard.consumers.document import Consumer, consumers, fingerprint, with_key, without_key

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def document(**found: Any) -> dict[str, Any]:
    return {"auth": {"api_key": {"consumers": found}}, "workers": 1}


FORMS = [
    (A, Consumer("one", (A,), None, ())),
    ([A, B], Consumer("one", (A, B), None, ())),
    ({"keys": A, "role": "robot"}, Consumer("one", (A,), "robot", ())),
    ({"keys": [A], "permissions": ["x:read", "x:write"]}, Consumer("one", (A,), None, ("x:read", "x:write"))),
    ({"keys": ["${KEY_SHA256}"]}, Consumer("one", ("${KEY_SHA256}",), None, ())),
]


@pytest.mark.parametrize(("written", "meant"), FORMS)
def test_a_key_comes_and_goes(written: Any, meant: Consumer) -> None:
    before = document(one=written)
    assert consumers(before) == [meant]
    more = with_key(before, "one", C)
    assert consumers(more) == [meant._replace(keys=(*meant.keys, C))]
    assert consumers(without_key(more, "one", C)) == [meant]
    # The document that was given stays as it was.
    assert before == document(one=written)
    if "$" not in meant.keys[0]:
        Config.model_validate(more)


def test_a_consumer_begins_with_its_first_key_and_ends_with_its_last() -> None:
    for before in ({}, {"auth": None}, {"auth": {"api_key": {}}}, document()):
        assert consumers(with_key(before, "new", A)) == [Consumer("new", (A,), None, ())]
    assert without_key(document(one=A, two=B), "one", A) == document(two=B)
    for name, key in (("one", B), ("nobody", A)):
        with pytest.raises(KeyError):
            without_key(document(one=A), name, key)


def test_the_last_key_of_all_is_replaced_by_one_that_nobody_has() -> None:
    """Otherwise it could not be revoked: a configuration with `api_key` has keys."""
    found = without_key(document(one={"keys": [A], "role": "robot"}), "one", A)
    Config.model_validate(found)
    (left,) = consumers(found)
    assert (left.name, left.role, len(left.keys)) == ("one", "robot", 1)
    assert left.keys != (A,)
    assert found != without_key(document(one={"keys": [A], "role": "robot"}), "one", A)


@pytest.mark.parametrize("odd", [None, [], "text", {"auth": []}, {"auth": {"api_key": "x"}}])
def test_what_is_no_configuration_has_no_consumers(odd: Any) -> None:
    assert consumers(odd) == []


def test_a_key_is_told_by_the_beginning_of_its_hash() -> None:
    assert fingerprint("AB" * 32) == "abababababab"
    assert fingerprint("${KEY_SHA256}") == "${KEY_SHA256}"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), ("<b>", "<b>"), (5, "5"), (True, "true"), (0.5, "0.5"), ([], "[]"), ({"a": [1]}, "a:\n- 1")],
)
def test_values_are_short_texts(value: Any, text: str) -> None:
    assert values.value(value) == text


def test_long_values_are_cut() -> None:
    assert len(values.value("x" * 100_000)) == len(values.value(["x"] * 100_000)) == values.MOST + 1


def test_problems_say_where_what_and_what_to_do() -> None:
    problem = {"path": "routes[0]", "message": "is wrong", "hint": "change it", "line": 3, "column": 5, "file": None}
    assert values.flaw(problem) == "routes[0]: is wrong (change it)"
    assert values.flaw({"path": "", "message": "is empty"}) == "is empty"
    assert values.place(problem) == "3:5"
    assert values.place({"file": "a.yaml", "line": 3, "column": None}) == "a.yaml:3"
