"""Who a user is by claims: by their names as the authenticator `jwt` has it, or by a function."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae.engine import NativeTokenVerifier, User
from pylae.identity.login.failures import IdentityError, ProviderError
from pylae.identity.login.members import Members, mapped
from pylae.identity.login.provider import Provider
from pylae.identity.login.session import Member
from pylae.settings import ClaimNames, Jwt, Oidc
from support.tokens import token

NAMES = ClaimNames()
SECRET = "a secret of more than thirty-two bytes"


def test_the_usual_claims() -> None:
    claims = {"sub": "7", "email": "ada@example.com", "role": "admin", "permissions": ["a", "b"], "plan": "gold"}
    assert mapped(claims, NAMES) == Member("7", "ada@example.com", "admin", ("a", "b"), claims)
    assert mapped({"sub": "7", "user_id": 8}, NAMES).id == "8"
    assert mapped({"sub": "7", "scope": "a  b"}, NAMES).permissions == ("a", "b")
    assert mapped({"sub": "7", "role": ["a", "b"]}, NAMES).role == "a,b"
    assert mapped({"sub": "7", "role": None}, NAMES).role == ""


def test_claims_inside_others_and_with_dots() -> None:
    names = ClaimNames(role=("realm_access.roles", "https://x.test/roles"))
    assert mapped({"sub": "7", "realm_access": {"roles": ["a"]}}, names).role == "a"
    assert mapped({"sub": "7", "https://x.test/roles": "b", "realm_access": 1}, names).role == "b"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"sub": None},
        {"sub": ""},
        {"sub": True},
        {"sub": 1.5},
        {"sub": ["7"]},
        {"sub": "7", "email": 1},
        {"sub": "7", "role": {"a": 1}},
        {"sub": "7", "role": ["a", 1]},
        {"sub": "7", "role": "a,b"},
        {"sub": "7", "permissions": 1},
        {"sub": "7\r\nX-Admin: 1"},
        {"sub": " 7"},
        {"sub": "7" * 1025},
    ],
)
def test_claims_of_nobody(claims: dict[str, Any]) -> None:
    with pytest.raises(IdentityError, match="user_invalid"):
        mapped(claims, NAMES)


VALUES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(st.sampled_from("ab"), VALUES, max_size=2)
CLAIMS = st.dictionaries(
    st.sampled_from(["sub", "user_id", "email", "role", "permissions", "scope", "a", "a.b"]), VALUES, max_size=6
)


@given(CLAIMS)
@settings(deadline=None)
def test_a_login_makes_the_same_user_of_claims_as_a_token(claims: dict[str, Any]) -> None:
    names = ClaimNames(role=("role", "a.b"))
    verifier = NativeTokenVerifier(json.dumps(Jwt(secret=SECRET, required_claims=(), claims=names).plan()))
    user, _ = verifier.verify(token(SECRET, **{"sub": None, **claims}), 0)
    try:
        found = mapped(json.loads(json.dumps(claims)), names)
    except IdentityError:
        assert user is None
    else:
        assert user == (found.id, found.email, found.role, list(found.permissions))


def of(function: Callable[..., Any], claims: dict[str, Any]) -> Member:
    settings = Oidc(issuer="http://127.0.0.1:1", client_id="a", user=function)
    return asyncio.run(Members(settings, Provider(settings, Path())).of(claims, "token"))


def test_a_function_says_who_it_is() -> None:
    told: list[Any] = []

    def user(claims: dict[str, Any]) -> User:
        told.append(claims)
        return User(claims["sub"].upper(), role="staff", claims={"team": 1})

    async def waiting(claims: dict[str, Any]) -> User:
        return user(claims)

    expected = Member("ADA", "", "staff", (), {"team": 1})
    claims = {"sub": "ada", "groups": ["x"], "nonce": "n", "at_hash": "h", "iat": 1, "exp": 2, "sid": "s", "aud": "a"}
    assert of(user, claims) == of(waiting, claims) == expected
    # What is about the token is not about the user.
    assert told[0] == {"sub": "ada", "groups": ["x"]}


def test_a_function_that_knows_nobody_or_fails() -> None:
    with pytest.raises(IdentityError, match="no_access") as refused:
        of(lambda _: None, {"sub": "ada"})
    assert refused.value.status == 403
    for wrong in (lambda _: {"id": "ada"}, lambda claims: claims["nothing"]):
        with pytest.raises(ProviderError, match="user_failed"):
            of(wrong, {"sub": "ada"})
    with pytest.raises(IdentityError, match="user_invalid"):
        of(lambda _: User(" ada"), {"sub": "ada"})


def test_too_many_claims() -> None:
    settings = Oidc(issuer="http://127.0.0.1:1", client_id="a")
    members = Members(settings, Provider(settings, Path()))
    with pytest.raises(IdentityError, match="session_too_large"):
        asyncio.run(members.of({"sub": "a", "groups": ["x" * 100] * 400}, "token"))
