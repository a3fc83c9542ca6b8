"""Reloads and stops under load: nothing that was accepted is lost."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pylae import ConfigError, EngineError
from support.instance import OK, EchoInstance, RawInstance
from support.peer import Peer, accepts, raw, wait_until
from support.running import Process, Running, configure
from support.traffic import Traffic

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
FIRST = "workers: 2"
SECOND = """
workers: 2
limits: {max_head: 20KB}
services: {all: {load_balancer: least_connections}}
routes: [{name: other, prefix: /x, service: all, timeout: 7s}, {prefix: /y, service: all}]
policies: {security_headers: {}}
"""


@pytest.fixture
def ports() -> Iterator[Sequence[int]]:
    """Two ports at which a listener may come and go: nobody else gets them meanwhile."""
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(2)]
        for holder in holders:
            # A socket that is bound and does not listen leaves the port to those who set this too, as listeners do.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
        yield [holder.getsockname()[1] for holder in holders]


def test_a_hundred_applies_under_load(gateway: Callable[..., Running]) -> None:
    with EchoInstance("a") as a, EchoInstance("b") as b:
        running = gateway(FIRST, all=a)
        with Traffic(running.address) as traffic:
            for n in range(100):
                running.apply(SECOND if n % 2 else FIRST, all=[b, a] if n % 3 else b)
                traffic.wait_for(5)
        assert traffic.failures == []
        assert running.gateway.stats()["applied"] == 101
        assert a.count > 0 < b.count


def test_reloads_by_signal_and_by_file_under_load(gateway_process: Callable[..., Process], echo: EchoInstance) -> None:
    running = gateway_process(FIRST, all=echo)
    with Traffic(running.address) as traffic:
        for n in range(6):
            if n % 3:
                running.signal(signal.SIGHUP)
                running.read_until("configuration applied")
            else:
                running.apply(FIRST if n % 2 else SECOND, all=echo)
            traffic.wait_for(20)
    assert traffic.failures == []


def test_an_exchange_ends_under_the_plan_that_it_began_with(gateway: Callable[..., Running]) -> None:
    with RawInstance() as old, RawInstance(OK) as new:
        running = gateway("routes: [{prefix: /, service: all}]", all=old)
        with running.connect() as client:
            client.send(GET)
            peer = old.accept()
            peer.read_request()
            running.apply("routes: [{path: /x, service: other}]", other=new)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
            assert client.read_answer().body == b"old"
            client.send(GET)
            assert client.read_answer().body == b"ok"


def test_connections_survive_a_reload(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway(FIRST.replace("2", "1"), all=instance)
    with running.connect() as client:
        for n in range(5):
            client.send(GET)
            assert client.read_answer().status == 200
            running.apply(f"routes: [{{prefix: /x, service: renamed, timeout: {n + 1}}}]", renamed=instance)
    assert instance.connections == 1


def test_listeners_come_and_go(gateway: Callable[..., Running], echo: EchoInstance, ports: Sequence[int]) -> None:
    both = f'{{workers: 2, listeners: ["127.0.0.1:{ports[0]}", "127.0.0.1:{ports[1]}"]}}'
    one = f'{{workers: 2, listeners: ["127.0.0.1:{ports[0]}"]}}'
    running = gateway(one, all=echo)
    first, second = (f"127.0.0.1:{port}" for port in ports)
    with Traffic(first) as traffic:
        for _ in range(10):
            with pytest.raises(ConnectionRefusedError):
                raw(second, GET, 1)
            running.apply(both, all=echo)
            with Peer.connect(second) as kept:
                kept.send(GET)
                assert kept.read_answer().status == 200
                running.apply(one, all=echo)
                # It goes on: a listener's end is not its connections' end.
                kept.send(GET)
                assert kept.read_answer().status == 200
    assert traffic.failures == []


def test_what_a_leaving_listener_has_accepted_is_served(
    gateway: Callable[..., Running], echo: EchoInstance, ports: Sequence[int]
) -> None:
    both = f'{{workers: 2, listeners: ["127.0.0.1:{ports[0]}", "127.0.0.1:{ports[1]}"]}}'
    running = gateway(both, all=echo)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Peer.connect(f"127.0.0.1:{ports[1]}")) for _ in range(100)]
        running.apply(f'{{workers: 2, listeners: ["127.0.0.1:{ports[0]}"]}}', all=echo)
        for client in clients:
            client.send(GET)
            assert client.read_answer().status == 200


def test_a_port_in_use_changes_nothing(
    gateway: Callable[..., Running], instance: RawInstance, ports: Sequence[int]
) -> None:
    running = gateway("{}", all=instance)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"127.0.0.1:{port}: the port is in use"):
            running.apply(
                f'{{listeners: ["127.0.0.1:{ports[0]}", "127.0.0.1:{port}"], routes: [{{path: /b, service: all}}]}}',
                all=instance,
            )
    assert running.get("/x").status == 200
    assert running.gateway.stats()["applied"] == 1
    with pytest.raises(ConnectionRefusedError):
        raw(f"127.0.0.1:{ports[0]}", GET, 1)


def test_an_address_that_overlaps_an_own_one_is_not_somebody_elses(
    gateway: Callable[..., Running], instance: RawInstance, ports: Sequence[int]
) -> None:
    port = ports[0]
    running = gateway(f'listeners: ["127.0.0.1:{port}"]', all=instance)
    with pytest.raises(EngineError, match=f"0.0.0.0:{port}: this gateway listens on 127.0.0.1:{port}, which overlaps"):
        running.apply(f'listeners: ["0.0.0.0:{port}"]', all=instance)
    assert running.get("/x").status == 200


def test_a_bad_configuration_changes_nothing(gateway: Callable[..., Running], instance: RawInstance) -> None:
    running = gateway("{}", all=instance)
    with pytest.raises(ConfigError):
        running.apply("routes: [{path: /b, service: nothing}]", all=instance)
    with pytest.raises(EngineError, match="workers"):
        running.apply("workers: 3", all=instance)
    assert running.get("/x").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_loses_nothing(
    number: signal.Signals, gateway_process: Callable[..., Process], echo: EchoInstance
) -> None:
    running = gateway_process("workers: 2", all=echo)
    with Traffic(running.address, per_connection=10_000) as traffic:
        traffic.wait_for(200)
        running.signal(number)
        traffic.join()
        assert running.wait() == 0
    assert traffic.failures == []


def test_a_stop_serves_what_was_accepted(gateway_process: Callable[..., Process], echo: EchoInstance) -> None:
    """Connections that the kernel has made count, whether the gateway has looked at them or not."""
    running = gateway_process("workers: 2", all=echo)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(running.connect()) for _ in range(200)]
        for client in clients:
            client.send(GET)
        running.signal(signal.SIGTERM)
        for client in clients:
            answer = client.read_answer()
            assert answer.status == 200
        assert running.wait() == 0


def test_a_stop_waits_for_exchanges_and_closes_idle_connections(gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway("{}", all=instance)
        with running.connect() as busy, running.connect() as idle:
            idle.send(GET)
            peer = instance.accept()
            peer.read_request()
            peer.send(OK)
            assert idle.read_answer().status == 200
            busy.send(GET)
            peer.read_request()
            stopping = threading.Thread(target=running.stop, kwargs={"drain": True})
            stopping.start()
            assert idle.at_end()
            with pytest.raises(ConnectionRefusedError):
                running.connect()
            peer.send(OK)
            answer = busy.read_answer()
            assert (answer.status, answer.one("connection")) == (200, "close")
            assert busy.at_end()
            stopping.join()


def test_a_stop_does_not_wait_for_a_connection_that_never_spoke(gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway("limits: {head_timeout: 10m, drain_timeout: 10m}", all=instance)
        with running.connect() as silent, running.connect() as busy:
            # The gateway has looked at the silent one, which came first.
            busy.send(GET)
            peer = instance.accept()
            peer.read_request()
            stopping = threading.Thread(target=running.stop, kwargs={"drain": True})
            stopping.start()
            assert silent.at_end()
            peer.send(OK)
            assert busy.read_answer().status == 200
            stopping.join()


def test_a_drain_that_takes_too_long_is_cut(gateway: Callable[..., Running]) -> None:
    with RawInstance() as instance:
        running = gateway("limits: {drain_timeout: 200ms}", all=instance)
        with running.connect() as client:
            client.send(GET)
            peer = instance.accept()
            peer.read_request()
            running.stop(drain=True)
            assert client.at_end()
            assert peer.at_end()


def test_a_second_signal_ends_it(gateway_process: Callable[..., Process]) -> None:
    with RawInstance() as instance:
        running = gateway_process("{}", all=instance)
        with running.connect() as client:
            client.send(GET)
            instance.accept().read_request()
            running.signal(signal.SIGTERM)
            running.read_until("stopping")
            running.signal(signal.SIGTERM)
            assert running.wait() == 0
            assert client.at_end()


def test_a_second_stop_cuts_the_first_short(gateway: Callable[..., Running], tmp_path: Path) -> None:
    """With all that a gateway has beside its engine: a registry and an admin API."""
    discovery = "services: {found: {discovery: {heartbeat: {}}}}"
    with RawInstance() as instance:
        config = {"admin": "127.0.0.1:0", "state": str(tmp_path), **configure(discovery, all=instance)}
        running = gateway({**config, "routes": [{"prefix": "/", "service": "all", "auth_required": False}]})
        raised: list[BaseException] = []

        def stop() -> None:
            try:
                running.gateway.stop()
            except BaseException as error:
                raised.append(error)

        with running.connect() as client:
            client.send(GET)
            instance.accept().read_request()
            first = threading.Thread(target=stop)
            first.start()
            wait_until(lambda: not accepts(running.address))
            running.gateway.stop(drain=False)
            first.join()
            assert client.at_end()
        assert raised == []
        running.gateway.stop()


def test_gateways_come_and_go(instance: RawInstance) -> None:
    """Nothing is left behind: no listener, no connection."""
    for _ in range(10):
        running = Running(configure("workers: 2", all=instance))
        assert running.get().status == 200
        running.stop()
        with pytest.raises(ConnectionRefusedError):
            running.connect()
        assert not instance.accept().pending()
