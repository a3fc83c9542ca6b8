"""The interface of a store, and what all engines promise.

A store has keys with values. Each transaction that changes something has a *revision*, a number that grows. A key has
the revision of its last change. The words are those of etcd.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pylae.errors import CompactedError, LeaseExpiredError, StoreError

MOST_KEY = 512
"""Characters of a key."""
MOST_VALUE = 1024 * 1024
"""Bytes of a value, and of all values of a transaction. Servers of etcd refuse 1.5 MiB."""
MOST_OPERATIONS = 64
"""Operations of a transaction, and compares."""
MOST_PAIRS = 1000
"""Keys of a page, and events of a batch."""
MOST_BYTES = 8 * 1024 * 1024
"""Bytes of the values of a page or of a batch, if it has more than one."""
MOST_WATCHES = 8
"""Watches at once, per opened store."""
TTLS = range(2, 401 * 24 * 3600)
"""Seconds that a lease may last without a sign of life. Servers of etcd make at least 2 of less; no cookie lasts longer
than 400 days."""
RESTORING = "store/restoring"
"""The key that is there while a backup is being restored."""

_KEY = re.compile(r"[A-Za-z0-9._~@:=+%-]+(/[A-Za-z0-9._~@:=+%-]+)*")
_PREFIX = re.compile(r"([A-Za-z0-9._~@:=+%-]+/)*")


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key, its value, and the revision of its last change. `leased`: it ends with a lease."""

    key: str
    value: bytes
    revision: int
    leased: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Keys in order, as they were at `revision`. If there is `more`, go on after the last key."""

    pairs: tuple[KeyValue, ...]
    revision: int
    more: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys as they were at `revision`, in order. They are read while they are iterated over."""

    pairs: Iterator[KeyValue]
    revision: int


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a key. `value` is None if it was deleted."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Ends `ttl` seconds after the last sign of life, by the store's clock, and deletes what was put with it."""

    id: int
    ttl: int


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition: the last change of the key has this revision, or with 0, the key does not exist."""

    key: str
    revision: int

    def __post_init__(self) -> None:
        check_key(self.key)


@dataclass(frozen=True, slots=True)
class Put:
    """Sets the value of a key. With a lease, the key is deleted when the lease ends."""

    key: str
    value: bytes
    lease: Lease | None = None

    def __post_init__(self) -> None:
        check_key(self.key)


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes a key, if it exists."""

    key: str

    def __post_init__(self) -> None:
        check_key(self.key)


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class Hold:
    """A key that one holder has for as long as it shows signs of life (`Store.keep_alive`).

    `revision` is the fencing token: that of a later holder is greater. A transaction with `compare` changes nothing
    once another one holds the key, even if this holder has not noticed yet.
    """

    key: str
    revision: int
    lease: Lease

    @property
    def compare(self) -> Compare:
        """The condition that the key is still held."""
        return Compare(self.key, self.revision)


@dataclass(frozen=True, slots=True)
class Migration:
    """What `Store.migrate` has done: the version of the schema before and after, and the copy that was made before."""

    before: str | None
    after: str
    backup: str | None = None


class Watch(ABC):
    """The events of all keys with a prefix, in order, without gaps. Only one thread may use it at a time."""

    def __init__(self, prefix: str, after: int) -> None:
        self.prefix = prefix
        self.after = after
        """The revision of the last event, or a later one up to which there is none. A new watch may begin there."""

    @abstractmethod
    def wait(self, timeout: float) -> list[Event]:
        """Returns the next events; none if there are none within this many seconds. Those of a revision come together.

        After StoreUnavailableError, call it again: nothing is lost. Raises CompactedError if events were forgotten.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends the watch."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self.close()


class Store(ABC):
    """A store. All threads of a process can use it. Its exceptions are `StoreError`.

    Every call ends within the time-out of the settings, or a small multiple of it, with an answer or with
    StoreUnavailableError. What has returned outlives a crash of this process, of the store, and of its machine.
    """

    newest: str
    """The version of the schema that this version of Pylae uses. Later versions are greater."""

    def __init__(self, where: str) -> None:
        self.where = where
        """What and where it is, for messages."""

    @abstractmethod
    def get(self, key: str) -> KeyValue | None:
        """Returns a key, or None if it does not exist. What has been changed before the call is seen."""

    @abstractmethod
    def range(self, prefix: str, *, after: str | None = None, limit: int = MOST_PAIRS) -> Page:
        """Returns keys with a prefix, in order of their bytes, after a key if one is given. Long pages are cut."""

    @abstractmethod
    def snapshot(self, prefix: str = "") -> AbstractContextManager[Snapshot]:
        """Reads all keys with a prefix as they are at one moment, however many there are."""

    @abstractmethod
    def _commit(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> int | None:
        """As `txn`; the arguments have been checked."""

    @abstractmethod
    def _watch(self, prefix: str, after: int) -> Watch:
        """As `watch`; the arguments have been checked."""

    @abstractmethod
    def _grant(self, ttl: int) -> Lease:
        """As `grant`; the argument has been checked."""

    @abstractmethod
    def keep_alive(self, lease: Lease) -> bool:
        """Extends a lease by its `ttl`, from now. Returns False if it is over."""

    @abstractmethod
    def revoke(self, lease: Lease) -> None:
        """Ends a lease now, if it is not over, and deletes the keys that were put with it."""

    @abstractmethod
    def schema(self) -> str | None:
        """Returns the version of the schema that is there, or None if there is none."""

    @abstractmethod
    def migrate(self) -> Migration:
        """Makes the schema, or brings it to the newest version: whole, or not at all."""

    @abstractmethod
    def close(self) -> None:
        """Closes the connections."""

    def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> int | None:
        """Makes all changes together if all compares hold. Returns the revision, or None if one does not hold.

        If nothing changes, because only keys that do not exist were to be deleted, the revision is the present one.
        Raises LeaseExpiredError if a lease to put with is over.
        """
        keys = [one.key for one in operations]
        if len(keys) > MOST_OPERATIONS or len(compares) > MOST_OPERATIONS:
            raise StoreError(f"a transaction has at most {MOST_OPERATIONS} operations and as many compares")
        if len(set(keys)) != len(keys):
            raise StoreError("a transaction changes each key only once")
        length = sum(len(one.value) for one in operations if isinstance(one, Put))
        if length > MOST_VALUE:
            raise StoreError(
                f"{length} bytes are too many for a transaction", f"the values may have {MOST_VALUE} together"
            )
        return self._commit(compares, operations)

    def put(self, key: str, value: bytes, *, revision: int | None = None, lease: Lease | None = None) -> int | None:
        """Sets a value. With a `revision`, only if that is the key's; with 0, only if the key does not exist.

        Returns the new revision, or None if the key has another one than `revision`.
        """
        return self.txn([] if revision is None else [Compare(key, revision)], [Put(key, value, lease)])

    def delete(self, key: str, *, revision: int | None = None) -> int | None:
        """Deletes a key. `revision` and the result are as for `put`."""
        return self.txn([] if revision is None else [Compare(key, revision)], [Delete(key)])

    def watch(self, prefix: str, after: int) -> Watch:
        """Watches all keys with a prefix. The first event is the first one after the revision `after`."""
        check_prefix(prefix)
        if after < 0:
            raise StoreError(f"{after} is not a revision", "the first one is 0: before everything")
        return self._watch(prefix, after)

    def grant(self, ttl: int) -> Lease:
        """Makes a lease. `ttl` is in seconds; the store may make it longer."""
        if ttl not in TTLS:
            raise StoreError(f"a lease of {ttl} s is not possible", f"from {TTLS[0]} to {TTLS[-1]} s are")
        return self._grant(ttl)

    def hold(self, key: str, value: bytes, ttl: int) -> Hold | None:
        """Takes a key that nobody holds. Returns None if another one holds it.

        `value` says who holds it, for people. End it with `revoke(hold.lease)`.
        """
        if self.get(key) is not None:
            return None
        lease = self.grant(ttl)
        try:
            revision = self.put(key, value, revision=0, lease=lease)
        except LeaseExpiredError:
            revision = None
        if revision is None:
            self.revoke(lease)
            return None
        return Hold(key, revision, lease)

    def check(self) -> None:
        """Raises StoreError, with a hint, if the store cannot be used by this version of Pylae as it is."""
        self.check_schema()
        if self.get(RESTORING) is not None:
            raise StoreError(
                f"{self.where} is half restored: a restore was interrupted, or is still going on",
                "once it has ended, begin again: pylae store restore FILE --replace",
            )

    def check_schema(self) -> None:
        """Raises StoreError, with a hint, if the store has no schema, or another one than this version of Pylae."""
        found = self.schema()
        if found is None:
            raise StoreError(f"{self.where} is empty: it has no schema", "make it: pylae store migrate")
        if found < self.newest:
            raise StoreError(
                f"the schema of {self.where} is older than this version of Pylae: {found}, not {self.newest}",
                "bring it up to date: pylae store migrate",
            )
        if found > self.newest:
            raise StoreError(
                f"the schema of {self.where} is newer than this version of Pylae: {found}, not {self.newest}",
                "use the version of Pylae that has migrated it, or restore a backup into an empty store",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self.close()


def check_key(key: str) -> None:
    """Raises StoreError if a text cannot be a key."""
    if len(key) > MOST_KEY or not _KEY.fullmatch(key):
        raise StoreError(
            f"{key[:MOST_KEY]!r} cannot be a key of a store",
            f"a key has at most {MOST_KEY} characters: words of A-Z a-z 0-9 . _ ~ @ : = + % - with / between them",
        )


def check_prefix(prefix: str) -> None:
    """Raises StoreError if a text cannot be a prefix: it is empty or ends with `/`."""
    if len(prefix) > MOST_KEY or not _PREFIX.fullmatch(prefix):
        raise StoreError(f"{prefix[:MOST_KEY]!r} cannot be a prefix of keys", "it is empty, or ends with `/`")


def end_of(prefix: str) -> str:
    """Returns the first text after all keys with a prefix. Without a prefix, that is after all keys."""
    return f"{prefix[:-1]}0" if prefix else "\x7f"


def compacted(where: str, after: int) -> CompactedError:
    """Returns the error for a watch that begins where the store cannot tell what followed."""
    return CompactedError(
        f"{where} does not know any more what has changed since revision {after}",
        "read everything again, and watch from there",
    )
