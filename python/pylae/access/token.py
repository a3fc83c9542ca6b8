"""A token of the admin API as it is kept: of its secrets only hashes."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from pylae.access import scopes

VERSION = 1
MOST_NETWORKS = 64
"""Networks of a token."""
MOST_INSTANCES = 4096
"""Most instances that a token may register."""
MOST_TEXT = 64
"""Characters of a name or hash."""
MOST_VALUE = 16 * 1024
"""Bytes of a token as it is kept."""
RESERVED = frozenset({"admin", "local"})
"""Names of callers that are not tokens of this table."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ID = re.compile(r"[a-z0-9]{12}")
_SECRET = re.compile(r"pylae_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
_HASH = re.compile(r"[0-9a-f]{64}")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_NOBODY = "0" * 64
_LATEST = 1e12
"""Seconds since 1970 beyond which no time is believed."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """The SHA-256 of a secret, and when the secret ends before its token does, in seconds since 1970."""

    sha256: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token. Times are seconds since 1970.

    Attributes:
        id: Part of the secret, by which it is found.
        name: What people call it.
        number: How often it was changed: of two records, the one with the greater number is the later one.
        scopes: What it allows.
        secrets: Hashes of what it can be presented as: the newest first.
        created: When it was made.
        expires: When it ends.
        by: Who made it.
        networks: Where instances that it registers may be. None: at the address of the caller.
        max_instances: How many instances it may register.
        revoked: When it was revoked.
    """

    id: str
    name: str
    number: int
    scopes: frozenset[str]
    secrets: tuple[Hashed, ...]
    created: float
    expires: float
    by: str
    networks: tuple[str, ...] = ()
    max_instances: int = 1
    revoked: float | None = None

    def lives(self, now: float) -> bool:
        """Whether it is neither revoked nor over."""
        return self.revoked is None and now < self.expires

    def accepts(self, sha256: str, now: float) -> bool:
        """Whether this is the hash of one of its secrets. All are compared, each in constant time."""
        good = False
        for one in self.secrets:
            same = hmac.compare_digest(one.sha256, sha256)
            good |= same and (one.until is None or now < one.until)
        return good

    def is_later_than(self, other: Token) -> bool:
        """Whether it is the later record of the same token. A revocation is the last word."""
        return (self.revoked is not None, self.number) > (other.revoked is not None, other.number)

    def rotated(self, sha256: str, overlap: float, expires: float, now: float) -> Token:
        """Returns it with another secret. The one before stays valid for `overlap` seconds, and not longer than it was
        to.
        """
        until = min(now + overlap, self.expires)
        before = tuple(Hashed(one.sha256, until) for one in self.secrets[:1] if overlap > 0)
        return replace(self, number=self.number + 1, secrets=(Hashed(sha256), *before), expires=expires)

    def kept(self) -> bytes:
        """Returns it as it is kept."""
        document = {
            "version": VERSION,
            "id": self.id,
            "name": self.name,
            "number": self.number,
            "scopes": sorted(self.scopes),
            "secrets": [{"sha256": one.sha256, "until": one.until} for one in self.secrets],
            "created": self.created,
            "expires": self.expires,
            "by": self.by,
            "networks": list(self.networks),
            "max_instances": self.max_instances,
            "revoked": self.revoked,
        }
        return json.dumps(document).encode()


def new_id() -> str:
    """Returns the id of a new token."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))


def new_secret(token_id: str) -> tuple[str, str]:
    """Returns a new secret of a token, with 256 random bits, and its hash."""
    secret = f"pylae_{token_id}_{secrets.token_urlsafe(32)}"
    return secret, hashed(secret)


def hashed(secret: str) -> str:
    """Returns the hash that is kept of a secret. It is random enough that a fast hash does."""
    return hashlib.sha256(secret.encode()).hexdigest()


def presented(credential: bytes) -> tuple[str, str] | None:
    """Returns id and hash of what a client presents; None if it has not the form of a secret."""
    try:
        text = credential.decode("ascii")
    except UnicodeDecodeError:
        return None
    found = _SECRET.fullmatch(text)
    return (found[1], hashed(text)) if found else None


def compare_with_nothing(sha256: str) -> None:
    """Takes as long as `Token.accepts`, for ids that do not exist."""
    hmac.compare_digest(_NOBODY, sha256)


def is_name(text: str) -> bool:
    """Whether a token can have this name."""
    return _NAME.fullmatch(text) is not None and text.lower() not in RESERVED


def network(text: str) -> str:
    """Returns a network in canonical form; an address alone is a network of one. Raises ValueError."""
    return str(ip_network(text.strip(), strict=False))


def read(data: bytes, token_id: str) -> Token:
    """Reads a token that was kept with this id. Raises ValueError, which says what is wrong."""
    if len(data) > MOST_VALUE:
        raise ValueError("it is too long")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is not an object")
    if found.get("version") != VERSION:
        raise ValueError(f"it has version {found.get('version')!r}, and this version of Pylae knows {VERSION}")
    try:
        token = Token(
            id=found["id"],
            name=found["name"],
            number=found["number"],
            scopes=frozenset(found["scopes"]),
            secrets=tuple(Hashed(one["sha256"], one["until"]) for one in found["secrets"]),
            created=found["created"],
            expires=found["expires"],
            by=found["by"],
            networks=tuple(found["networks"]),
            max_instances=found["max_instances"],
            revoked=found["revoked"],
        )
    except (KeyError, TypeError):
        raise ValueError("fields are missing, or have another type") from None
    for what, good in _checks(token, token_id):
        if not good:
            raise ValueError(f"its {what} cannot be used")
    return token


def _checks(token: Token, token_id: str) -> list[tuple[str, bool]]:
    return [
        ("id", token.id == token_id and _ID.fullmatch(token_id) is not None),
        ("name", _is_text(token.name) and is_name(token.name)),
        ("number", _is_count(token.number, 2**53)),
        ("scopes", len(token.scopes) <= scopes.MOST and all(map(_is_scope, token.scopes)) and bool(token.scopes)),
        ("secrets", len(token.secrets) <= 2 and all(map(_is_hashed, token.secrets))),
        ("times", _is_time(token.created) and _is_time(token.expires)),
        ("revocation", token.revoked is None or _is_time(token.revoked)),
        ("maker", _is_text(token.by)),
        ("networks", len(token.networks) <= MOST_NETWORKS and all(map(_is_network, token.networks))),
        ("number of instances", _is_count(token.max_instances, MOST_INSTANCES)),
    ]


def _is_scope(value: Any) -> bool:
    return isinstance(value, str) and scopes.is_scope(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_TEXT


def _is_hashed(one: Hashed) -> bool:
    good = _is_text(one.sha256) and _HASH.fullmatch(one.sha256) is not None
    return good and (one.until is None or _is_time(one.until))


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def _is_network(value: Any) -> bool:
    try:
        return isinstance(value, str) and network(value) == value
    except ValueError:
        return False
