"""What a node tells the store of the limits it counts, and how often: with each flush, and when it stops."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.instance import RawInstance
from support.peer import wait_until
from support.running import Process, Running
from support.valkey import Valkey

Start = Callable[..., Running]
StartProcess = Callable[..., Process]
SHOP = "pylae:shop:*"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


def configuration(store: Valkey, limit: dict[str, Any], **cluster: Any) -> dict[str, Any]:
    return {
        # On a machine that is busy with other tests an answer may take longer than the default.
        "cluster": {"name": "shop", "store": store.url, "timeout": "2s", **cluster},
        "routes": [{"name": "all", "prefix": "/", "service": "all", "rate_limit": limit}],
    }


def statuses(node: Running | Process, count: int) -> Counter[int]:
    """What comes of so many requests over one connection, one after the other."""
    found: Counter[int] = Counter()
    with node.connect() as peer:
        for _ in range(count):
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            found[peer.read_answer().status] += 1
    return found


def end(node: Process) -> None:
    node.signal(signal.SIGTERM)
    assert node.wait() == 0


def calls(store: Valkey, command: str) -> int:
    """How often the server has got a command."""
    found = re.search(rf"cmdstat_{command}:calls=(\d+)", str(store.ask("INFO", "commandstats")))
    return int(found[1]) if found else 0


def test_far_from_the_limit_requests_share_calls(gateway: Start, store: Valkey, instance: RawInstance) -> None:
    limit = {"limit": 1_000_000, "per": "1m", "key": "global"}
    node = gateway(configuration(store, limit), all=instance)
    before, began = calls(store, "evalsha"), time.monotonic()
    assert statuses(node, 2000) == {200: 2000}
    took = time.monotonic() - began
    # The next call waits for a debit. Beside those of limits there is one a second about the stream.
    assert calls(store, "evalsha") - before <= took / 0.020 + took + 2


def test_what_waits_is_told_together(gateway: Start, store: Valkey, instance: RawInstance) -> None:
    limit = {"limit": 1_000_000, "per": "365d", "key": "header:x-key"}
    node = gateway(configuration(store, limit, flush="200ms"), all=instance)
    for number in range(20):
        assert node.get("/", f"X-Key: {number}").status == 200
    wait_until(lambda: len(store.ask("KEYS", SHOP)) == 20)  # type: ignore[arg-type]


def test_a_node_that_stops_has_told_what_it_admitted(
    gateway: Start, gateway_process: StartProcess, store: Valkey, instance: RawInstance
) -> None:
    limit = {"limit": 1000, "per": "365d", "key": "global"}
    node = gateway_process(configuration(store, limit, flush="1s"), all=instance)
    assert statuses(node, 40) == {200: 40}
    end(node)
    other = gateway(configuration(store, {**limit, "mode": "exact"}), all=instance)
    assert "r=959;" in str(other.get().one("ratelimit"))


def test_a_node_that_stops_gives_back_what_it_has_leased(
    gateway: Start, gateway_process: StartProcess, store: Valkey, instance: RawInstance
) -> None:
    limit = {"limit": 5000, "per": "365d", "key": "global", "mode": "exact"}
    node = gateway_process(configuration(store, limit), all=instance)
    assert statuses(node, 300) == {200: 300}
    end(node)
    other = gateway(configuration(store, limit), all=instance)
    assert "r=4699;" in str(other.get().one("ratelimit"))


def test_a_node_that_stops_gives_back_its_free_places(
    gateway_process: StartProcess, store: Valkey, instance: RawInstance
) -> None:
    node = gateway_process(configuration(store, {"concurrency": 500, "key": "global"}), all=instance)
    assert statuses(node, 300) == {200: 300}
    end(node)
    assert store.ask("KEYS", SHOP) == []


def test_a_node_stops_without_its_store(gateway_process: StartProcess, store: Valkey, instance: RawInstance) -> None:
    limit = {"limit": 1000, "per": "365d", "key": "global"}
    node = gateway_process(configuration(store, limit, flush="1s"), all=instance)
    assert statuses(node, 40) == {200: 40}
    store.freeze()
    end(node)
    store.thaw()
