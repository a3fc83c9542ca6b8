"""Fills the secrets of the configuration in force into a document of the history, which has none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pylae.config.document.nodes import ALIASES, Foreign
from pylae.config.document.written import HIDDEN, is_mark, shown_reference
from pylae.history.content import At, without_marks

_NAMES = ("name", "url", "use")
"""What tells items of a list apart, as for places (`pylae.config.checks.standing`)."""
OWN = ("store", "user", "group", "state")
"""Settings of this node that no document can change while it runs."""
_OWN_OF_ADMIN = ("references", "code")


@dataclass(frozen=True, slots=True)
class Filled:
    """A document of the history with present secrets.

    Attributes:
        document: It, with a mark or a reference for each of them.
        places: Where these are.
        missing: Where it had a secret and the configuration in force has none.
    """

    document: Any
    places: frozenset[At]
    missing: tuple[At, ...]


def filled(old: Any, present: Any) -> Filled:
    """Returns a document of the history with the secrets that are in force at the same places.

    Places are compared by name. A list whose items have no names counts only as a whole: then it must not have changed.

    Args:
        old: The document.
        present: The configuration in force as it was written, with a mark for each secret.
    """
    places: list[At] = []
    missing: list[At] = []
    document = _filled(old, present, (), places, missing)
    return Filled(document, frozenset(places), tuple(missing))


def _filled(old: Any, present: Any, path: At, places: list[At], missing: list[At]) -> Any:
    if isinstance(old, Mapping):
        given = present if isinstance(present, Mapping) else {}
        known = {ALIASES.get(str(key), key): item for key, item in given.items()}
        return {
            key: _filled(item, known.get(ALIASES.get(str(key), key)), (*path, key), places, missing)
            for key, item in old.items()
        }
    if isinstance(old, list):
        pairs = zip(old, _partners(old, present), strict=True)
        return [_filled(item, other, (*path, index), places, missing) for index, (item, other) in enumerate(pairs)]
    if old != HIDDEN or present == HIDDEN:
        return old
    is_reference = isinstance(present, str) and shown_reference(Foreign(present, True)) is not None
    if is_reference or is_mark(present):
        places.append(path)
        return present
    missing.append(path)
    return old


def _partners(old: list[Any], present: Any) -> Iterator[Any]:
    """Yields the item of the present list that is the same as each old one; None if there is none."""
    items = present if isinstance(present, list) else []
    if _same(old, items):
        yield from items
        return
    names = Counter(map(_name, items))
    by_name = {name: item for item in items if (name := _name(item)) and names[name] == 1}
    for item in old:
        yield by_name.get(_name(item))


def _name(item: Any) -> str:
    found = (item.get(key) for key in _NAMES) if isinstance(item, Mapping) else ()
    return next((name for name in found if isinstance(name, str)), "")


def _same(old: Any, present: Any) -> bool:
    """Whether two values are the same except for secrets."""
    return json.dumps(old) == json.dumps(without_marks(present))


def with_own(old: Any, present: Any) -> Any:
    """Returns a document of the history with what only the node's own file can change as it is now."""
    if not isinstance(old, Mapping):
        return old
    given = present if isinstance(present, Mapping) else {}
    found = {key: given.get(key) if key in OWN else item for key, item in old.items() if key not in OWN or key in given}
    found |= {key: given[key] for key in OWN if key in given}
    if isinstance(admin := found.get("admin"), Mapping):
        now = given.get("admin")
        own = {key: now[key] for key in _OWN_OF_ADMIN if key in now} if isinstance(now, Mapping) else {}
        found["admin"] = {key: item for key, item in admin.items() if key not in _OWN_OF_ADMIN} | own
    return found
