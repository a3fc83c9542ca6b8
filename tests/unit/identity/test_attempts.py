"""Attempts to log in: each counts once, ten minutes, and a browser has only a few."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae.engine import NativeSealer
from pylae.identity.login import attempt as attempts
from pylae.identity.login.attempt import LIFE, MOST, MOST_BYTES, Attempt, Used
from pylae.identity.login.failures import IdentityError

SEALER = NativeSealer([b"a secret of thirty-two bytes, at least"])
COOKIE = "__Host-pylae-oidc"
ISSUER = "https://login.example"


def test_all_is_random_and_enough() -> None:
    made = [attempts.begin("/a", ISSUER, 1000.5) for _ in range(100)]
    for values in ([one.state for one in made], [one.nonce for one in made], [one.verifier for one in made]):
        assert len(set(values)) == 100
    first = made[0]
    assert len(first.state) == len(first.nonce) == 22
    # RFC 7636, section 4.1: from 43 to 128 characters.
    assert len(first.verifier) == 43
    digest = hashlib.sha256(first.verifier.encode()).digest()
    assert first.challenge == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert first.begun == 1000


def test_a_cookie_is_of_one_authenticator_and_one_gateway() -> None:
    attempt = attempts.begin("/a?b=c", ISSUER, 1000)
    value = attempts.sealed(attempt, SEALER, "oidc")
    assert attempts.opened(value, SEALER, "oidc") == attempt
    assert attempts.opened(value, SEALER, "other") is None
    assert attempts.opened(value, NativeSealer([b"another secret of thirty-two bytes, too"]), "oidc") is None
    assert attempts.opened(value[:-1], SEALER, "oidc") is None
    assert attempts.opened("", SEALER, "oidc") is None
    assert attempts.opened(SEALER.seal("attempt oidc", b"[]"), SEALER, "oidc") is None
    assert attempts.opened(SEALER.seal("attempt oidc", b"1"), SEALER, "oidc") is None
    assert attempts.opened(SEALER.seal("session oidc", b"[1,2,3,4,5,6]"), SEALER, "oidc") is None


def test_an_attempt_counts_once() -> None:
    used, attempt = Used(), attempts.begin("/", ISSUER, 1000)
    used.use(attempt, 1001)
    with pytest.raises(IdentityError, match="attempt_used"):
        used.use(attempt, 1002)
    used.use(attempts.begin("/", ISSUER, 1000), 1002)


def test_used_attempts_are_forgotten_once_they_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_USED", 3)
    used = Used()
    old = attempts.begin("/", ISSUER, 1000)
    used.use(old, 1000)
    used.use(attempts.begin("/", ISSUER, 1000), 1000 + LIFE)
    # Its own time is checked before.
    used.use(old, 1000 + LIFE)
    for _ in range(10):
        used.use(attempts.begin("/", ISSUER, 1000), 1000)
    assert len(used._ends) <= 3


def cookies(*begun: int, return_to: str = "/") -> dict[str, str]:
    """The cookies of attempts that began at these times, in this order."""
    made = [Attempt(f"state {time} {place}", "n", "v", return_to, ISSUER, time) for place, time in enumerate(begun)]
    return {attempts.cookie_name(COOKIE, one.state): attempts.sealed(one, SEALER, "oidc") for one in made}


@given(st.lists(st.integers(0, 2000), max_size=12), st.integers(0, 1200))
@settings(deadline=None, max_examples=50)
def test_the_oldest_attempts_make_room(begun: list[int], length: int) -> None:
    now = 2000
    jar = cookies(*begun, return_to="/" + "a" * length)
    alien = {"a": "b", COOKIE: "c", f"{COOKIE}-attempt-": "d", f"{COOKIE}-attempt-123456789": "e"}
    forged = {f"{COOKIE}-attempt-12345678": "v1.forged"}
    gone = attempts.superfluous({**jar, **alien, **forged}, COOKIE, SEALER, "oidc", now)
    assert set(forged) <= set(gone) <= {*jar, *forged}
    kept = [name for name in jar if name not in gone]
    assert len(kept) < MOST
    assert sum(len(name) + len(jar[name]) for name in kept) <= MOST_BYTES
    times = dict(zip(jar, begun, strict=True))
    assert all(now < times[name] + LIFE for name in kept)
    living = [name for name in gone if name in times and now < times[name] + LIFE]
    if living and kept:
        assert max(times[name] for name in living) <= min(times[name] for name in kept)
