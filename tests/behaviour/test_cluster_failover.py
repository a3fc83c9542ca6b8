"""Gateways under load while servers of their store are lost, one after the other, and replaced."""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from support.instance import RawInstance
from support.outage import KEYS, Start, is_available, load, start_nodes
from support.peer import wait_until
from support.valkey import Valkey
from support.valkeys import Group, Sentinels, StoreCluster

LOSSES = 10
ERRORS = ["deny", "share", "allow"]
Loss = Callable[[Valkey], AbstractContextManager[None]]


@contextmanager
def kill(server: Valkey) -> Iterator[None]:
    """It dies, and is started again later."""
    server.kill()
    yield
    assert server.start()


@contextmanager
def freeze(server: Valkey) -> Iterator[None]:
    """It does not answer, and does not know later that it was replaced."""
    server.freeze()
    yield
    server.thaw()


@pytest.fixture(params=[Sentinels, StoreCluster], ids=["sentinel", "cluster"])
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Group]:
    with request.param(tmp_path) as servers:
        yield servers


def tell(what: str, times: list[float]) -> None:
    """Prints the figures of all rounds."""
    figures = f"at most {max(times):.3f} s, median {statistics.median(times):.3f} s"
    print(f"  {what}: {figures}: {[round(one, 3) for one in times]}", file=sys.stderr)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("how", "on_store_error"), [*((kill, one) for one in ERRORS), (freeze, "deny")])
def test_primaries_are_lost_under_load(
    gateway: Start, instance: RawInstance, group: Group, how: Loss, on_store_error: str
) -> None:
    limit = {"limit": 100000, "per": "365d", "key": "header:x-key", "mode": "exact"}
    started = start_nodes(gateway, instance, [group.url] * 2, limit, on_store_error=on_store_error)
    quiet, longest, refused, late = [], [], [], []
    with load(started) as seen:
        for _ in range(LOSSES):
            before = len(seen.seen)
            seen.goes_on()
            first, primary = len(seen.seen), group.primary()
            began = time.perf_counter()
            with how(primary):
                wait_until(group.serves)
                served = time.perf_counter()
                wait_until(lambda: all(map(is_available, started)))
                seen.goes_on()
            told = seen.seen[first:]
            quiet.append(max(answer.ended - answer.began for answer in seen.seen[before:first]))
            longest.append(max(answer.ended - answer.began for answer in told))
            if last := [answer.began for answer in told if answer.status == 429]:
                refused.append(last[-1] - began)
                late.append(max(0.0, last[-1] - served))
            group.take_back(primary)
    print(f"{type(group).__name__}, {how.__name__}, {on_store_error}: {len(seen.seen)} answers", file=sys.stderr)
    tell("longest answer before", quiet)
    tell("longest answer", longest)
    if refused:
        tell("refused for", refused)
        tell("after the new primary", late)
    assert not seen.failures
    found = Counter(answer.status for answer in seen.seen)
    assert set(found) == ({200, 429} if on_store_error == "deny" else {200}), found
    strict = {"limit": 60, "per": "365d", "key": "global", "mode": "exact"}
    started = start_nodes(gateway, instance, [group.url] * 2, strict, timeout="2s")
    assert Counter(node.get("/").status for _ in range(60) for node in started) == {200: 60, 429: 60}


@pytest.mark.long
def test_a_server_that_is_lost_concerns_its_keys_only(gateway: Start, instance: RawInstance, tmp_path: Path) -> None:
    # Nobody takes over while the test runs.
    with StoreCluster(tmp_path, node_timeout=60_000) as group:
        limit = {"limit": 8, "per": "365d", "key": "header:x-key", "mode": "exact"}
        started = start_nodes(gateway, instance, [group.url] * 2, limit, on_store_error="deny", timeout="2s")

        def ask() -> list[set[int]]:
            """What comes of a request to each node, by key."""
            return [{node.get("/", f"X-Key: {key}").status for node in started} for key in range(KEYS)]

        assert ask() == [{200}] * KEYS
        lost = group.primary()
        lost.kill()
        wait_until(lambda: not any(map(is_available, started)))
        found = ask()
        assert found.count({429}) + found.count({200}) == KEYS
        assert 0 < found.count({429}) < KEYS * 2 / 3
        store = started[0].gateway.stats()["store"]
        assert (store["servers"], store["connected"]) == (3, 2)
        assert store["problem"].startswith(f"only 2 of 3 servers answer: 127.0.0.1:{lost.port}: "), store["problem"]
        assert [ask() for _ in range(2)] == [found] * 2
        exhausted = [statuses - {429} for statuses in ask()]
        assert exhausted == [set()] * KEYS, "each of the others had 2 for each node, and 2 before"
