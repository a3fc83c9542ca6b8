"""Users from claims of others are those that a token with the same claims would give."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pylae.config.models.authenticators.jwt import ClaimNames, Jwt
from pylae.engine import NativeTokenVerifier
from pylae.identity.claims import date_of, parsed, user_of
from pylae.identity.failures import AnswerError
from support.tokens import SECRET, token

NAMES = ClaimNames(id=["user_id", "sub"], role=["role", "realm.roles"], permissions=["permissions", "scope"])
VERIFIER = NativeTokenVerifier(json.dumps(Jwt(secret=SECRET, claims=NAMES).plan()))

texts = st.text("a ,\t\x00é\x7f", max_size=3) | st.sampled_from(["ada", "a" * 1024, "é" * 513])
values = st.none() | st.booleans() | st.integers(-3, 3) | texts | st.lists(texts, max_size=2) | st.just({})
claims_of_users = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("user_id", "sub", "email", "role", "permissions", "scope", "realm.roles"), values),
        "realm": st.just({"roles": ["x", "y"]}) | values,
    },
)


def described(claims: dict[str, Any]) -> tuple[str, str, str, list[str]] | None:
    try:
        user = user_of(claims, NAMES)
    except AnswerError:
        return None
    return user.id, user.email, user.role, list(user.permissions)


@given(claims_of_users)
@example({"user_id": 0, "permissions": [""]})
def test_a_user_is_that_of_a_token(claims: dict[str, Any]) -> None:
    found, why = VERIFIER.verify(token(**{"sub": None, **claims}), 1_700_000_000 * 10**9)
    # Answers of services may be larger.
    assume(why != "the token is too large")
    # `token` leaves out what is null.
    assert described({name: value for name, value in claims.items() if value is not None}) == found, why


@pytest.mark.parametrize(
    "text",
    ["", "[]", "1", '"a"', "null", '{"a": 1, "a": 1}', '{"a": {"b": 1, "b": 1}}', '{"a": NaN}', "[" * 10**5, "\xff"],
)
def test_what_is_no_object_of_json(text: str) -> None:
    with pytest.raises(AnswerError):
        parsed(text.encode("latin-1"))


@pytest.mark.parametrize("value", [True, "1", [], {}, 10**400])
def test_what_is_no_date(value: Any) -> None:
    with pytest.raises(AnswerError):
        date_of({"exp": value}, "exp")
    assert date_of({"exp": 1}, "exp") == date_of({"exp": 1.0}, "exp") == 1.0
    assert date_of({"exp": None}, "exp") is date_of({}, "exp") is None
