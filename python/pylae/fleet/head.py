"""The number of the configuration that all nodes should have: the latest one that was rolled out to its end.

The head of the history is its latest entry, which may be on its way, or have been taken back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pylae.errors import StoreError
from pylae.store.store import Compare, Put, Store

KEY = "fleet/head"


@dataclass(frozen=True, slots=True)
class Head:
    """Its number in the history, 0 if nothing was ever on all nodes, and the revision of the key."""

    number: int
    revision: int

    @property
    def compare(self) -> Compare:
        """The condition that it is still the same."""
        return Compare(KEY, self.revision)


def read(store: Store) -> Head:
    """Reads it. Raises StoreError."""
    found = store.get(KEY)
    if found is None:
        return Head(0, 0)
    try:
        number = json.loads(found.value)["number"]
    except (ValueError, TypeError, KeyError):
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise StoreError(f"{KEY} in {store.where} is not the number of a configuration")
    return Head(number, found.revision)


def put(number: int) -> Put:
    """Returns what changes it."""
    return Put(KEY, json.dumps({"version": 1, "number": number}).encode())
