"""The history in a store. Entries are numbered without gaps, and each refers to the content that was in force."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from pylae.errors import ConflictError, NoEntryError, StoreError, StoreUnavailableError
from pylae.history.content import MOST_PARTS, Content, ContentError, joined, pack, parts_of, read_part, unpack
from pylae.history.entry import (
    MOST_NAME,
    MOST_REASON,
    Cause,
    Change,
    Damaged,
    Entry,
    changes_between,
    damaged,
    line,
    read_entry,
)
from pylae.store.store import MOST_OPERATIONS, Compare, Delete, KeyValue, Operation, Put, Store

HEAD = "history/head"
ENTRIES = "history/entries/"
DOCUMENTS = "history/documents/"
MOST_PAGE = 100
"""Entries of a page."""
_TRIES = 100
"""How often an entry is tried again because another writer was first, or something was swept meanwhile."""
_SLICES = 256
"""In how many slices all documents are looked at, by the first two digits of their digests."""


class History:
    """The history in one store. Several processes can append to it at once. All methods raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def where(self) -> str:
        """What and where the store is, for messages."""
        return self._store.where

    def head(self) -> int:
        """Returns the number of the latest entry, or 0 if there is none."""
        return self._head()[0]

    def _head(self) -> tuple[int, int]:
        """The number of the latest entry, and the revision of the key that says it."""
        found = self._store.get(HEAD)
        if found is None:
            return 0, 0
        return read_head(found.value, self.where), found.revision

    def entry(self, number: int) -> Entry:
        """Returns an entry. Raises NoEntryError if it is not there, and StoreError if it cannot be read."""
        found = self._store.get(_entry_key(number)) if 0 < number < 10**10 else None
        if found is None:
            head = self.head()
            if number == head > 0:
                raise damaged(self.where, number, "it is missing")
            known = f"the latest one is {head}" if head else "there is none yet"
            raise NoEntryError(f"there is no entry {number} in the history, or it is not kept any more: {known}")
        return read_entry(found.value, number, self.where)

    def entries(self, before: int | None = None, limit: int = 20) -> list[Entry | Damaged]:
        """Returns entries from the latest one on, or from the one before a number; at most MOST_PAGE.

        An entry that cannot be read does not keep others from being read: it is a `Damaged`.
        """
        top = self.head() if before is None else before - 1
        limit = max(1, min(limit, MOST_PAGE))
        found: list[KeyValue] = []
        for pairs in self._downwards(max(0, top), limit):
            found += pairs
            if len(found) >= limit:
                break
        return [self._read(pair) for pair in found[:limit]]

    def _downwards(self, top: int, limit: int) -> Iterator[list[KeyValue]]:
        """Yields the entries up to a number, the latest ones first."""
        bottom = max(0, top - limit)
        yield [pair for pair in reversed(self._between(bottom, top)) if pair.key <= _entry_key(top)]
        # What is kept of older ones is little, and has gaps.
        if bottom:
            yield list(reversed(self._between(0, bottom)))

    def _between(self, bottom: int, top: int) -> list[KeyValue]:
        """The entries above one number and up to another, or the last MOST_PAGE of them."""
        found: list[KeyValue] = []
        after: str | None = _entry_key(bottom)
        while after is not None:
            page = self._store.range(ENTRIES, after=after, limit=MOST_PAGE)
            found += [pair for pair in page.pairs if pair.key <= _entry_key(top)]
            found = found[-MOST_PAGE:]
            is_last = not page.more or page.pairs[-1].key >= _entry_key(top)
            after = None if is_last else page.pairs[-1].key
        return found

    def _read(self, pair: KeyValue) -> Entry | Damaged:
        text = pair.key.removeprefix(ENTRIES)
        number = int(text) if text.isdecimal() and len(text) == 10 else 0
        try:
            return read_entry(pair.value, number, self.where)
        except StoreError as error:
            return Damaged(number, str(error))

    def content(self, number: int) -> Any:
        """Returns the document of an entry, without secrets. Raises as `entry`, also if the document is damaged."""
        return self._document(self.entry(number))

    def _document(self, entry: Entry) -> Any:
        try:
            return unpack(self._content(entry.digest))
        except ContentError as error:
            raise damaged(self.where, entry.number, f"its document cannot be used, {error}") from None

    def _content(self, digest: str) -> Content:
        parts: list[bytes] = []
        count = 1
        while len(parts) < count:
            found = self._store.get(_part_key(digest, len(parts)))
            if found is None:
                raise ContentError(f"part {len(parts)} is missing")
            data, count = read_part(found.value, len(parts))
            parts.append(data)
        return joined(digest, parts)

    def append(
        self,
        document: Any,
        cause: Cause,
        *,
        at: datetime | None = None,
        node: str | None = None,
        entry_id: str | None = None,
        expected: int | None = None,
        before: int | None = None,
        compares: Sequence[Compare] = (),
        operations: Sequence[Operation] = (),
    ) -> Entry:
        """Adds an entry with the next number.

        Raises ConflictError if `expected` is not the latest entry any more, or if another compare does not hold.
        StoreUnavailableError says that the entry may be there: whoever tries again looks for its id first.

        Args:
            document: What `content.document_of` has returned.
            cause: Who puts it in force, why and how.
            at: When; now, if it is not given.
            node: The node that has accepted it.
            entry_id: What tells the entry apart from all others; made up, if it is not given.
            expected: The number that the latest entry has to have.
            before: The number of the entry that it is compared with; the latest, if it is not given.
            compares: What else has to hold.
            operations: What else is changed in the same transaction.
        """
        try:
            content = pack(document)
        except ContentError as error:
            raise StoreError(f"this configuration cannot be kept in the history: {error}") from None
        entry_id = entry_id or secrets.token_hex(16)
        compared: dict[int, tuple[tuple[Change, ...], int | None]] = {}
        for _ in range(_TRIES):
            number, revision = self._head()
            if expected is not None and number != expected:
                raise ConflictError(f"entry {number} is the latest one by now, not {expected}")
            if number not in compared:
                compared[number] = self._compared(number if before is None else before, content.digest, document)
            changes, count = compared[number]
            entry = Entry(
                number=number + 1,
                id=entry_id,
                digest=content.digest,
                at=at or datetime.now(UTC),
                author=line(cause.author, MOST_NAME),
                how=cause.how,
                reason=line(cause.reason, MOST_REASON) if cause.reason else None,
                node=line(node, MOST_NAME) if node else None,
                returns_to=cause.returns_to,
                changes=changes,
                count=count,
            )
            if self._put(entry, revision, content, compares, operations):
                return entry
            self._check(compares)
        raise StoreUnavailableError(
            f"others have appended to the history in {self.where} all the time, so this entry is not in it", "try again"
        )

    def _compared(self, number: int, digest: str, document: Any) -> tuple[tuple[Change, ...], int | None]:
        """What differs from the latest entry. None if that cannot be read."""
        before: Any = {}
        if number:
            try:
                latest = self.entry(number)
                if latest.digest == digest:
                    return (), 0
                before = self._document(latest)
            except StoreUnavailableError:
                raise
            except StoreError:
                return (), None
        return changes_between(before, document)

    def _put(
        self,
        entry: Entry,
        revision: int,
        content: Content,
        compares: Sequence[Compare],
        operations: Sequence[Operation],
    ) -> bool:
        """Puts the content, then the entry together with the head. Returns False if anything was in between."""
        first = self._put_content(content)
        conditions = [Compare(HEAD, revision), Compare(_part_key(content.digest, 0), first), *compares]
        head = json.dumps({"version": 1, "number": entry.number}).encode()
        puts = [Put(HEAD, head), Put(_entry_key(entry.number), entry.model_dump_json().encode()), *operations]
        return self._store.txn(conditions, puts) is not None

    def _put_content(self, content: Content) -> int:
        """Puts the content, if it is not there. Returns the revision of its first part, which a sweep deletes too.

        What is there stays, as another version of the library may have compressed it in another way.
        """
        first = _part_key(content.digest, 0)
        found = self._store.get(first)
        if found is not None:
            with contextlib.suppress(ContentError):
                unpack(self._content(content.digest))
                return found.revision
        values = parts_of(content)
        # The first one comes last, so that the others are there if it is.
        for part in range(len(values) - 1, 0, -1):
            self._store.put(_part_key(content.digest, part), values[part])
        # Without a condition, it has a revision in any case.
        return self._store.put(first, values[0]) or 0

    def _check(self, compares: Sequence[Compare]) -> None:
        """Raises ConflictError if one of the caller's conditions does not hold."""
        for one in compares:
            found = self._store.get(one.key)
            if (found.revision if found else 0) != one.revision:
                raise ConflictError(f"{one.key} in {self.where} has changed meanwhile")

    def latest_ids(self) -> set[str]:
        """Returns the ids of the latest entries, a page of them."""
        return {one.id for one in self.entries(limit=MOST_PAGE) if isinstance(one, Entry)}

    def with_outcome(self, number: int, outcome: str) -> list[Put]:
        """Returns what notes in an entry how its roll-out has ended, for a transaction; nothing if it is not kept.

        Raises StoreUnavailableError.
        """
        try:
            entry = self.entry(number)
        except StoreUnavailableError:
            raise
        except StoreError:
            return []
        return [Put(_entry_key(number), entry.model_copy(update={"outcome": outcome}).model_dump_json().encode())]

    def tidy(self, keep: int, named: Collection[int] = (), since: int = 0) -> None:
        """Removes all but the latest entries, and documents that no entry has. Killed in between, it leaves the rest.

        Args:
            keep: How many entries stay.
            named: Numbers of entries that stay, however old they are, such as those that a roll-out names.
            since: The latest entry when this was done last. For each entry since then, a part of the documents is
                looked at, so that what a killed process has left behind is found in time.
        """
        head, revision = self._head()
        unused = {digest for number in range(max(since, head - _SLICES), head) for digest in self._slice(number)}
        old, used = [], set()
        with self._store.snapshot(ENTRIES) as snapshot:
            for pair in snapshot.pairs:
                entry = self._read(pair)
                if entry.number <= head - max(1, keep) and entry.number not in named:
                    old.append(pair.key)
                    unused |= {entry.digest} if isinstance(entry, Entry) else set()
                elif isinstance(entry, Entry):
                    used.add(entry.digest)
                else:
                    # Which document it has is not known.
                    used |= unused
        for start in range(0, len(old), MOST_OPERATIONS):
            self._store.txn([], [Delete(key) for key in old[start : start + MOST_OPERATIONS]])
        for digest in sorted(unused - used):
            deletes = [Delete(_part_key(digest, part)) for part in range(MOST_PARTS)]
            # An entry that has come in meanwhile may have this document.
            if self._store.txn([Compare(HEAD, revision)], deletes) is None:
                return

    def _slice(self, number: int) -> Iterator[str]:
        """Yields the digests of the documents that are looked at for one entry."""
        word = f"{DOCUMENTS}{number % _SLICES:02x}"
        after: str | None = word
        while after is not None:
            page = self._store.range(DOCUMENTS, after=after, limit=1)
            after = None
            for pair in page.pairs:
                if pair.key.startswith(word):
                    digest = pair.key.removeprefix(DOCUMENTS).partition("/")[0]
                    yield digest
                    after = _part_key(digest, MOST_PARTS)


def read_head(data: bytes, where: str) -> int:
    """Returns the number in the key `history/head`. Raises StoreError if it has none."""
    try:
        found = json.loads(data)
        number = found["number"] if found["version"] == 1 else None
    except (ValueError, TypeError, KeyError, RecursionError):
        number = None
    if type(number) is not int or not 0 < number < 10**10 - 1:
        raise StoreError(
            f"the history in {where} does not say which entry is the latest: the key {HEAD} is damaged",
            "restore a backup of the store",
        )
    return number


def _entry_key(number: int) -> str:
    return f"{ENTRIES}{number:010}"


def _part_key(digest: str, part: int) -> str:
    return f"{DOCUMENTS}{digest}/{part:04}"
