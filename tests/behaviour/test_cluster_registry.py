"""Several gateways and one store: instances that one node hears of, all know."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway, RegistryError
from support.admin import Admin
from support.instance import EchoInstance
from support.names import NameServer
from support.peer import Peer, wait_until
from support.relay import Relay
from support.running import Process, Running, configure
from support.traffic import Traffic
from support.valkey import Valkey
from support.valkeys import StoreCluster

Start = Callable[..., Running]
StartAdmin = Callable[..., Admin]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as running:
        yield running


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


def node(store: Valkey | Relay, discovery: dict[str, Any], folder: Path | None = None) -> dict[str, Any]:
    """The configuration of a node. The time-out is long enough for a machine with much else to do."""
    cluster = {"name": "shop", "store": f"valkey://127.0.0.1:{store.port}", "timeout": "2s"}
    config: dict[str, Any] = {"cluster": cluster, "services": {"all": {"discovery": discovery}}}
    return {**config, "state": str(folder)} if folder else config


@pytest.fixture
def nodes(gateway: Start, tmp_path: Path) -> Callable[..., list[Running]]:
    """Starts nodes, each with a state folder of its own."""

    def start(discovery: dict[str, Any], *stores: Valkey | Relay) -> list[Running]:
        return [gateway(node(one, discovery, tmp_path / secrets.token_hex(4))) for one in stores]

    return start


def urls(running: Running) -> list[str]:
    return [instance.url for instance in running.gateway.registry.instances("all")]


def name(instance: EchoInstance) -> str:
    return instance.url.removeprefix("http://")


def agree(nodes: list[Running], *instances: EchoInstance) -> None:
    """Waits until all nodes have these instances, and route to them."""
    expected = sorted(instance.url for instance in instances)
    wait_until(lambda: all(urls(running) == expected for running in nodes))
    status = 200 if instances else 503
    wait_until(lambda: all(running.get("/").status == status for running in nodes))


HEARTBEAT = {"heartbeat": {"ttl": "30s"}}


def test_what_registers_at_one_node_all_route_to(
    nodes: Callable[..., list[Running]], store: Valkey, echo: EchoInstance
) -> None:
    all_nodes = nodes(HEARTBEAT, store, store, store)
    first, second, third = (running.gateway.registry for running in all_nodes)
    with EchoInstance("second") as other:
        first.register("all", echo.url)
        second.register("all", other.url)
        agree(all_nodes, echo, other)
        assert third.remove("all", name(other))
        agree(all_nodes, echo)
        assert first.heartbeat("all", name(other)) is None, "it must register anew"


@pytest.mark.long
def test_what_registers_at_one_node_all_route_to_over_a_cluster_of_servers(
    gateway: Start, echo: EchoInstance, names: NameServer, tmp_path: Path
) -> None:
    names.put("users.test", "A", "127.0.0.1", ttl=0)
    dns = {"name": "users.test", "port": 1, "resolvers": [names.address], "family": "ipv4", "min_ttl": "50ms"}
    services = {
        "all": {"discovery": HEARTBEAT},
        **{f"beating{number}": {"discovery": HEARTBEAT} for number in range(8)},
        **{f"named{number}": {"discovery": {"dns": {**dns, "min_ttl": f"{50 + number}ms"}}} for number in range(2)},
    }
    with StoreCluster(tmp_path) as servers:
        cluster = {"name": "shop", "store": servers.url, "timeout": "2s"}
        all_nodes = [
            gateway({"cluster": cluster, "services": services, "state": str(tmp_path / f"state {number}")})
            for number in range(3)
        ]
        for number in range(8):
            all_nodes[number % 3].gateway.registry.register(f"beating{number}", echo.url)
        all_nodes[0].gateway.registry.register("all", echo.url)
        agree(all_nodes, echo)
        for number in range(8):
            wait_until(
                lambda n=number: all(  # type: ignore[misc]
                    len(running.gateway.registry.instances(f"beating{n}")) == 1 for running in all_nodes
                )
            )
        names.put("users.test", "A", "127.0.0.2", ttl=0)
        for name_of in ("named0", "named1"):
            wait_until(
                lambda name=name_of: all(  # type: ignore[misc]
                    running.gateway.registry.instances(name)[0].url == "http://127.0.0.2:1" for running in all_nodes
                )
            )


class Beats:
    """An instance that beats at several nodes in turn, three times within its TTL."""

    def __init__(self, nodes: list[Running], instance: EchoInstance, ttl: float) -> None:
        self.nodes, self.instance, self.ttl = nodes, instance, ttl
        self.turn, self.due = 0, time.monotonic()

    def go_on(self, condition: Callable[[], bool]) -> None:
        """Beats until the condition is met. Meanwhile all nodes have the instance."""

        def is_met() -> bool:
            if time.monotonic() >= self.due:
                self.due += self.ttl / 3
                self.turn += 1
                registry = self.nodes[self.turn % len(self.nodes)].gateway.registry
                assert registry.heartbeat("all", name(self.instance)) is not None
            assert all(self.instance.url in urls(running) for running in self.nodes)
            return condition()

        wait_until(is_met)

    def go_on_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.go_on(lambda: time.monotonic() > end)


@pytest.mark.long
def test_an_instance_that_beats_now_here_now_there_stays(
    nodes: Callable[..., list[Running]], store: Valkey, echo: EchoInstance
) -> None:
    all_nodes = nodes(HEARTBEAT, store, store, store)
    all_nodes[0].gateway.registry.register("all", echo.url, ttl=3)
    agree(all_nodes, echo)
    with Traffic(all_nodes[1].address) as traffic:
        Beats(all_nodes, echo, 3).go_on_for(10)
    assert traffic.failures == []
    agree(all_nodes)


def test_a_node_that_starts_knows_who_is_registered_from_the_first_request_on(
    gateway: Start, admin: StartAdmin, store: Valkey, echo: EchoInstance, tmp_path: Path
) -> None:
    with admin(node(store, {"heartbeat": {"max_instances": 1}}, tmp_path / "first")) as first:
        first.post("/services/all/instances", url=echo.url)
        wait_until(lambda: store.ask("EXISTS", "pylae:shop:registrations:all") == 1)
        # The engine gets it a little later.
        wait_until(lambda: first.get("/services/all")["instances"] != [])
        assert 0 < first.get("/services/all")["instances"][0]["expires_in"] <= 30
        second = gateway(node(store, {"heartbeat": {"max_instances": 1}}, tmp_path / "second"))
        assert second.get("/").status == 200
        with pytest.raises(RegistryError, match="1 registered instances"):
            second.gateway.registry.register("all", "http://127.0.0.1:1")
        third = gateway({**node(store, {}, tmp_path / "third"), "services": {"all": {"instances": [echo.url]}}})
        third.apply(node(store, HEARTBEAT, tmp_path / "third"))
        assert third.get("/").status == 200, "also after a change of its configuration"


@pytest.mark.long
def test_a_store_that_stands_still_or_forgets_changes_nothing(
    nodes: Callable[..., list[Running]], store: Valkey, echo: EchoInstance
) -> None:
    all_nodes = nodes(HEARTBEAT, store, store, store)
    first, second, third = (running.gateway.registry for running in all_nodes)
    with EchoInstance("second") as other:
        first.register("all", echo.url, ttl=3)
        agree(all_nodes, echo)
        beats = Beats(all_nodes, echo, 3)
        with Traffic(all_nodes[1].address) as traffic:
            store.freeze()
            beats.go_on_for(8)
            third.register("all", other.url)
            assert urls(all_nodes[0]) == [echo.url]
            assert "cannot be read" in (second.troubles()["all"] or "")
            store.thaw()
            beats.go_on(lambda: all(len(urls(running)) == 2 for running in all_nodes))
            beats.go_on(lambda: second.troubles() == {"all": None})
            store.ask("FLUSHALL")
            beats.go_on_for(5)
            assert all(len(urls(running)) == 2 for running in all_nodes)
            store.kill()
            beats.go_on_for(5)
            assert store.start()
            beats.go_on_for(5)
            assert all(len(urls(running)) == 2 for running in all_nodes)
            # The one that stops beating leaves.
            agree(all_nodes, other)
        assert traffic.failures == []


@pytest.mark.long
def test_a_node_that_was_cut_off_does_not_bring_back_what_was_removed(
    nodes: Callable[..., list[Running]], store: Valkey, echo: EchoInstance
) -> None:
    with Relay(store.port) as relay, EchoInstance("second") as second, EchoInstance("third") as third:
        all_nodes = nodes(HEARTBEAT, store, relay, store)
        one, cut, _ = (running.gateway.registry for running in all_nodes)
        one.register("all", echo.url)
        one.register("all", second.url)
        agree(all_nodes, echo, second)
        assert cut.heartbeat("all", name(second)) is not None
        relay.cut()
        assert one.remove("all", name(second))
        cut.register("all", third.url)
        wait_until(lambda: urls(all_nodes[2]) == [echo.url])
        wait_until(lambda: "cannot be read" in (cut.troubles()["all"] or ""))
        assert urls(all_nodes[1]) == sorted([echo.url, second.url, third.url])
        relay.mend()
        agree(all_nodes, echo, third)


@pytest.mark.long
def test_a_node_that_is_killed_knows_again_who_is_registered(
    gateway_process: Callable[..., Process], gateway: Start, store: Valkey, echo: EchoInstance, tmp_path: Path
) -> None:
    other = gateway(node(store, HEARTBEAT, tmp_path / "other"))
    config = node(store, HEARTBEAT, tmp_path / "killed")
    running = gateway_process(config)
    other.gateway.registry.register("all", echo.url)

    def status(address: str) -> int:
        with Peer.connect(address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return client.read_answer().status

    wait_until(lambda: status(running.address) == 200)
    kept = tmp_path / "killed" / "registered.json"
    wait_until(lambda: kept.exists() and echo.url in kept.read_text())
    running.signal(signal.SIGKILL)
    running.wait()
    for is_there in (True, False):
        if not is_there:
            store.kill()
        again = Process(configure(config), running.file.parent)
        try:
            assert status(again.address) == 200, "from the first request on"
            again.signal(signal.SIGKILL)
        finally:
            again.stop()


def test_one_node_looks_a_name_up_for_all(
    nodes: Callable[..., list[Running]], store: Valkey, echo: EchoInstance, names: NameServer
) -> None:
    port = int(echo.url.rpartition(":")[2])
    names.put("users.test", "A", "127.0.0.1", ttl=0)
    dns = {"name": "users.test", "port": port, "resolvers": [names.address], "family": "ipv4", "gone_after": 0}
    all_nodes = nodes({"dns": {**dns, "min_ttl": "200ms", "retry": "200ms"}}, *[store] * 3)
    agree(all_nodes, echo)
    asked, began = len(names.asked), time.monotonic()
    wait_until(lambda: len(names.asked) >= asked + 5)
    assert time.monotonic() - began > 4 * 0.19, "not each node has asked"
    names.put("users.test", "A", "127.0.0.2", ttl=0)
    wait_until(lambda: all(urls(running) == [f"http://127.0.0.2:{port}"] for running in all_nodes))
    del names.records["users.test", "A"]
    wait_until(lambda: all(urls(running) == [] for running in all_nodes))
    names.put("users.test", "A", "127.0.0.1", ttl=0)
    agree(all_nodes, echo)
    # Without the store, each asks itself.
    store.kill()
    names.put("users.test", "A", "127.0.0.3", ttl=0)
    wait_until(lambda: all(urls(running) == [f"http://127.0.0.3:{port}"] for running in all_nodes))
    assert all(running.gateway.registry.troubles() == {"all": None} for running in all_nodes)


@pytest.mark.long
def test_another_node_asks_if_the_one_that_does_is_killed(
    nodes: Callable[..., list[Running]],
    gateway_process: Callable[..., Process],
    store: Valkey,
    names: NameServer,
    tmp_path: Path,
) -> None:
    names.put("users.test", "A", "127.0.0.1", ttl=0)
    dns = {"name": "users.test", "port": 1, "resolvers": [names.address], "family": "ipv4", "timeout": "1s"}
    discovery = {"dns": {**dns, "min_ttl": "100ms"}}
    all_nodes = nodes(discovery, store, store)
    killed = gateway_process(node(store, discovery, tmp_path / "killed"))
    for number in range(2, 6):
        # Whoever asks next waits for an answer.
        os.kill(killed.process.pid, signal.SIGSTOP)
        names.put("users.test", "A", f"127.0.0.{number}", ttl=0)
        wait_until(lambda n=number: all(urls(running) == [f"http://127.0.0.{n}:1"] for running in all_nodes))  # type: ignore[misc]
        os.kill(killed.process.pid, signal.SIGCONT)
    killed.signal(signal.SIGKILL)
    names.put("users.test", "A", "127.0.0.9", ttl=0)
    wait_until(lambda: all(urls(running) == ["http://127.0.0.9:1"] for running in all_nodes))


def test_with_the_scope_of_a_node_each_node_asks(
    nodes: Callable[..., list[Running]], store: Valkey, names: NameServer
) -> None:
    names.put("users.test", "A", "127.0.0.1", ttl=0)
    dns = {"name": "users.test", "port": 1, "resolvers": [names.address], "family": "ipv4", "scope": "node"}
    nodes({"dns": {**dns, "min_ttl": "50ms"}}, store, store)
    asked = len(names.asked)
    wait_until(lambda: len(names.asked) >= asked + 10)
    assert store.ask("KEYS", "pylae:shop:lookup:*") == []


def test_the_file_that_was_modified_last_counts_for_all(
    gateway: Start, store: Valkey, echo: EchoInstance, tmp_path: Path
) -> None:
    with EchoInstance("second") as second:
        files = [tmp_path / f"{number}.yaml" for number in range(3)]

        def write(number: int, instance: EchoInstance, modified: int) -> None:
            beside = tmp_path / "beside"
            beside.write_text(f"all: ['{instance.url}']")
            os.utime(beside, (modified, modified))
            beside.replace(files[number])

        write(0, echo, 1_700_000_000)
        write(1, second, 1_600_000_000)
        all_nodes = []
        for number, file in enumerate(files):
            discovery = {"file": {"path": str(file), "interval": "50ms", "scope": "cluster"}}
            all_nodes.append(gateway(node(store, discovery, tmp_path / f"state {number}")))
            assert all_nodes[-1].get("/").status == 200, "from the first request on"
        agree(all_nodes, echo)
        assert [running.gateway.registry.troubles()["all"] for running in all_nodes] == [None] * 3
        write(1, second, 1_700_000_001)
        agree(all_nodes, second)
        write(2, echo, 1_700_000_002)
        agree(all_nodes, echo)
        store.ask("FLUSHALL")
        files[2].unlink()
        wait_until(lambda: store.ask("EXISTS", "pylae:shop:latest:all") == 1)
        agree(all_nodes, echo)
        files[0].write_text("all: 5")
        wait_until(lambda: all_nodes[0].gateway.registry.troubles()["all"] is not None)
        agree(all_nodes, echo)


@pytest.mark.parametrize(
    "discovery", [{"dns": {"name": "a.test", "scope": "cluster"}}, {"file": {"path": "x", "scope": "cluster"}}]
)
def test_the_scope_of_a_cluster_takes_one(discovery: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no node of"):
        Gateway(services={"all": {"discovery": discovery}}).check()
