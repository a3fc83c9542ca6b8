"""Users from claims that others make of them, by the same rules as those of tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pylae.config.models.authenticators.jwt import ClaimNames
from pylae.engine import User
from pylae.identity.failures import AnswerError

_LONGEST = 1024
"""Bytes of an id, a role or a mail address."""
_UNSENT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def parsed(document: bytes | str) -> dict[str, Any]:
    """Returns a JSON object as it is in tokens: no member twice, no number that is none. Raises AnswerError."""
    try:
        found = json.loads(document, object_pairs_hook=_members, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise AnswerError("it is not JSON") from None
    if not isinstance(found, dict):
        raise AnswerError("it is not a JSON object")
    return found


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise AnswerError("a member is given twice")
    return found


def _no_number(text: str) -> Any:
    raise AnswerError(f"{text} is not a number in JSON")


def text_of(claims: Mapping[str, Any], name: str) -> str | None:
    """Returns a claim that is a text if it is there. Raises AnswerError for another type."""
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise AnswerError(f"`{name}` is not a text")
    return value


def date_of(claims: Mapping[str, Any], name: str) -> float | None:
    """Returns a claim that is a date, in seconds since 1970, if it is there. Raises AnswerError for another type."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AnswerError(f"`{name}` is not a number")
    try:
        return float(value)
    except OverflowError:
        raise AnswerError(f"`{name}` is too large") from None


def texts_of(claims: Mapping[str, Any], name: str) -> list[str]:
    """Returns a claim that is a text or a list of texts, as a list. Raises AnswerError for another type."""
    return _texts(claims.get(name), name)


def user_of(claims: Mapping[str, Any], names: ClaimNames) -> User:
    """Returns the user that claims describe. Raises AnswerError if they describe none that instances can be told."""
    id_ = _first(claims, names.id)
    if id_ is None:
        raise AnswerError("it does not say who the user is")
    if isinstance(id_, bool) or not isinstance(id_, str | int):
        raise AnswerError("the user's id is neither a text nor a whole number")
    email = _first(claims, names.email)
    if email is not None and not isinstance(email, str):
        raise AnswerError("the mail address is not a text")
    roles = _texts(_first(claims, names.role), "the role")
    permissions = _first(claims, names.permissions)
    if isinstance(permissions, str):
        # The format of `scope` (RFC 8693 section 4.2).
        given = [one for one in permissions.split(" ") if one]
    else:
        given = _texts(permissions, "a permission")
    return made_user(str(id_), email or "", roles, given, claims)


def made_user(
    id_: str, email: str, roles: Sequence[str], permissions: Sequence[str], claims: Mapping[str, Any]
) -> User:
    """Returns a user. Raises AnswerError for texts that instances cannot be told unchanged."""
    # Roles are forwarded in one field, separated by commas.
    if not id_ or any("," in role for role in roles):
        raise AnswerError("the user's id is empty, or a role has a comma")
    role = ",".join(roles)
    for text in (id_, email, role):
        if text != text.strip() or len(text.encode("utf-8", "replace")) > _LONGEST or _UNSENT.search(text):
            raise AnswerError("the user has an id, role or mail address that cannot be passed on")
    try:
        return User(id_, email, role, list(permissions), dict(claims))
    except (ValueError, RecursionError):
        raise AnswerError("the user cannot be passed on") from None


def find(claims: Mapping[str, Any], name: str) -> Any:
    """Returns a claim by its name or by a dotted path of names; None if it is not there."""
    if name in claims:
        return claims[name]
    first, _, rest = name.partition(".")
    inner = claims.get(first)
    return find(inner, rest) if rest and isinstance(inner, Mapping) else None


def _first(claims: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((value for name in names if (value := find(claims, name)) is not None), None)


def _texts(value: Any, what: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return list(value)
    raise AnswerError(f"{what} is neither a text nor a list of texts")
