"""What each engine of a store promises, on the real ones."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pylae.errors import CompactedError, LeaseExpiredError, StoreError
from pylae.store.store import (
    MOST_BYTES,
    MOST_KEY,
    MOST_OPERATIONS,
    MOST_VALUE,
    MOST_WATCHES,
    Compare,
    Delete,
    Event,
    KeyValue,
    Operation,
    Put,
    Store,
    Watch,
)
from support.peer import wait_until
from support.stores import SERVERS, Engine, Etcd, engine_of


@pytest.mark.parametrize("name", ["sqlite", *SERVERS])
def test_smoke(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """One test of each engine that always runs; all others with servers are long."""
    with engine_of(name, request, tmp_path).connect() as store:
        assert store.schema() is None
        assert store.migrate().after == store.newest
        store.check()
        first = store.put("a/b", b"1", revision=0)
        assert first
        with store.watch("a/", first) as watch:
            second = store.txn([Compare("a/b", first)], [Put("a/b", b"2"), Put("a/c", b"3")])
            assert second
            assert second > first
            assert _sorted(watch.wait(10)) == [Event("a/b", b"2", second), Event("a/c", b"3", second)]
        assert store.range("a/").pairs == (KeyValue("a/b", b"2", second), KeyValue("a/c", b"3", second))
        hold = store.hold("lock", b"me", 10)
        assert hold
        assert store.hold("lock", b"you", 10) is None
        assert store.keep_alive(hold.lease)
        store.revoke(hold.lease)
        assert store.get("lock") is None


def test_a_key_is_created_changed_and_deleted(store: Store) -> None:
    assert store.get("a") is None
    first = store.put("a", b"\x00\xff")
    assert first
    assert store.get("a") == KeyValue("a", b"\x00\xff", first)
    second = store.put("a", b"")
    assert second
    assert second > first
    assert store.get("a") == KeyValue("a", b"", second)
    third = store.delete("a")
    assert third
    assert third > second
    assert store.get("a") is None
    # Nothing changes any more.
    assert store.delete("a") == third


def test_it_is_put_only_if_the_revision_is_as_expected(store: Store) -> None:
    first = store.put("a", b"1", revision=0)
    assert first
    assert store.put("a", b"2", revision=0) is None
    second = store.put("a", b"2", revision=first)
    assert second
    assert store.put("a", b"3", revision=first) is None
    assert store.delete("a", revision=first) is None
    assert store.get("a") == KeyValue("a", b"2", second)
    assert store.delete("a", revision=second)
    assert store.put("a", b"3", revision=second) is None
    assert store.put("a", b"3", revision=0)


def test_all_changes_of_a_transaction_are_made_or_none(store: Store) -> None:
    revision = store.put("a", b"1")
    assert revision
    changes: list[Operation] = [Put("b", b"2"), Delete("a"), Delete("never")]
    assert store.txn([Compare("a", revision), Compare("b", revision)], changes) is None
    assert [one.key for one in store.range("").pairs] == ["a"]
    assert store.txn([Compare("a", revision), Compare("b", 0)], changes)
    assert [one.key for one in store.range("").pairs] == ["b"]
    assert store.txn([Compare("a", revision)], []) is None
    assert store.txn([Compare("a", 0)], []) == store.range("").revision


@pytest.mark.parametrize(
    "key",
    ["", "/", "/a", "a/", "a//b", "a b", "a\0b", "ä", "a\n", "*", "a" * (MOST_KEY + 1)],
    ids=lambda key: repr(key[:9]),
)
def test_a_text_that_is_no_key_is_refused(store: Store, key: str) -> None:
    for call in (
        lambda: store.get(key),
        lambda: store.put(key, b""),
        lambda: store.put("a", b"", revision=1) or store.delete(key),
        lambda: store.txn([Compare(key, 0)], []),
        lambda: store.hold(key, b"", 5),
        lambda: store.range("", after=key),
    ):
        with pytest.raises(StoreError, match="cannot be a key"):
            call()


@pytest.mark.parametrize("prefix", ["a", "/", "a//", "a/b", "ä/", "*/"])
def test_a_text_that_is_no_prefix_is_refused(store: Store, prefix: str) -> None:
    for call in (
        lambda: store.range(prefix),
        lambda: store.watch(prefix, 0),
        lambda: store.snapshot(prefix).__enter__(),
    ):
        with pytest.raises(StoreError, match="cannot be a prefix"):
            call()


def test_what_is_too_much_is_refused(store: Store) -> None:
    key = "a" * MOST_KEY
    assert store.put(key, bytes(MOST_VALUE))
    assert len(_got(store, key).value) == MOST_VALUE
    with pytest.raises(StoreError, match="1048577 bytes are too many"):
        store.put(key, bytes(MOST_VALUE + 1))
    with pytest.raises(StoreError, match="too many"):
        store.txn([], [Put("a", bytes(MOST_VALUE)), Put("b", b"1")])
    most = [Put(f"k/{number}", b"") for number in range(MOST_OPERATIONS)]
    assert store.txn([Compare(one.key, 0) for one in most], most)
    with pytest.raises(StoreError, match="at most 64 operations"):
        store.txn([], [*most, Put("a", b"")])
    with pytest.raises(StoreError, match="at most 64 operations"):
        store.txn([Compare(one.key, 0) for one in [*most, Put("a", b"")]], [])
    with pytest.raises(StoreError, match="each key only once"):
        store.txn([], [Put("a", b""), Delete("a")])
    for ttl in (0, 1, 401 * 24 * 3600):
        with pytest.raises(StoreError, match="is not possible"):
            store.grant(ttl)


def test_keys_are_listed_in_order_and_in_pages(store: Store) -> None:
    names = ["a/1", "a/10", "a/2", "a/b/c", "a-b/1", "b/1", "A/1"]
    for name in names:
        store.put(name, name.encode())
    assert [one.key for one in store.range("").pairs] == sorted(names)
    assert [one.key for one in store.range("a/").pairs] == ["a/1", "a/10", "a/2", "a/b/c"]
    assert store.range("none/").pairs == ()
    first = store.range("a/", limit=3)
    assert ([one.key for one in first.pairs], first.more) == (["a/1", "a/10", "a/2"], True)
    last = store.range("a/", after="a/2", limit=1)
    assert ([one.key for one in last.pairs], last.more) == (["a/b/c"], False)
    assert store.range("a/", after="a/b/c").pairs == ()
    assert [one.key for one in store.range("a/", after="A/0", limit=1).pairs] == ["a/1"]
    assert store.range("a/", after="b/1").pairs == ()


@pytest.mark.long
def test_a_page_is_not_longer_than_it_may_be(store: Store) -> None:
    for number in range(20):
        store.put(f"a/{number:02}", bytes(MOST_VALUE))
    keys, after = [], None
    while True:
        page = store.range("a/", after=after)
        assert sum(len(one.value) for one in page.pairs) <= MOST_BYTES
        keys += [one.key for one in page.pairs]
        if not page.more:
            break
        after = keys[-1]
    assert keys == [f"a/{number:02}" for number in range(20)]


def test_a_snapshot_has_all_keys_of_one_moment(store: Store) -> None:
    for batch in range(34):
        store.txn([], [Put(f"a/{batch:02}/{number}", b"old") for number in range(64)])
    with store.snapshot("a/") as snapshot:
        seen = [next(snapshot.pairs)]
        store.txn([], [Delete("a/33/63"), Put("a/33/62", b"new"), Put("a/34/0", b"new")])
        seen += snapshot.pairs
    assert len(seen) == 34 * 64
    assert {one.value for one in seen} == {b"old"}
    with store.watch("a/", snapshot.revision) as watch:
        assert {one.key for one in watch.wait(10)} == {"a/33/63", "a/33/62", "a/34/0"}


def test_a_watch_has_each_event_of_its_prefix_once_and_in_order(store: Store) -> None:
    begin = store.put("a/before", b"")
    assert begin
    expected = []
    for number in range(40):
        store.put("b/other", b"")
        revision = store.put(f"a/{number % 3}", str(number).encode())
        assert revision
        expected.append(Event(f"a/{number % 3}", str(number).encode(), revision))
    deleted = store.delete("a/0")
    assert deleted
    expected.append(Event("a/0", None, deleted))
    with store.watch("a/", begin) as watch:
        seen = _read(watch, len(expected))
        assert seen == expected
        assert watch.wait(0.05) == []
    # It goes on where it has ended, or anywhere before.
    with store.watch("a/", expected[19].revision) as watch:
        assert _read(watch, 21) == expected[20:]
    with store.watch("none/", begin) as watch:
        assert watch.wait(0.05) == []


@pytest.mark.long
def test_events_of_a_transaction_come_together(store: Store) -> None:
    begin = store.range("").revision
    revisions = []
    for number in range(14):
        revision = store.txn([], [Put(f"a/{one}", bytes([number]) * 16000) for one in range(MOST_OPERATIONS)])
        assert revision
        revisions.append(revision)
    with store.watch("a/", begin) as watch:
        seen: list[int] = []
        while len(seen) < 14:
            events = watch.wait(10)
            assert sum(len(one.value or b"") for one in events) <= 2 * MOST_BYTES
            for revision in sorted({one.revision for one in events}):
                assert len([one for one in events if one.revision == revision]) == MOST_OPERATIONS
                seen.append(revision)
    assert seen == revisions


@pytest.mark.long
def test_a_watch_that_was_away_for_too_long_is_told(store: Store, engine: Engine) -> None:
    begin = store.put("a", b"")
    assert begin
    with store.watch("", begin) as watch:
        for number in range(20):
            store.put(f"big/{number}", bytes(MOST_VALUE))
        if isinstance(engine.server, Etcd):
            engine.server.ask("/v3/kv/compaction", {"revision": store.range("").revision, "physical": True})
        # Once more, as often as it is asked; an answer may take longer than one wait.
        for _ in range(2):
            with pytest.raises(CompactedError, match="does not know any more what has changed since revision"):
                for _ in range(30):
                    watch.wait(0.1)
    now = store.range("").revision
    with store.watch("", now) as watch:
        store.put("a", b"2")
        assert [one.key for one in watch.wait(10)] == ["a"]


def test_a_watch_from_the_future_is_told(store: Store) -> None:
    """The store was restored from a copy, and has lost what the watch has seen."""
    with pytest.raises(StoreError, match="-1 is not a revision"):
        store.watch("", -1)
    revision = store.put("a", b"")
    assert revision
    with store.watch("", revision + 100) as watch, pytest.raises(CompactedError):
        watch.wait(1)


def test_a_watch_wakes_up(store: Store, engine: Engine) -> None:
    """For changes of this process, and of others."""
    begin = store.range("").revision
    with engine.connect() as other, store.watch("", begin) as watch, ThreadPoolExecutor() as pool:
        for one in (store, other):
            waiting = pool.submit(watch.wait, 20)
            one.put("a", b"")
            assert [event.key for event in waiting.result(25)] == ["a"]


def test_watches_are_bounded(store: Store) -> None:
    watches = [store.watch("", 0) for _ in range(MOST_WATCHES)]
    with pytest.raises(StoreError, match="has 8 watches already"):
        store.watch("", 0)
    watches[0].close()
    watches[0].close()
    watches[0] = store.watch("", 0)
    with pytest.raises(StoreError, match="has 8 watches already"):
        store.watch("", 0)
    for one in watches:
        one.close()


@pytest.mark.long
def test_a_lease_that_is_not_kept_alive_takes_its_keys_along(store: Store) -> None:
    lease = store.grant(2)
    revision = store.txn([], [Put("a/1", b"", lease), Put("a/2", b"", lease), Put("b", b"")])
    assert revision
    assert _got(store, "a/1").leased
    assert not _got(store, "b").leased
    with store.watch("", revision) as watch:
        assert sorted(one.key for one in watch.wait(20)) == ["a/1", "a/2"]
    assert [one.key for one in store.range("").pairs] == ["b"]
    assert not store.keep_alive(lease)
    with pytest.raises(LeaseExpiredError):
        store.put("a/1", b"", lease=lease)
    store.revoke(lease)


@pytest.mark.long
def test_reads_do_not_show_what_a_lease_has_ended(store: Store) -> None:
    """Even if nobody has deleted it: there is no watch, and nothing is written."""
    lease = store.grant(2)
    revision = store.put("a", b"", lease=lease)
    wait_until(lambda: store.get("a") is None)
    assert store.range("").pairs == ()
    # Nor do conditions and new values.
    assert store.put("a", b"new", revision=revision) is None
    assert store.put("a", b"new", revision=0)


@pytest.mark.long
def test_a_lease_lasts_as_long_as_it_is_kept_alive(store: Store) -> None:
    lease = store.grant(2)
    revision = store.put("a", b"", lease=lease)
    assert revision
    end = time.monotonic() + 2 * lease.ttl
    with store.watch("", revision) as watch:
        while time.monotonic() < end:
            assert store.keep_alive(lease)
            assert watch.wait(lease.ttl / 8) == []
        assert store.get("a")
        store.revoke(lease)
        assert [one.key for one in watch.wait(10)] == ["a"]
    assert store.get("a") is None


def test_a_key_that_is_put_without_the_lease_outlives_it(store: Store) -> None:
    lease = store.grant(10)
    store.put("a", b"", lease=lease)
    store.put("a", b"kept")
    store.revoke(lease)
    assert _got(store, "a").value == b"kept"


@pytest.mark.long
def test_who_has_lost_a_hold_changes_nothing_any_more(store: Store) -> None:
    first = store.hold("roll-out", b"first", 2)
    assert first
    assert store.txn([first.compare], [Put("head", b"1")])
    wait_until(lambda: store.get("roll-out") is None)
    second = store.hold("roll-out", b"second", 10)
    assert second
    assert second.revision > first.revision
    assert store.txn([first.compare], [Put("head", b"2")]) is None
    assert store.txn([second.compare], [Put("head", b"3")])
    # It ends its own lease only.
    store.revoke(first.lease)
    assert store.txn([second.compare], [Put("head", b"4")])


def test_threads_do_not_lose_what_others_have_written(store: Store) -> None:
    store.put("count", b"0")

    def add() -> None:
        for _ in range(15):
            while True:
                found = _got(store, "count")
                if store.put("count", str(int(found.value) + 1).encode(), revision=found.revision):
                    break

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _got(store, "count").value == b"60"


def _got(store: Store, key: str) -> KeyValue:
    found = store.get(key)
    assert found
    return found


def _read(watch: Watch, count: int) -> list[Event]:
    seen: list[Event] = []
    while len(seen) < count:
        events = watch.wait(10)
        assert events, seen
        seen += events
    return seen


def _sorted(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda one: (one.revision, one.key))
