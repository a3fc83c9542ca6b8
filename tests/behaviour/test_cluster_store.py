"""Several gateways and a real store that is slow, full, emptied, or fails, alone and in groups."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.instance import RawInstance
from support.peer import wait_until
from support.relay import Relay
from support.running import Running
from support.valkey import Valkey
from support.valkeys import Group, Sentinels, StoreCluster

Start = Callable[..., Running]
NODES = 2
LIMIT = {"limit": 60, "per": "365d", "key": "global", "mode": "exact"}
RIGHTS = "resetchannels ~pylae:* +@read +@write +@connection +@scripting -@dangerous +time +wait +cluster|nodes"
"""Those of docs/guide/cluster.md."""


@pytest.fixture
def nodes(gateway: Start, instance: RawInstance) -> Callable[..., list[Running]]:
    """Starts the nodes of a cluster with this store and this limit."""

    def start(url: str, limit: object = None, **cluster: Any) -> list[Running]:
        config = {
            "cluster": {"name": "test", "store": url, **cluster},
            "routes": [{"name": "all", "prefix": "/", "service": "all", "rate_limit": limit or LIMIT}],
        }
        return [gateway(config, all=instance) for _ in range(NODES)]

    return start


def statuses(started: list[Running], count: int) -> Counter[int]:
    """What comes of so many requests at each of the nodes, in turn."""
    return Counter(node.get("/").status for _ in range(count) for node in started)


def is_available(node: Running) -> bool:
    return bool(node.gateway.stats()["store"]["available"])


class Load:
    """Requests to all nodes without a pause, each with a key of its own."""

    def __init__(self) -> None:
        self.found: Counter[int] = Counter()
        self.longest = 0.0
        self.failures: list[BaseException] = []

    def goes_on(self) -> None:
        """Waits for more answers."""
        before = self.found.total()
        wait_until(lambda: self.found.total() > before + 100)


@contextmanager
def load(started: list[Running]) -> Iterator[Load]:
    seen, stop, lock = Load(), threading.Event(), threading.Lock()

    def ask(node: Running) -> None:
        number = 0
        try:
            with node.connect() as peer:
                while not stop.is_set():
                    number += 1
                    began = time.perf_counter()
                    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: %d\r\n\r\n" % (number % 50))
                    status = peer.read_answer().status
                    with lock:
                        seen.found[status] += 1
                        seen.longest = max(seen.longest, time.perf_counter() - began)
        except BaseException as error:
            seen.failures.append(error)
            raise

    threads = [threading.Thread(target=ask, args=(node,)) for node in started]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture(params=[Sentinels, StoreCluster], ids=["sentinel", "cluster"])
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Group]:
    with request.param(tmp_path) as servers:
        yield servers


def test_nodes_share_a_limit_over_a_group(nodes: Callable[..., list[Running]], group: Group) -> None:
    started = nodes(group.url, timeout="2s")
    assert all(is_available(node) for node in started)
    assert statuses(started, 60) == {200: 60, 429: 60}


@pytest.mark.long
def test_a_primary_fails_under_load(nodes: Callable[..., list[Running]], group: Group) -> None:
    limit = {"limit": 100000, "per": "365d", "key": "header:x-key", "mode": "exact"}
    started = nodes(group.url, limit)
    with load(started) as seen:
        wait_until(lambda: seen.found.total() > 200)
        killed = time.perf_counter()
        group.primary().kill()
        wait_until(lambda: not any(is_available(node) for node in started))
        noticed = time.perf_counter()
        wait_until(lambda: all(is_available(node) for node in started))
        back = time.perf_counter()
        seen.goes_on()
    print(
        f"noticed after {noticed - killed:.3f} s, available again after {back - killed:.3f} s, "
        f"the longest answer took {seen.longest:.3f} s; {dict(seen.found)}",
        file=sys.stderr,
    )
    assert not seen.failures
    assert set(seen.found) == {200}, "there is no answer but the service's"
    # Strict again, with what the other nodes have counted. Not all Sentinels may know of the new primary yet.
    later = nodes(group.url, timeout="2s")
    wait_until(lambda: all(is_available(node) for node in later))
    assert statuses(later, 60) == {200: 60, 429: 60}


@pytest.mark.long
@pytest.mark.parametrize("how", ["frozen", "slow"])
def test_a_store_that_does_not_answer_in_time(nodes: Callable[..., list[Running]], tmp_path: Path, how: str) -> None:
    limit = {"limit": 100000, "per": "365d", "key": "header:x-key", "mode": "exact"}
    with Valkey(tmp_path) as store, Relay(store.port) as relay:
        started = nodes(f"valkey://127.0.0.1:{relay.port}", limit)
        with load(started) as seen:
            wait_until(lambda: seen.found.total() > 200)
            for _ in range(3):
                if how == "frozen":
                    store.freeze()
                else:
                    relay.delay = 0.2
                wait_until(lambda: not any(is_available(node) for node in started))
                seen.goes_on()
                if how == "frozen":
                    store.thaw()
                else:
                    relay.delay = 0
                since = time.perf_counter()
                wait_until(lambda: all(is_available(node) for node in started))
                print(f"available again after {time.perf_counter() - since:.3f} s", file=sys.stderr)
        print(f"the longest answer took {seen.longest:.3f} s; {dict(seen.found)}", file=sys.stderr)
        assert not seen.failures
        assert set(seen.found) == {200}


@pytest.mark.long
@pytest.mark.parametrize("what", ["FLUSHALL", "SCRIPT FLUSH"])
def test_a_store_that_is_emptied(nodes: Callable[..., list[Running]], tmp_path: Path, what: str) -> None:
    with Valkey(tmp_path) as store:
        started = nodes(store.url, timeout="2s")
        assert statuses(started, 20) == {200: 40}
        store.ask(*what.split())
        found = statuses(started, 100)
        assert all(is_available(node) for node in started)
        # A store that was emptied gives the limit once more; the nodes may have had the rest of the first one.
        left = 20 + 60 if what == "FLUSHALL" else 20
        assert set(found) == {200, 429}
        assert 20 <= found[200] <= left


@pytest.mark.long
def test_a_store_that_is_full(nodes: Callable[..., list[Running]], tmp_path: Path) -> None:
    with Valkey(tmp_path, "--maxmemory-policy", "noeviction") as store:
        started = nodes(store.url, timeout="2s", on_store_error="deny")
        assert statuses(started, 5) == {200: 10}
        store.ask("CONFIG", "SET", "maxmemory", 1)
        wait_until(lambda: statuses(started, 1) == {429: 2})
        assert started[0].gateway.stats()["store"]["errors"]["refused"] > 0
        store.ask("CONFIG", "SET", "maxmemory", 0)
        wait_until(lambda: statuses(started, 1) == {200: 2})


@pytest.mark.long
def test_a_user_with_the_documented_rights_is_enough(nodes: Callable[..., list[Running]], tmp_path: Path) -> None:
    users = tmp_path / "users.acl"
    users.write_text(f"user default off\nuser gateway on >word {RIGHTS}\n", encoding="utf-8")
    with Valkey(tmp_path, "--aclfile", str(users)) as store:
        started = nodes(store.url, timeout="2s", user="gateway", password="word")
        assert all(is_available(node) for node in started), started[0].gateway.stats()["store"]["problem"]
        assert statuses(started, 60) == {200: 60, 429: 60}
        wait_until(lambda: all(node.gateway.stats()["store"]["nodes"] == NODES for node in started))
        assert started[0].gateway.stats()["store"]["errors"]["refused"] == 0
