"""API keys in the document of a configuration: which consumers there are, and the document with another key or without.

A consumer can be written short, as one hash or a list of hashes.
"""

from __future__ import annotations

import copy
import hashlib
import re
import secrets
from typing import Any, NamedTuple

_HASH = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)


class Consumer(NamedTuple):
    """A consumer with API keys."""

    name: str
    keys: tuple[str, ...]
    """The SHA-256 of each key in hex, or a reference to it."""
    role: str | None
    permissions: tuple[str, ...]


def consumers(document: Any) -> list[Consumer]:
    """Returns the consumers in a document, by name."""
    return sorted(_consumer(name, value) for name, value in _listed(document).items())


def with_key(document: Any, name: str, key_hash: str) -> Any:
    """Returns the document with another key of a consumer, which is made if there is none of this name."""
    changed = copy.deepcopy(document)
    auth = changed["auth"] = dict(changed.get("auth") or {})
    api_key = auth["api_key"] = dict(auth.get("api_key") or {})
    found = api_key["consumers"] = dict(api_key.get("consumers") or {})
    before = _consumer(name, found.get(name, {}))
    found[name] = {**_full(found.get(name, {})), "keys": [*before.keys, key_hash]}
    return changed


def without_key(document: Any, name: str, key_hash: str) -> Any:
    """Returns the document without a key of a consumer, and without the consumer if it was its last one.

    A gateway takes no configuration with `api_key` and no key, and routes may depend on `api_key`. So if it was the
    last of all, the consumer stays, with a key that nobody has. Raises KeyError if there is no such key.
    """
    changed = copy.deepcopy(document)
    found = _listed(changed)
    keys = list(_consumer(name, found[name]).keys)
    if key_hash not in keys:
        raise KeyError(key_hash)
    keys.remove(key_hash)
    if not keys and len(found) == 1:
        keys = [hashlib.sha256(secrets.token_bytes(32)).hexdigest()]
    if keys:
        found[name] = {**_full(found[name]), "keys": keys}
    else:
        del found[name]
    return changed


def fingerprint(key_hash: str) -> str:
    """What people tell a key by: the beginning of its hash, or the reference."""
    return key_hash[:12].lower() if _HASH.fullmatch(key_hash) else key_hash


def _listed(document: Any) -> dict[str, Any]:
    """The consumers as written. Empty where something else stands, which no gateway accepts."""
    found = document
    for key in ("auth", "api_key", "consumers"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _full(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {"keys": value}


def _consumer(name: str, value: Any) -> Consumer:
    full = _full(value)
    keys, permissions = (_texts(full.get(key)) for key in ("keys", "permissions"))
    role = full.get("role")
    return Consumer(str(name), keys, None if role is None else str(role), permissions)


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)
