"""What is kept of a token, and what is believed of what is read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylae.access.scopes import Scopes, is_scope
from pylae.access.token import MOST_VALUE, Hashed, Token, hashed, is_name, network, new_id, new_secret, presented, read

NOW = 1_800_000_000.0


def token(**fields: Any) -> Token:
    """A token, and a secret that nobody knows."""
    given: dict[str, Any] = {
        "id": "abcdefghijkl",
        "name": "ci",
        "number": 1,
        "scopes": frozenset({"read"}),
        "secrets": (Hashed(hashed("x")),),
        "created": NOW,
        "expires": NOW + 60,
        "by": "admin",
    }
    return Token(**given | fields)


def test_secrets_are_random_and_only_hashes_are_kept() -> None:
    found = {new_secret(new_id())[0] for _ in range(100)}
    assert len(found) == 100
    for secret in found:
        assert re.fullmatch(r"pylae_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", secret)  # 43 digits of base 64 are 256 bits
        token_id, sha256 = presented(secret.encode()) or ("", "")
        one = token(id=token_id, secrets=(Hashed(sha256),))
        assert secret[19:] not in one.kept().decode()
        assert one.accepts(hashed(secret), NOW)
        assert read(one.kept(), token_id) == one


@pytest.mark.parametrize(
    "credential",
    [
        b"",
        b"pylae_",
        b"pylae_abcdefghijkl",
        b"pylae_abcdefghijkl_" + b"a" * 42,
        b"pylae_abcdefghijkl_" + b"a" * 44,
        b"pylae_abcdefghijkl_" + b"a" * 43 + b"\n",
        b" pylae_abcdefghijkl_" + b"a" * 43,
        b"pylae_ABCDEFGHIJKL_" + b"a" * 43,
        b"PYLAE_abcdefghijkl_" + b"a" * 43,
        b"pylae_abcdefghijk/_" + b"a" * 43,
        b"pylae_abcdefghijkl_" + "ä".encode("latin-1") * 43,
        b"pylae_abcdefghijkl_" + b"=" * 43,
    ],
)
def test_what_has_not_the_form_of_a_secret_is_none(credential: bytes) -> None:
    assert presented(credential) is None


@given(st.binary(max_size=200))
def test_any_bytes_can_be_presented(credential: bytes) -> None:
    found = presented(credential)
    assert found is None or re.fullmatch("[0-9a-f]{64}", found[1])


def test_the_secret_before_ends_with_the_overlap() -> None:
    first, second, third = hashed("1"), hashed("2"), hashed("3")
    made = token(secrets=(Hashed(first),), expires=NOW + 1000)
    rotated = made.rotated(second, 100, NOW + 5000, NOW)
    assert rotated.is_later_than(made)
    assert rotated.accepts(first, NOW + 99.9)
    assert not rotated.accepts(first, NOW + 100)
    assert rotated.accepts(second, NOW + 4999)
    # A longer overlap does not make it last longer than it was to.
    assert not made.rotated(second, 5000, NOW + 9000, NOW).accepts(first, NOW + 1000)
    # Two at most.
    again = rotated.rotated(third, 100, NOW + 5000, NOW)
    assert [again.accepts(one, NOW) for one in (first, second, third)] == [False, True, True]
    at_once = rotated.rotated(third, 0, NOW + 5000, NOW)
    assert [at_once.accepts(one, NOW) for one in (first, second, third)] == [False, False, True]


def test_a_revocation_is_the_last_word() -> None:
    revoked = token(number=2, revoked=NOW, secrets=())
    assert revoked.is_later_than(token(number=7))
    assert not token(number=7).is_later_than(revoked)
    assert not revoked.lives(NOW)
    assert token().lives(NOW + 59)
    assert not token().lives(NOW + 60)


def test_scopes() -> None:
    assert Scopes(frozenset({"operate"})).allow("read")
    assert Scopes(frozenset({"configure"})).allow("read")
    assert not Scopes(frozenset({"configure", "read"})).allow("operate")
    assert not Scopes(frozenset({"operate", "configure"})).allow("register:a")
    assert not Scopes(frozenset({"register:a"})).allow("read")
    assert not Scopes(frozenset({"register:a"})).allow("register:ab")
    assert Scopes(unlimited=True).allow("register:a")
    assert Scopes(frozenset({"configure"})).missing(frozenset({"read", "operate"})) == ["operate"]
    for text in ("read", "register:a", "register:a.b-c_d:1", "register:[::1]"):
        assert is_scope(text)
    for text in ("", "all", "register", "register:", "register:*", "register:a/b", "register:a b", "read ", "read\n"):
        assert not is_scope(text)


def test_names() -> None:
    for text in ("ci", "C.i_1-2@host", "a" * 64):
        assert is_name(text)
    for text in ("", "admin", "Admin", "local", "a" * 65, "a b", "-a", "a/b", "ä", "a\n"):
        assert not is_name(text)


def test_networks_have_one_form() -> None:
    assert network("10.0.0.7") == "10.0.0.7/32"
    assert network("10.0.0.7/8") == "10.0.0.0/8"
    assert network(" FD00::/8 ") == "fd00::/8"
    for text in ("", "here", "10.0.0.0/33", "10.0.0"):
        with pytest.raises(ValueError, match=r"IP|network|address|netmask"):
            network(text)


WRONG = {
    "id": ["x", 7, None, "mnopqrstuvwx"],
    "name": ["", "a b", "admin", 7, None, "a" * 65],
    "number": [0, -1, 1.5, True, "1", None, 2**60],
    "scopes": [[], ["all"], [7], "read", None, ["read"] * 3 + ["x"], [f"register:s{n}" for n in range(33)]],
    "secrets": [
        [{"sha256": "x", "until": None}],
        [{"sha256": "0" * 64}],
        [7],
        None,
        [{"sha256": "0" * 64, "until": -1}],
    ],
    "created": [None, "now", -1, True, float("nan"), float("inf"), 10**400],
    "expires": [None, "now", -1, 1e300],
    "by": [None, 7, "x" * 65],
    "networks": [["here"], ["10.0.0.7"], [7], None, ["10.0.0.0/8"] * 65],
    "max_instances": [0, 4097, "1", None, True],
    "revoked": ["no", True, -1],
    "version": [0, 2, "1", None],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_record_with_a_wrong_field_does_not_count(field: str, value: Any) -> None:
    document = json.loads(token().kept())
    with pytest.raises(ValueError, match=r"."):
        read(json.dumps({**document, field: value}).encode(), "abcdefghijkl")
    with pytest.raises(ValueError, match=r"."):
        read(json.dumps({name: value for name, value in document.items() if name != field}).encode(), "abcdefghijkl")


@pytest.mark.parametrize("data", [b"", b"7", b"[]", b"{", b"\xff", b"[" * 10000, b" " * (MOST_VALUE + 1), b"null"])
def test_what_is_no_record_does_not_count(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(data, "abcdefghijkl")


def test_a_record_counts_at_its_own_place_only() -> None:
    with pytest.raises(ValueError, match="its id cannot be used"):
        read(replace(token(), id="mnopqrstuvwx").kept(), "abcdefghijkl")
