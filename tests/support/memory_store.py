"""A store in memory, with a clock that tests set and with faults that they order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from pylae.errors import LeaseExpiredError, StoreUnavailableError
from pylae.store.store import (
    Compare,
    Event,
    KeyValue,
    Lease,
    Migration,
    Operation,
    Page,
    Put,
    Snapshot,
    Store,
    Watch,
)


class Data:
    """What the store has. It outlives all connections to it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.pairs: dict[str, KeyValue] = {}
        self.held: dict[str, int] = {}
        self.leases: dict[int, tuple[int, float]] = {}
        self.revision = 0
        self.away = False
        self.events: list[Event] = []

    def sweep(self) -> None:
        """Ends what is over."""
        for lease in [one for one, (_, until) in self.leases.items() if until <= self.clock()]:
            self.end(lease)

    def end(self, lease: int) -> None:
        """Deletes a lease and its keys."""
        if self.leases.pop(lease, None) is not None:
            self.revision += 1
            for key in [key for key, of in self.held.items() if of == lease]:
                del self.pairs[key], self.held[key]
                self.events.append(Event(key, None, self.revision))


class MemoryStore(Store):
    """A connection to it. `fault` is asked before and after each change, and may raise."""

    newest = "1"

    def __init__(self, data: Data, fault: Callable[[str], None] = lambda _: None) -> None:
        super().__init__("the store in memory")
        self.data, self._fault = data, fault

    def _begin(self) -> None:
        if self.data.away:
            raise StoreUnavailableError("the store in memory is away")
        self.data.sweep()

    def get(self, key: str) -> KeyValue | None:
        self._begin()
        return self.data.pairs.get(key)

    def range(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> Page:
        self._begin()
        keys = sorted(key for key in self.data.pairs if key.startswith(prefix) and (after is None or key > after))
        return Page(tuple(self.data.pairs[key] for key in keys[:limit]), self.data.revision, len(keys) > limit)

    @contextlib.contextmanager
    def snapshot(self, prefix: str = "") -> Iterator[Snapshot]:
        page = self.range(prefix, limit=10**6)
        yield Snapshot(iter(page.pairs), page.revision)

    def _commit(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> int | None:
        self._begin()
        self._fault("before")
        pairs = self.data.pairs
        for one in compares:
            known = pairs.get(one.key)
            if (known.revision if known else 0) != one.revision:
                return None
        for change in operations:
            if isinstance(change, Put) and change.lease and change.lease.id not in self.data.leases:
                raise LeaseExpiredError("the lease is over")
        self.data.revision += 1
        for change in operations:
            self.data.held.pop(change.key, None)
            if isinstance(change, Put):
                pairs[change.key] = KeyValue(change.key, change.value, self.data.revision, change.lease is not None)
                if change.lease:
                    self.data.held[change.key] = change.lease.id
            else:
                pairs.pop(change.key, None)
            value = change.value if isinstance(change, Put) else None
            self.data.events.append(Event(change.key, value, self.data.revision))
        self._fault("after")
        return self.data.revision

    def _watch(self, prefix: str, after: int) -> Watch:
        raise NotImplementedError

    def _grant(self, ttl: int) -> Lease:
        self._begin()
        number = max(self.data.leases, default=0) + 1 + self.data.revision
        self.data.leases[number] = (ttl, self.data.clock() + ttl)
        return Lease(number, ttl)

    def keep_alive(self, lease: Lease) -> bool:
        self._begin()
        if lease.id not in self.data.leases:
            return False
        self.data.leases[lease.id] = (lease.ttl, self.data.clock() + lease.ttl)
        return True

    def revoke(self, lease: Lease) -> None:
        self._begin()
        self.data.end(lease.id)

    def schema(self) -> str | None:
        return self.newest

    def migrate(self) -> Migration:
        return Migration(None, self.newest)

    def close(self) -> None:
        """Nothing is open."""
