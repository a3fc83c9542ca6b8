"""A backup: what is in a store, in a file that each engine can restore.

It has one line of JSON for the whole, one for each key, and one with their number and a hash. Keys with a lease are
left out: they are signs of life. Revisions are not kept; those of the new store count from where it is.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pylae import state
from pylae.errors import StoreError
from pylae.store.store import (
    MOST_OPERATIONS,
    MOST_VALUE,
    RESTORING,
    Compare,
    Delete,
    Operation,
    Put,
    Store,
    check_key,
)

VERSION = 1
"""Form of the file."""
_LONGEST = 2 * MOST_VALUE
"""Bytes of a line."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup has in it: how many keys, and the schema and the revision of its store."""

    keys: int
    schema: str
    revision: int


def back_up(store: Store, file: Path) -> Backup:
    """Writes all that is kept at one moment into a file for its owner alone, whole or not at all.

    Raises StoreError and OSError.
    """
    state.sweep(file.parent, file.name)
    with store.snapshot() as snapshot:
        head = {"pylae_store": VERSION, "schema": store.newest, "revision": snapshot.revision}
        lines = _Lines(head, (one for one in snapshot.pairs if not one.leased))
        with state.replacing(file, lines) as replace:
            replace()
    return Backup(lines.keys, store.newest, snapshot.revision)


class _Lines:
    """The lines of a backup."""

    def __init__(self, head: dict[str, Any], pairs: Iterable[Any]) -> None:
        self._head, self._pairs = head, pairs
        self.keys = 0

    def __iter__(self) -> Iterator[bytes]:
        hashed = hashlib.sha256()
        said = ({"key": one.key, "value": b64encode(one.value).decode("ascii")} for one in self._pairs)
        for line in chain([self._head], said):
            data = json.dumps(line).encode() + b"\n"
            hashed.update(data)
            yield data
            self.keys += line is not self._head
        yield json.dumps({"keys": self.keys, "sha256": hashed.hexdigest()}).encode() + b"\n"


def restore(store: Store, file: Path, *, replace: bool = False) -> Backup:
    """Puts what is in a backup into a store that is empty, or with `replace`, in place of what is in it.

    If it is interrupted, the store cannot be used until a restore has ended. Raises StoreError and OSError.
    """
    with file.open("rb") as opened:
        found = _checked(file, opened)
        opened.seek(0)
        begun = store.get(RESTORING)
        if not replace and begun is None and store.range("", limit=1).pairs:
            raise StoreError(
                f"{store.where} is not empty", "back it up, and use --replace to restore in place of what is in it"
            )
        # From here on, no other restore, and no gateway that starts.
        mark = store.put(RESTORING, file.name.encode(errors="replace"), revision=begun.revision if begun else 0)
        if mark is None:
            raise _overtaken(store)
        guard = Compare(RESTORING, mark)
        with store.snapshot() as snapshot:
            old = (Delete(one.key) for one in snapshot.pairs if one.key != RESTORING)
            _change(store, guard, old)
        _change(store, guard, (Put(key, value) for key, value in _pairs(file, opened)))
        _commit(store, guard, [Delete(RESTORING)])
    return found


def _change(store: Store, guard: Compare, operations: Iterator[Operation]) -> None:
    batch: list[Operation] = []
    length = 0
    for one in operations:
        size = len(one.value) if isinstance(one, Put) else 0
        if batch and (len(batch) == MOST_OPERATIONS or length + size > MOST_VALUE):
            _commit(store, guard, batch)
            batch, length = [], 0
        batch.append(one)
        length += size
    if batch:
        _commit(store, guard, batch)


def _commit(store: Store, guard: Compare, batch: list[Operation]) -> None:
    if store.txn([guard], batch) is None:
        raise _overtaken(store)


def _overtaken(store: Store) -> StoreError:
    return StoreError(f"another restore into {store.where} has begun", "let it end")


def _checked(file: Path, lines: Iterable[bytes]) -> Backup:
    """Reads a backup to its end, so that nothing is changed if something is wrong with it."""
    hashed = hashlib.sha256()
    before: bytes | None = None
    count = -1
    head: Any = None
    for line in lines:
        if len(line) > _LONGEST:
            raise _unusable(file, "has a line that is too long")
        if before is not None:
            hashed.update(before)
            count += 1
            if head is None:
                head = _head(file, before)
            else:
                _pair(file, before)
        before = line
    try:
        end = json.loads(before or b"")
        whole = head is not None and (end["keys"], end["sha256"]) == (count, hashed.hexdigest())
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise _unusable(file, "is not whole: its last line is not the hash of the others")
    return Backup(count, head["schema"], head["revision"])


def _head(file: Path, line: bytes) -> Any:
    try:
        head = json.loads(line)
        if head["pylae_store"] == VERSION and isinstance(head["schema"], str) and isinstance(head["revision"], int):
            return head
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise _unusable(file, "is not a backup of a store, or one of a later version of Pylae")


def _pair(file: Path, line: bytes) -> tuple[str, bytes]:
    try:
        said = json.loads(line)
        key, value = said["key"], b64decode(said["value"], validate=True)
        check_key(key)
    except (ValueError, TypeError, KeyError, RecursionError, StoreError):
        raise _unusable(file, "has a line that is not a key with its value") from None
    if len(value) > MOST_VALUE:
        raise _unusable(file, f"has a value that is too long, of {key}")
    return key, value


def _pairs(file: Path, lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yields the keys of a backup that was checked."""
    before: bytes | None = None
    for number, line in enumerate(lines):
        if number > 1 and before is not None:
            yield _pair(file, before)
        before = line


def _unusable(file: Path, why: str) -> StoreError:
    return StoreError(f"{file} {why}", "use another backup; nothing was changed")
