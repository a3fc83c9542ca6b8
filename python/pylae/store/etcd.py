"""etcd: keys with a common first word, in servers that several nodes share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from pylae.errors import LeaseExpiredError, StoreError
from pylae.store.etcd_client import EtcdClient, Stream, TooLongError, decoded, encoded, understood
from pylae.store.settings import StoreSettings, StoreUrl
from pylae.store.store import (
    MOST_BYTES,
    MOST_PAIRS,
    MOST_WATCHES,
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
    check_key,
    check_prefix,
    compacted,
    end_of,
)

_KEYS = "keys/"
"""Begins the keys of the store, after its first word. The version of its schema is beside them."""
_NO_LEASE = "requested lease not found"


class EtcdStore(Store):
    """A store in etcd. Whoever runs the servers says how long they know past revisions (--auto-compaction-…)."""

    newest = "0001"

    def __init__(self, settings: StoreSettings, url: StoreUrl, base: Path) -> None:
        """`base` is the folder that names of files are relative to."""
        super().__init__(f"the store {url}")
        self.client = EtcdClient(self.where, settings, url, base)
        self._root = f"/{url.name}/"
        self._watches = threading.BoundedSemaphore(MOST_WATCHES)

    def get(self, key: str) -> KeyValue | None:
        """As `Store.get`."""
        check_key(key)
        found = self.client.call("/v3/kv/range", {"key": self.name_of(key)})
        with understood(self.where):
            _revision(found)
            pairs = found.get("kvs")
            return self._pair(pairs[0]) if pairs else None

    def range(self, prefix: str, *, after: str | None = None, limit: int = MOST_PAIRS) -> Page:
        """As `Store.range`."""
        check_prefix(prefix)
        if after is not None:
            check_key(after)
        return self._page(prefix, after, max(1, min(limit, MOST_PAIRS)), 0)

    @contextlib.contextmanager
    def snapshot(self, prefix: str = "") -> Iterator[Snapshot]:
        """As `Store.snapshot`."""
        check_prefix(prefix)
        first = self._page(prefix, None, MOST_PAIRS, 0)
        yield Snapshot(self._pages(prefix, first), first.revision)

    def _pages(self, prefix: str, page: Page) -> Iterator[KeyValue]:
        revision = page.revision
        yield from page.pairs
        while page.more:
            page = self._page(prefix, page.pairs[-1].key, MOST_PAIRS, revision)
            yield from page.pairs

    def _page(self, prefix: str, after: str | None, limit: int, revision: int) -> Page:
        begin = prefix if after is None or after < prefix else f"{after}\0"
        wanted = {"key": self.name_of(begin), "range_end": self.name_of(end_of(prefix)), "revision": str(revision)}
        while True:
            try:
                found = self.client.call("/v3/kv/range", {**wanted, "limit": limit})
            except TooLongError:
                if limit == 1:
                    raise
                limit = max(1, limit // 8)
            else:
                break
        with understood(self.where):
            pairs = [self._pair(one) for one in found.get("kvs", ())]
            revision = revision or _revision(found)
        total, fitting = 0, 0
        for one in pairs:
            total += len(one.value)
            if fitting and total > MOST_BYTES:
                break
            fitting += 1
        more = bool(found.get("more")) or fitting < len(pairs)
        return Page(tuple(pairs[:fitting]), revision, more)

    def _commit(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> int | None:
        body = {
            "compare": [
                {
                    "key": self.name_of(one.key),
                    "target": "MOD",
                    "result": "EQUAL",
                    "mod_revision": str(one.revision),
                }
                for one in compares
            ],
            "success": [self._operation(one) for one in operations],
        }
        try:
            found = self.client.call("/v3/kv/txn", body, repeatable=False)
        except StoreError as error:
            if _NO_LEASE in str(error):
                raise LeaseExpiredError(f"a lease in {self.where} is over", "make another one") from None
            raise
        with understood(self.where):
            revision = _revision(found)
            return revision if found.get("succeeded") else None

    def _operation(self, one: Operation) -> dict[str, Any]:
        if not isinstance(one, Put):
            return {"request_delete_range": {"key": self.name_of(one.key)}}
        put = {"key": self.name_of(one.key), "value": encoded(one.value)}
        return {"request_put": {**put, "lease": str(one.lease.id)} if one.lease else put}

    def _watch(self, prefix: str, after: int) -> Watch:
        if not self._watches.acquire(blocking=False):
            raise StoreError(f"{self.where} has {MOST_WATCHES} watches already", "close those that are not used")
        return _EtcdWatch(self, prefix, after, self._watches)

    def _grant(self, ttl: int) -> Lease:
        found = self.client.call("/v3/lease/grant", {"TTL": ttl})
        with understood(self.where):
            return Lease(int(found["ID"]), int(found["TTL"]))

    def keep_alive(self, lease: Lease) -> bool:
        """As `Store.keep_alive`."""
        found = self.client.call("/v3/lease/keepalive", {"ID": str(lease.id)})
        with understood(self.where):
            return int(found["result"].get("TTL", 0)) > 0

    def revoke(self, lease: Lease) -> None:
        """As `Store.revoke`."""
        try:
            self.client.call("/v3/lease/revoke", {"ID": str(lease.id)})
        except StoreError as error:
            if _NO_LEASE not in str(error):
                raise

    def schema(self) -> str | None:
        """As `Store.schema`."""
        found = self.client.call("/v3/kv/range", {"key": encoded(f"{self._root}schema".encode())})
        with understood(self.where):
            _revision(found)
            pairs = found.get("kvs")
            return decoded(pairs[0]["value"]).decode("utf-8", "replace") if pairs else None

    def migrate(self) -> Migration:
        """As `Store.migrate`."""
        key = encoded(f"{self._root}schema".encode())
        before = self.schema()
        if before is None:
            absent = {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": "0"}
            put = {"request_put": {"key": key, "value": encoded(self.newest.encode())}}
            self.client.call("/v3/kv/txn", {"compare": [absent], "success": [put]}, repeatable=False)
        return Migration(before, before or self.newest)

    def close(self) -> None:
        """As `Store.close`."""
        self.client.close()

    def name_of(self, key: str) -> str:
        """Returns a key as servers know it, in JSON."""
        return encoded(f"{self._root}{_KEYS}{key}".encode())

    def key_of(self, name: str) -> str:
        """Returns the key that servers know by this name."""
        return decoded(name).decode().removeprefix(f"{self._root}{_KEYS}")

    def _pair(self, found: Any) -> KeyValue:
        return KeyValue(
            self.key_of(found["key"]),
            decoded(found.get("value", "")),
            int(found["mod_revision"]),
            int(found.get("lease", 0)) != 0,
        )


class _EtcdWatch(Watch):
    """A stream of answers, and another one from where it is once that has ended."""

    def __init__(self, store: EtcdStore, prefix: str, after: int, places: threading.BoundedSemaphore) -> None:
        super().__init__(prefix, after)
        self._store = store
        self._places: threading.BoundedSemaphore | None = places
        self._stream: Stream | None = None
        self._begun: list[Event] = []
        """Events of a revision of which others may follow."""

    def wait(self, timeout: float) -> list[Event]:
        """As `Watch.wait`."""
        end = monotonic() + timeout
        try:
            while True:
                if self._stream is None:
                    self._stream = self._open()
                found = self._stream.next(end)
                if found is None:
                    return []
                with understood(self._store.where):
                    events = self._events(found)
                if events:
                    return events
        except BaseException:
            self._hang_up()
            raise

    def _open(self) -> Stream:
        wanted = {
            "key": self._store.name_of(self.prefix),
            "range_end": self._store.name_of(end_of(self.prefix)),
            "start_revision": str(self.after + 1),
            # Else an answer has all events of a thousand revisions.
            "fragment": True,
        }
        stream = self._store.client.stream("/v3/watch", {"create_request": wanted})
        self._stream = stream
        found = stream.next(monotonic() + self._store.client.timeout)
        if found is None:
            raise self._store.client.lost("the server does not begin a watch in time")
        with understood(self._store.where):
            revision = _revision(found)
        if revision < self.after:
            # It has lost what this watch has seen, as after the restore of a backup.
            raise compacted(self._store.where, self.after)
        return stream

    def _events(self, found: Any) -> list[Event]:
        if found.get("compact_revision"):
            raise compacted(self._store.where, self.after)
        if found.get("canceled"):
            raise self._store.client.lost(
                f"the server ends the watch: {found.get('cancel_reason', 'it does not say why')}"
            )
        events, self._begun = self._begun, []
        for one in found.get("events", ()):
            pair = one["kv"]
            value = None if one.get("type") == "DELETE" else decoded(pair.get("value", ""))
            events.append(Event(self._store.key_of(pair["key"]), value, int(pair["mod_revision"])))
        if events and found.get("fragment"):
            last = events[-1].revision
            self._begun = [one for one in events if one.revision == last]
            events = events[: -len(self._begun)]
        if events:
            self.after = events[-1].revision
        return events

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._begun = []

    def close(self) -> None:
        """As `Watch.close`."""
        self._hang_up()
        if self._places is not None:
            self._places.release()
            self._places = None


def _revision(found: Any) -> int:
    return int(found["header"]["revision"])
