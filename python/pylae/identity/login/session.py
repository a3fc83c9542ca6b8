"""A session: what the store has of it, and what is in its cookie."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pylae.engine import User
from pylae.identity.login.failures import IdentityError
from pylae.store.store import Lease

if TYPE_CHECKING:
    from pylae.engine import NativeSealer

MOST_COOKIE: Final = 1024
"""Bytes of a cookie, its name included."""
MOST_RECORD: Final = 64 * 1024
"""Bytes of what the store has of a session, before it is sealed."""
MOST_HINT: Final = 6 * 1024
"""Bytes of an ID token that is kept for the logout: it is sent in a URL then."""
_STEP: Final = 60
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Member:
    """The user of a session, as the gateway knows users."""

    id: str
    email: str = ""
    role: str = ""
    permissions: tuple[str, ...] = ()
    claims: Mapping[str, Any] | None = None

    def user(self) -> User:
        """As authenticators return users."""
        return User(self.id, self.email, self.role, self.permissions, dict(self.claims or {}))


@dataclass(frozen=True, slots=True)
class Session:
    """What the store has of a session. Times are in seconds since 1970.

    Attributes:
        id: 22 characters of base64url, 128 random bits.
        member: Its user.
        issuer, subject, sid: Who that is at the provider, and in which session there.
        begun, ends: When it began, and when it ends in any case.
        seen: When it was last used, as far as that was noted.
        refresh: The refresh token.
        due: When tokens are to be refreshed; None if they cannot be.
        renewals: How often they were.
        hint: The ID token, to log out with.
        lease: The lease of its keys.
    """

    id: str
    member: Member
    issuer: str
    subject: str
    sid: str | None
    begun: int
    ends: int
    seen: int
    refresh: str | None
    due: int | None
    renewals: int
    hint: str | None
    lease: Lease

    def stored(self) -> bytes:
        """As it is sealed for the store. Raises IdentityError if that is too much."""
        data = json.dumps({"v": _VERSION, **asdict(self)}, separators=(",", ":")).encode()
        if len(data) > MOST_RECORD:
            raise IdentityError("session_too_large", f"{len(data)} bytes", 500)
        return data

    def is_idle(self, now: float, idle: float) -> bool:
        """Whether nobody has used it for longer than `idle` seconds."""
        return now > self.seen + idle

    def check(self, idle: float) -> int:
        """When it is to be looked up again: tokens are due then, or it is to be noted that it is used."""
        steps = (self.seen + step(idle), self.ends)
        return int(min(steps if self.due is None else (*steps, self.due)))


def step(idle: float) -> float:
    """Returns after how many seconds it is noted that a session is used: a quarter of `idle`, but not every moment."""
    return max(1.0, min(max(idle / 4, _STEP), idle / 2))


def read(data: bytes, session_id: str) -> Session:
    """Reads what a store has of a session. Raises ValueError if it is none, or another one."""
    try:
        found = json.loads(data)
        if found.pop("v") != _VERSION or found["id"] != session_id:
            raise ValueError("it is of another session, or another version of Pylae")
        member = found["member"]
        found["member"] = Member(**{**member, "permissions": tuple(member["permissions"])})
        return Session(**{**found, "lease": Lease(**found["lease"])})
    except (TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError("it is no session") from None


def new_id() -> str:
    """Returns the id of a new session. No client ever chooses one."""
    return secrets.token_urlsafe(16)


def sealed(session: Session, check: int, cookie: str, sealer: NativeSealer, name: str) -> str:
    """Returns the value of the cookie `cookie` of a session, which is looked up again at `check`.

    If its user does not fit, only the store has them.
    """
    member = session.member
    times = {"b": session.begun, "x": session.ends, "n": check}
    who = {"u": member.id, "e": member.email, "r": member.role, "p": member.permissions, "c": member.claims or {}}
    value = _sealed({"i": session.id, **who, "s": session.sid, **times}, sealer, name)
    if len(cookie) + 1 + len(value) > MOST_COOKIE:
        value = _sealed({"i": session.id, **times, "f": True}, sealer, name)
    return value


def _sealed(plain: Mapping[str, Any], sealer: NativeSealer, name: str) -> str:
    data = json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode()
    return sealer.seal(f"session {name}", data)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a browser shows of a session. `member` is None where only the store has the user."""

    id: str
    member: Member | None
    begun: int
    ends: int
    check: int


def opened(value: str, sealer: NativeSealer, name: str) -> Shown | None:
    """Returns what is in the cookie of a session, or None if the gateway has not made it."""
    plain = sealer.open(f"session {name}", value)
    if plain is None:
        return None
    try:
        found = json.loads(plain)
        member = None
        if not found.get("f"):
            member = Member(found["u"], found["e"], found["r"], tuple(found["p"]), found["c"])
        return Shown(found["i"], member, found["b"], found["x"], found["n"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def used(session: Session, now: float) -> Session:
    """Returns a session with the note that it is used."""
    return replace(session, seen=int(now))
