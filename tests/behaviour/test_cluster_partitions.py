"""Gateways and a real store with something between them: nothing gets through, or only some, or too late."""

from __future__ import annotations

import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from support.instance import RawInstance
from support.load import answers, get
from support.outage import Start, is_available, load, start_nodes
from support.peer import wait_until
from support.relay import Relay
from support.running import Running
from support.valkey import Valkey

Fault = Callable[[Valkey, list[Relay]], AbstractContextManager[None]]
LIMIT = {"limit": 60, "per": "365d", "key": "global", "mode": "exact"}
MANY = {"limit": 100000, "per": "365d", "key": "header:x-key", "mode": "exact"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


def admitted(node: Running, count: int) -> int:
    """How many of so many requests a node admits. There is nothing but 200 and 429."""
    found = Counter(node.get("/").status for _ in range(count))
    assert set(found) <= {200, 429}
    return found[200]


@contextmanager
def frozen(store: Valkey, _: list[Relay]) -> Iterator[None]:
    """The server does not answer; its connections stay, and its kernel accepts others."""
    store.freeze()
    yield
    store.thaw()


@contextmanager
def held(_: Valkey, relays: list[Relay]) -> Iterator[None]:
    """What is sent gets lost, in both directions, and nobody is told."""
    for relay in relays:
        relay.hold()
    yield
    for relay in relays:
        relay.release()


@contextmanager
def slow(_: Valkey, relays: list[Relay]) -> Iterator[None]:
    """Answers come 200 ms late."""
    for relay in relays:
        relay.delay = 0.2
    yield
    for relay in relays:
        relay.delay = 0


@contextmanager
def cut(_: Valkey, relays: list[Relay]) -> Iterator[None]:
    """Connections end, and others are refused."""
    for relay in relays:
        relay.cut()
    yield
    for relay in relays:
        relay.mend()


@pytest.mark.long
@pytest.mark.parametrize("on_store_error", ["deny", "share", "allow"])
@pytest.mark.parametrize("how", [frozen, held, slow, cut])
def test_a_store_that_cannot_be_reached(
    gateway: Start, instance: RawInstance, store: Valkey, how: Fault, on_store_error: str
) -> None:
    with ExitStack() as stack:
        relays = [stack.enter_context(Relay(store.port)) for _ in range(2)]
        urls = [f"valkey://127.0.0.1:{relay.port}" for relay in relays]
        started = start_nodes(gateway, instance, urls, MANY, on_store_error=on_store_error)
        seen = stack.enter_context(load(started))
        for _ in range(3):
            seen.goes_on()
            first, end = len(seen.seen), time.perf_counter() + 5
            with how(store, relays):
                wait_until(lambda: not any(map(is_available, started)))
                away = time.perf_counter()
                # How long an absence lasts is what is tried here: connections that hang, hang then.
                wait_until(lambda end=end: time.perf_counter() > end)  # type: ignore[misc]
                told = {answer.status for answer in seen.seen[first:] if answer.began > away}
                assert told == ({429} if on_store_error == "deny" else {200})
            back = time.perf_counter()
            wait_until(lambda: all(map(is_available, started)))
            strict = time.perf_counter()
            seen.goes_on()
            longest = max(answer.ended - answer.began for answer in seen.seen[first:])
            print(f"{how.__name__}: back after {strict - back:.3f} s, longest answer {longest:.3f} s", file=sys.stderr)

        def all_are_admitted() -> bool:
            last = len(seen.seen)
            seen.goes_on()
            return {answer.status for answer in seen.seen[last:]} == {200}

        # On a busy machine an answer may take longer than 50 ms once more.
        wait_until(all_are_admitted)
    assert not seen.failures


@pytest.mark.long
def test_one_of_three_nodes_is_cut_off(gateway: Start, instance: RawInstance, store: Valkey) -> None:
    with Relay(store.port) as relay:
        urls = [f"valkey://127.0.0.1:{relay.port}", store.url, store.url]
        alone, *others = started = start_nodes(gateway, instance, urls, LIMIT, timeout="2s")
        assert [admitted(node, 10) for node in started] == [10] * 3
        relay.cut()
        wait_until(lambda: not is_available(alone))
        own = admitted(alone, 60)
        assert 1 <= own <= 20, "its share, beginning with its part of what was left"
        assert all(map(is_available, others))
        # The rest is what the lost one had taken ahead.
        assert 0 < sum(admitted(node, 60) for node in others) <= 30
        relay.mend()
        wait_until(lambda: is_available(alone))
        assert [admitted(node, 5) for node in started] == [0] * 3, "what it has admitted counts"


@pytest.mark.long
def test_replicas_are_cut_off_from_the_primary(gateway: Start, instance: RawInstance, tmp_path: Path) -> None:
    (tmp_path / "replica").mkdir()
    delay = ("--repl-diskless-sync-delay", "0")
    with (
        Valkey(tmp_path, *delay) as primary,
        Relay(primary.port) as relay,
        Valkey(tmp_path / "replica", "--replicaof", f"127.0.0.1 {relay.port}", *delay) as replica,
    ):

        def is_in_sync() -> bool:
            told = replica.ask("INFO", "replication")
            return isinstance(told, bytes) and b"master_link_status:up" in told

        wait_until(is_in_sync)
        settings = {"wait_replicas": 1, "on_store_error": "deny", "timeout": "1s"}
        started = start_nodes(gateway, instance, [primary.url] * 2, MANY, **settings)

        def ask() -> list[int]:
            """What comes of a key that is new to each node."""
            return [node.get("/", f"X-Key: {uuid.uuid4()}").status for node in started]

        assert ask() == [200, 200]
        relay.cut()
        wait_until(lambda: not is_in_sync())
        assert ask() == [429, 429]
        assert all(map(is_available, started)), "the primary itself answers"
        assert started[0].gateway.stats()["store"]["errors"]["not_replicated"] > 0
        relay.mend()
        wait_until(is_in_sync)
        wait_until(lambda: ask() == [200, 200])


@pytest.mark.long
def test_many_keys_are_told_once_the_store_is_back(gateway: Start, instance: RawInstance, store: Valkey) -> None:
    many = 20_000
    (node,) = start_nodes(gateway, instance, [store.url], {**MANY, "limit": 100, "mode": "fast"})
    store.kill()
    wait_until(lambda: not is_available(node))
    found = answers(node.address, (get("/", f"X-Key: {number}") for number in range(many)))
    assert {answer.status for answer in found} == {200}
    before = node.gateway.stats()["store"]
    assert store.start()
    wait_until(lambda: int(str(store.ask("DBSIZE"))) > many)
    after = node.gateway.stats()["store"]
    # All at once took the store so long that they were given up and told again, thirty times and more.
    assert after["calls"] - before["calls"] < 5 * many, "in portions that the store can do in time"
