"""Limits that several gateways share, over a real store."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.instance import RawInstance
from support.peer import Message, Peer, wait_until
from support.running import Running
from support.valkey import Valkey

Start = Callable[..., Running]
NODES = 3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


@pytest.fixture
def nodes(gateway: Start, store: Valkey, instance: RawInstance) -> Callable[..., list[Running]]:
    """Starts the nodes of a cluster with this limit."""

    def start(limit: object, **cluster: Any) -> list[Running]:
        return start_nodes(gateway, store, instance, limit, **cluster)

    return start


def start_nodes(gateway: Start, store: Valkey, instance: RawInstance, limit: object, **cluster: Any) -> list[Running]:
    """Starts nodes, and waits until they know of each other: until then each has the whole margin and share."""
    config = {
        # On a machine that is busy with other tests an answer may take longer than the default.
        "cluster": {"name": "test", "store": store.url, "timeout": "1s", **cluster},
        "routes": [{"name": "all", "prefix": "/", "service": "all", "rate_limit": limit}],
    }
    started = [gateway(config, all=instance) for _ in range(NODES)]
    for running in started:
        wait_until(lambda running=running: metric(running, "pylae_cluster_nodes") == NODES)  # type: ignore[misc]
    return started


def metric(running: Running, name: str) -> float:
    """The value of a metric without labels."""
    lines = running.gateway.metrics().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def statuses(running: Running, count: int) -> Counter[int]:
    """What comes of so many requests over one connection, one after the other."""
    found: Counter[int] = Counter()
    with running.connect() as peer:
        for _ in range(count):
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            found[peer.read_answer().status] += 1
    return found


def in_parallel(asked: list[tuple[Running, int]]) -> Counter[int]:
    """What comes of so many requests at each of the nodes, at the same time."""
    found: Counter[int] = Counter()
    lock = threading.Lock()

    def ask(running: Running, count: int) -> None:
        mine = statuses(running, count)
        with lock:
            found.update(mine)

    threads = [threading.Thread(target=ask, args=one) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "fixed_window"])
@pytest.mark.parametrize("shares", [(200, 200, 200), (510, 60, 30)])
def test_exact_admits_the_limit_over_all_nodes(
    nodes: Callable[..., list[Running]], algorithm: str, shares: tuple[int, ...]
) -> None:
    limit = {"limit": 150, "per": "365d", "algorithm": algorithm, "mode": "exact", "key": "global"}
    started = nodes(limit)
    asked = list(zip(started, shares, strict=True))
    admitted = in_parallel([*asked, *asked])[200]
    assert admitted <= 150

    def more() -> int:
        nonlocal admitted
        admitted += in_parallel([(running, 10) for running in started])[200]
        return admitted

    # What a node has leased and does not use comes back.
    wait_until(lambda: more() >= 150)
    assert [more() for _ in range(3)] == [150, 150, 150]


@pytest.mark.parametrize("shares", [(200, 200, 200), (510, 60, 30)])
def test_fast_exceeds_the_limit_by_little(nodes: Callable[..., list[Running]], shares: tuple[int, ...]) -> None:
    limit = {"limit": 150, "per": "365d", "key": "global"}
    asked = list(zip(nodes(limit), shares, strict=True))
    found = in_parallel([*asked, *asked])
    margin = 15
    assert 150 <= found[200] <= 150 + NODES + margin
    assert found[200] + found[429] == 2 * sum(shares)


def test_far_from_the_limit_nobody_waits_for_the_store(nodes: Callable[..., list[Running]]) -> None:
    started = nodes({"limit": 1_000_000, "per": "1m", "key": "global"})
    assert in_parallel([(running, 1000) for running in started * 2]) == {200: 6000}
    assert [metric(running, "pylae_store_waits_total") for running in started] == [0, 0, 0]
    # Near it they do.
    (first, *_) = nodes({"name": "small", "limit": 10, "per": "365d", "key": "global"}, name="other")
    statuses(first, 20)
    assert metric(first, "pylae_store_waits_total") > 0


def test_what_a_node_has_admitted_the_others_know(nodes: Callable[..., list[Running]]) -> None:
    first, second, third = nodes({"limit": 100, "per": "365d", "key": "global"})
    assert statuses(first, 40) == {200: 40}

    def left(running: Running) -> int:
        told = running.get("/").one("ratelimit") or ""
        return int(told.partition("r=")[2].partition(";")[0])

    # What a node does not know yet it is told with the next flush.
    wait_until(lambda: left(second) < 60)
    wait_until(lambda: left(third) < 60)


def test_several_limits_of_the_cluster_and_of_the_node_are_decided_together(
    nodes: Callable[..., list[Running]],
) -> None:
    limits = [
        {"name": "wide", "limit": 12, "per": "365d", "key": "global", "mode": "exact"},
        {"name": "narrow", "limit": 2, "per": "365d", "key": "header:x-tenant", "mode": "exact"},
        {"name": "own", "limit": 3, "per": "365d", "key": "global", "scope": "node"},
    ]
    started = nodes({"limits": limits})
    admitted: Counter[str] = Counter()

    def ask(tenant: str) -> int:
        for running in started:
            admitted[tenant] += running.get("/", f"X-Tenant: {tenant}").status == 200
        return admitted[tenant]

    # What one limit has refused comes back to the others, with the next flush at the latest.
    for tenant in "abcd":
        wait_until(lambda tenant=tenant: ask(tenant) >= 2)  # type: ignore[misc]
    for tenant in "abcd":
        ask(tenant)
    assert admitted == {"a": 2, "b": 2, "c": 2, "d": 2}
    # Three at each node.
    wait_until(lambda: ask("e") >= 1)
    assert [ask(tenant) for tenant in "efgh"] == [1, 0, 0, 0]


def test_a_budget_is_never_overrun(gateway: Start, store: Valkey) -> None:
    """Fifty at once over all nodes, each of which reserves more than it turns out to cost."""
    costs = itertools.cycle((10, 70, 100, 0, 33))
    lock = threading.Lock()
    spent: list[int] = []

    def answer(peer: Peer, _: Message) -> None:
        with lock:
            spent.append(next(costs))
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Cost: %d\r\n\r\n" % spent[-1])

    limit = {"limit": 2000, "per": "365d", "key": "global", "mode": "exact", "cost": 100, "settle": "header:x-cost"}
    with RawInstance(answer) as instance:
        started = start_nodes(gateway, store, instance, limit)

        def ask() -> int:
            return in_parallel([(running, 1) for running in started * 17][:50])[200]

        # What was reserved and not spent comes back, until not even one more estimate fits.
        wait_until(lambda: ask() == 0 and sum(spent) > 2000 - 100)
    assert sum(spent) <= 2000


@pytest.mark.parametrize("what", ["freeze", "kill"])
@pytest.mark.parametrize(("on_store_error", "admitted"), [("share", 20), ("allow", 100), ("deny", 0)])
def test_without_the_store(
    nodes: Callable[..., list[Running]], store: Valkey, what: str, on_store_error: str, admitted: int
) -> None:
    limit = {"limit": 60, "per": "365d", "key": "global", "mode": "exact"}
    started = nodes(limit, on_store_error=on_store_error)
    getattr(store, what)()
    try:
        found = statuses(started[0], 100)
        assert found[200] == admitted
        assert set(found) <= {200, 429}
    finally:
        if what == "freeze":
            store.thaw()
        else:
            assert store.start()
    # Strict again: the limit is used up, and then nothing passes at any node.
    asked = [(running, 30) for running in started]
    wait_until(lambda: in_parallel(asked)[200] == 0)
