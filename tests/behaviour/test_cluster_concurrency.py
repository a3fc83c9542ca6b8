"""Requests at once that several gateways count together, over a real store."""

from __future__ import annotations

import contextlib
import queue
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.instance import OK, RawInstance
from support.peer import PATIENCE, Message, Peer, wait_until
from support.running import Process, Running
from support.valkey import Valkey

Start = Callable[..., Running]
GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
MOST = 6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


class Slow:
    """An instance that answers `/hold` when the test says so, and everything else at once."""

    def __init__(self) -> None:
        self.held: queue.SimpleQueue[Peer] = queue.SimpleQueue()
        self.instance = RawInstance(self._answer)

    def _answer(self, peer: Peer, request: Message) -> None:
        self.held.put(peer) if "hold" in request.target else peer.send(OK)


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    with slow.instance:
        yield slow


def configuration(store: Valkey, limit: object, **cluster: Any) -> dict[str, Any]:
    return {
        "cluster": {"name": "test", "store": store.url, "timeout": "1s", **cluster},
        "routes": [{"name": "all", "prefix": "/", "service": "all", "rate_limit": limit}],
    }


class Client:
    """Requests at one node, each over a connection of its own."""

    def __init__(self, node: Running | Process, slow: Slow, clients: contextlib.ExitStack) -> None:
        self._node, self._slow, self._clients = node, slow, clients

    def hold(self) -> tuple[Peer, Peer] | None:
        """Begins a request; returns its two ends, or None if it was refused."""
        client = self._clients.enter_context(self._node.connect())
        client.send(GET % b"hold")

        def is_answered() -> bool:
            return bool(select.select([client.socket], [], [], 0)[0])

        wait_until(lambda: is_answered() or not self._slow.held.empty())
        if is_answered():
            assert client.read_answer().status == 429
            return None
        return client, self._slow.held.get(timeout=PATIENCE)


def end(ends: tuple[Peer, Peer]) -> None:
    client, instance = ends
    instance.send(OK)
    assert client.read_answer().status == 200


def test_no_more_at_once_than_allowed_over_all_nodes(gateway: Start, store: Valkey, slow: Slow) -> None:
    limit = {"concurrency": {"limit": MOST, "key": "global"}}
    started = [gateway(configuration(store, limit), all=slow.instance) for _ in range(3)]
    with contextlib.ExitStack() as clients:
        nodes = [Client(running, slow, clients) for running in started]
        held = [ends for _ in range(MOST) for node in nodes if (ends := node.hold())]
        assert len(held) == MOST
        assert [running.get("/").status for running in started] == [429, 429, 429]
        # What ends at one node begins at another.
        for place in range(MOST):
            end(held.pop(0))
            node = nodes[place % len(nodes)]

            def begins(node: Client = node) -> bool:
                ends = node.hold()
                held.extend([ends] if ends else [])
                return ends is not None

            wait_until(begins)
            assert started[place % len(started)].get("/").status == 429
        for ends in held:
            end(ends)
        for running in started:
            wait_until(lambda running=running: running.get("/").status == 200)  # type: ignore[misc]


def test_a_limit_of_the_node_counts_there(gateway: Start, store: Valkey, slow: Slow) -> None:
    limit = {"concurrency": {"limit": 1, "key": "global", "scope": "node"}}
    started = [gateway(configuration(store, limit), all=slow.instance) for _ in range(2)]
    with contextlib.ExitStack() as clients:
        held = [Client(running, slow, clients).hold() for running in started]
        assert [running.get("/").status for running in started] == [429, 429]
        for ends in held:
            assert ends
            end(ends)


def test_a_limit_of_requests_and_one_of_requests_at_once(gateway: Start, store: Valkey, slow: Slow) -> None:
    limit = {"limit": 3, "per": "365d", "key": "global", "mode": "exact", "concurrency": 1}
    first, second = (gateway(configuration(store, limit), all=slow.instance) for _ in range(2))
    with contextlib.ExitStack() as clients:
        held = Client(first, slow, clients).hold()
        assert held
        for _ in range(5):
            assert second.get("/").status == 429
        end(held)
        # What was refused for want of a place was not charged.
        wait_until(lambda: second.get("/").status == 200)
        wait_until(lambda: first.get("/").status == 200)
        # The place is back with the next flush; from then on it is the other limit that refuses.
        wait_until(lambda: '"default";r=0' in (second.get("/").one("ratelimit") or ""))
        assert second.get("/").status == 429


@pytest.mark.parametrize(("on_store_error", "admitted"), [("share", {2, 3, 6}), ("allow", {9}), ("deny", {0, 1})])
def test_without_the_store(gateway: Start, store: Valkey, slow: Slow, on_store_error: str, admitted: set[int]) -> None:
    """With `share` it depends on how many nodes each knows of so far; a place that a node holds already stays good."""
    limit = {"concurrency": {"limit": MOST, "key": "global"}}
    config = configuration(store, limit, on_store_error=on_store_error)
    started = [gateway(config, all=slow.instance) for _ in range(3)]
    # All have places, so all know how many they are.
    wait_until(lambda: all(running.get("/").status == 200 for running in started))
    store.freeze()
    try:
        with contextlib.ExitStack() as clients:
            node = Client(started[0], slow, clients)
            held = [ends for _ in range(9) if (ends := node.hold())]
            assert len(held) in admitted
            for ends in held:
                end(ends)
    finally:
        store.thaw()


@pytest.mark.long
def test_the_places_of_a_killed_node_come_back(
    gateway: Start, gateway_process: Callable[..., Process], store: Valkey, slow: Slow
) -> None:
    """Takes five seconds."""
    config = configuration(store, {"concurrency": {"limit": MOST, "key": "global"}})
    alive = gateway(config, all=slow.instance)
    process = gateway_process(config, all=slow.instance)
    with contextlib.ExitStack() as clients:
        killed = Client(process, slow, clients)
        assert sum(killed.hold() is not None for _ in range(MOST)) == MOST
        assert alive.get("/").status == 429
        process.process.kill()
        process.process.wait()
        assert alive.get("/").status == 429
        wait_until(lambda: alive.get("/").status == 200)
        node = Client(alive, slow, clients)
        held = [ends for _ in range(MOST) if (ends := node.hold())]
        assert len(held) == MOST
        for ends in held:
            end(ends)
