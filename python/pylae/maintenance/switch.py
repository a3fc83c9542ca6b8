"""One switch: what it switches, and what clients are told."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args
from urllib.parse import quote

Scope = Literal["gateway", "service", "route"]
"""What a switch is for."""
PREFIX = "maintenance/"
"""Where switches are in a store."""
MOST_TEXT = 500
"""Characters of a text."""
TEXT = "closed for maintenance; try again later"
"""What clients are told if nobody says something else."""
RETRY_AFTER = 60
"""Seconds after which clients may try again, if nobody says something else."""
LONGEST = 30 * 24 * 3600
"""Most seconds of that."""
_VERSION = 1
_LONGEST_TEXT = 1024
_LONGEST_KEY = 400
_SCOPES: tuple[str, ...] = get_args(Scope)
# No line breaks either, and nothing that has no encoding.
_REFUSED = ("Cc", "Cs", "Zl", "Zp")


@dataclass(frozen=True, slots=True)
class Switch:
    """Something that is switched to maintenance.

    Attributes:
        scope: What kind of thing it is.
        name: The name of the service or route; empty for the gateway.
        text: What clients are told.
        retry_after: Seconds after which they may try again.
        since: When it was switched, in UTC (RFC 3339).
        by: Who has switched it.
    """

    scope: Scope
    name: str
    text: str
    retry_after: int
    since: str
    by: str

    @property
    def place(self) -> tuple[Scope, str]:
        """What it switches."""
        return self.scope, self.name

    @property
    def key(self) -> str:
        """Its key in a store."""
        return key_of(self.scope, self.name)

    def value(self) -> bytes:
        """Its value in a store."""
        return json.dumps({"version": _VERSION, **asdict(self)}).encode()


def key_of(scope: Scope, name: str) -> str:
    """Returns the key of a switch in a store. Long names are hashed: the value has them too."""
    if scope == "gateway":
        return f"{PREFIX}gateway"
    # `~` begins no name that is quoted: it is quoted too.
    quoted = quote(name, safe="").replace("~", "%7E")
    short = quoted if 0 < len(quoted) <= _LONGEST_KEY else f"~{hashlib.sha256(name.encode()).hexdigest()}"
    return f"{PREFIX}{scope}s/{short}"


def shown(scope: Scope, name: str) -> str:
    """Returns what a switch is for, in words."""
    return scope if scope == "gateway" else f"{scope} {name}"


def text_problem(text: str) -> str | None:
    """Returns what is wrong with a text, if anything is."""
    if not text.strip() or len(text) > MOST_TEXT:
        return f"must have 1 to {MOST_TEXT} characters"
    if any(unicodedata.category(one) in _REFUSED for one in text):
        return "must be one line, without control characters"
    return None


def read(value: bytes | str, key: str | None = None) -> Switch:
    """Reads a value, which anybody may have written. Raises ValueError that says what is wrong.

    If a key is given, the value must be that of this key.
    """
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(found, dict) or found.get("version") != _VERSION:
        raise ValueError(f"it is not of version {_VERSION}")
    switch = _switch(found)
    if key is not None and switch.key != key:
        raise ValueError("it is that of another key")
    return switch


def _switch(found: dict[str, Any]) -> Switch:
    scope, name, after = _text_of(found, "scope"), _text_of(found, "name"), found.get("retry_after")
    if scope not in _SCOPES or (scope == "gateway") != (name == ""):
        raise ValueError("it does not say what it is for")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError("its name has no encoding") from None
    text = _text_of(found, "text")
    if problem := text_problem(text):
        raise ValueError(f"its text {problem}")
    if not isinstance(after, int) or isinstance(after, bool) or not 1 <= after <= LONGEST:
        raise ValueError(f"its retry_after is not 1 to {LONGEST} s")
    return Switch(cast("Scope", scope), name, text, after, _text_of(found, "since"), _text_of(found, "by"))


def _text_of(found: dict[str, Any], name: str) -> str:
    text = found.get(name)
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise ValueError(f"its {name} is missing or too long")
    return text
