"""Attempts to log in: each has a cookie of its own, so that tabs do not disturb each other, and any node can end it."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pylae.identity.login.failures import IdentityError

if TYPE_CHECKING:
    from pylae.engine import NativeSealer

LIFE = 600
"""Seconds that a person has to log in."""
MOST = 5
"""Attempts of a browser at once."""
MOST_BYTES = 6 * 1024
"""Bytes of the cookies of all attempts of a browser. The oldest ones make room."""
_HASH = 8
_MARK = "-attempt-"
_USED = 10_000
"""Attempts that are remembered as used."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of a login until its callback.

    Attributes:
        state, nonce, verifier: Random texts (RFC 6749, section 10.12; OpenID Connect Core, section 3.1.2.1; RFC 7636).
        return_to: Path with query to return to.
        issuer: The provider that it is at.
        begun: When it began, in seconds since 1970.
    """

    state: str
    nonce: str
    verifier: str
    return_to: str
    issuer: str
    begun: int

    @property
    def challenge(self) -> str:
        """What the provider is told of `verifier` (RFC 7636, section 4.2)."""
        return _base64url(hashlib.sha256(self.verifier.encode()).digest())


def begin(return_to: str, issuer: str, now: float) -> Attempt:
    """Returns a new attempt."""
    state, nonce, verifier = (secrets.token_urlsafe(size) for size in (16, 16, 32))
    return Attempt(state, nonce, verifier, return_to, issuer, int(now))


def cookie_name(session_cookie: str, state: str) -> str:
    """Returns the name of the cookie of the attempt with this `state`."""
    return f"{session_cookie}{_MARK}{_base64url(hashlib.sha256(state.encode()).digest())[:_HASH]}"


def sealed(attempt: Attempt, sealer: NativeSealer, name: str) -> str:
    """Returns the value of its cookie. `name` is that of the authenticator."""
    texts = [attempt.state, attempt.nonce, attempt.verifier, attempt.return_to, attempt.issuer, attempt.begun]
    return sealer.seal(f"attempt {name}", json.dumps(texts, separators=(",", ":")).encode())


def opened(value: str, sealer: NativeSealer, name: str) -> Attempt | None:
    """Returns the attempt of a cookie, or None if the gateway has not made it."""
    plain = sealer.open(f"attempt {name}", value)
    if plain is None:
        return None
    try:
        state, nonce, verifier, return_to, issuer, begun = json.loads(plain)
    except (ValueError, TypeError):
        return None
    return Attempt(state, nonce, verifier, return_to, issuer, begun)


def cookies_of(cookies: Iterable[str], session_cookie: str) -> list[str]:
    """Returns the names of the cookies of attempts among the cookies of a browser."""
    prefix = f"{session_cookie}{_MARK}"
    return [one for one in cookies if one.startswith(prefix) and len(one) == len(prefix) + _HASH]


def superfluous(
    cookies: Mapping[str, str], session_cookie: str, sealer: NativeSealer, name: str, now: float
) -> list[str]:
    """Returns the cookies of attempts that a browser need not keep beside a new one: those that are over or not of the
    gateway, and the oldest ones beyond `MOST` and `MOST_BYTES`.
    """
    begun: dict[str, int] = {}
    for cookie in cookies_of(cookies, session_cookie):
        attempt = opened(cookies[cookie], sealer, name)
        begun[cookie] = attempt.begun if attempt is not None and now < attempt.begun + LIFE else 0
    kept, size, gone = 0, 0, []
    for cookie in sorted(begun, key=lambda one: begun[one], reverse=True):
        kept, size = kept + 1, size + len(cookie) + len(cookies[cookie])
        if not begun[cookie] or kept >= MOST or size > MOST_BYTES:
            gone.append(cookie)
    return gone


class Used:
    """The attempts that have ended, as far as this node knows: each counts once."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def use(self, attempt: Attempt, now: float) -> None:
        """Notes that an attempt ends now. Raises IdentityError if it has ended already."""
        if attempt.state in self._ends:
            raise IdentityError("attempt_used")
        # The oldest ones come first, and are over first.
        for state, end in list(self._ends.items()):
            if now < end and len(self._ends) < _USED:
                break
            del self._ends[state]
        self._ends[attempt.state] = now + LIFE


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
