"""Who waits for the store far from a limit: nobody, over so many requests that even a rare one would be seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.exposition import Page
from support.instance import RawInstance
from support.peer import wait_until
from support.running import Running
from support.valkey import Valkey

pytestmark = pytest.mark.long

COUNTED = ("pylae_store_waits_total", "pylae_store_errors_total")
NODES, CLIENTS, KEYS, REQUESTS = 3, 2, 100, 100_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


def sent(node: Running, count: int) -> Counter[int]:
    """What comes of so many requests over one connection, of all keys in turn."""
    found: Counter[int] = Counter()
    with node.connect() as peer:
        for number in range(count):
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: %d\r\n\r\n" % (number % KEYS))
            found[peer.read_answer().status] += 1
    return found


@pytest.mark.parametrize("key", ["global", "header:x-key"])
def test_of_100_000_requests_none_waits(
    gateway: Callable[..., Running], store: Valkey, instance: RawInstance, key: str
) -> None:
    config = {
        "cluster": {"name": "test", "store": store.url, "timeout": "2s"},
        "routes": [
            {"name": "all", "prefix": "/", "service": "all", "rate_limit": {"limit": 10**8, "per": "1m", "key": key}}
        ],
    }
    nodes = [gateway(config, all=instance) for _ in range(NODES)]

    def total(name: str) -> float:
        return sum(Page.of(node.gateway).value(name) for node in nodes)

    wait_until(lambda: total("pylae_cluster_nodes") == NODES**2)
    for node in nodes:
        assert sent(node, KEYS) == {200: KEYS}
    before = [total(name) for name in COUNTED]
    clients = NODES * CLIENTS
    with ThreadPoolExecutor(clients) as pool:
        found = sum(pool.map(sent, nodes * CLIENTS, [REQUESTS // clients + 1] * clients), Counter[int]())
    assert set(found) == {200}
    assert found[200] >= REQUESTS
    assert [total(name) for name in COUNTED] == before
