"""Instances that fail in every way there is: what clients see, and what the gateway makes of it."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.instance import OK, RawInstance
from support.load import answers, get, load
from support.peer import Message, Peer, wait_until
from support.running import Running
from support.service_process import ProcessInstance

Start = Callable[..., Running]

EJECTS = """
workers: {workers}
services:
  shop: {{passive_health: {{failures: 3, ejection: 60s}}, retry_budget: {{ratio: 1}}, connect_timeout: 500ms}}
routes: [{{name: all, prefix: /, service: shop, timeout: 10s}}]
"""


def states(running: Running) -> dict[str, str]:
    """State of each instance by URL."""
    (service,) = running.gateway.stats()["services"]
    return {instance["url"]: instance["state"] for instance in service["instances"]}


Told = Callable[..., list[str]]
"""Takes the URLs of instances."""


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    """What the log has said about changes of state of these instances.

    A gateway of the test before may log its last record only now: that one names other instances.
    """
    caplog.set_level(logging.INFO, "pylae")

    def of(*urls: str) -> list[str]:
        changes = [record for record in caplog.records if getattr(record, "event", "") == "service_changed"]
        return [text for record in changes if any(url in (text := record.getMessage()) for url in urls)]

    return of


@pytest.fixture
def processes() -> Iterator[tuple[ProcessInstance, ProcessInstance]]:
    """Two instances that are processes."""
    with ProcessInstance() as one, ProcessInstance() as other:
        yield one, other


def half_a_head(peer: Peer, _: Message) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    peer.reset()


def half_a_body(peer: Peer, _: Message) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    peer.reset()


class Nothing:
    """Accepts and never answers; but the time to wait for it passes at once."""

    running: Running

    def __call__(self, _: Peer, __: Message) -> None:
        self.running.advance("11s")


nothing = Nothing()


def garbage(peer: Peer, _: Message) -> None:
    peer.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_under_load(
    gateway: Start,
    processes: tuple[ProcessInstance, ProcessInstance],
    told: Told,
    workers: int,
) -> None:
    services = {"shop": {"passive_health": {"failures": 3, "ejection": "60s"}}}
    running = gateway({"workers": workers, "services": services}, shop=processes)
    assert load(running.address, 1000, at={500: processes[0].kill}) == {200: 1000}
    assert states(running) == {processes[0].url: "ejected", processes[1].url: "up"}
    url = processes[0].url
    wait_until(lambda: len(told(url)) == 1)
    assert told(url)[0].startswith(f"shop: {url} ejected: 3 failures in a row, the last: ")


@pytest.mark.parametrize("fault", [nothing, half_a_head, garbage])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_answer_that_does_not_come_is_had_elsewhere(
    gateway: Start, told: Told, workers: int, fault: Callable[[Peer, Message], None]
) -> None:
    with RawInstance(fault) as bad, RawInstance(OK) as good:
        running = nothing.running = gateway(EJECTS.format(workers=workers), shop=[bad, good])
        assert [answer.status for answer in answers(running.address, [get()] * 20)] == [200] * 20
        assert states(running) == {bad.url: "ejected", good.url: "up"}
        assert len(bad.requests) == 3
        wait_until(lambda: len(told(bad.url)) == 1)
        reason = {nothing: "no answer in time"}.get(fault, "connection broke")
        assert told(bad.url) == [f"shop: {bad.url} ejected: 3 failures in a row, the last: {reason}; for 60 s"]


@pytest.mark.parametrize(("fault", "status"), [(nothing, 504), (half_a_head, 502), (garbage, 502)])
def test_what_may_not_be_done_twice_is_not(gateway: Start, fault: Callable[[Peer, Message], None], status: int) -> None:
    with RawInstance(fault) as bad, RawInstance(OK) as good:
        running = nothing.running = gateway(EJECTS.format(workers=1), shop=[bad, good])
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
        assert [running.raw(post, 1)[0].status for _ in range(8)].count(status) == 3
        assert (len(bad.requests), len(good.requests)) == (3, 5)


def test_half_an_answer_is_not_passed_off_as_whole(gateway: Start, told: Told) -> None:
    with RawInstance(half_a_body) as bad, RawInstance(OK) as good:
        running = gateway(EJECTS.format(workers=1), shop=[bad, good])
        for _ in range(6):
            with running.connect() as peer:
                peer.send(get("/", "Connection: close"))
                with contextlib.suppress(ConnectionResetError):
                    peer.read_all()
                whole = peer.received.endswith(b"\r\n\r\nok")
                assert whole or peer.received.endswith(b"\r\n\r\nhalf") or not peer.received
        assert states(running) == {bad.url: "ejected", good.url: "up"}
        wait_until(lambda: len(told(bad.url)) == 1)
        assert "connection broke" in told(bad.url)[0]


def test_a_name_that_does_not_resolve(gateway: Start, told: Told) -> None:
    with RawInstance(OK) as good:
        # RFC 6761 section 6.4: this never resolves.
        running = gateway(EJECTS.format(workers=2), shop=["http://shop.invalid:80", good])
        assert [answer.status for answer in answers(running.address, [get()] * 10)] == [200] * 10
        assert states(running) == {"http://shop.invalid:80": "ejected", good.url: "up"}
        wait_until(lambda: len(told("shop.invalid")) == 1)
        assert "no connection" in told("shop.invalid")[0]


def test_what_resolved_once_is_used_while_connections_last(gateway: Start) -> None:
    with RawInstance(OK) as good:
        named = f"http://localhost:{good.address.rpartition(':')[2]}"
        running = gateway(shop=named)
        assert [answer.status for answer in answers(running.address, [get()] * 10)] == [200] * 10
        assert good.connections == 1


def test_a_slow_instance_gets_little(gateway: Start) -> None:
    with RawInstance(OK) as fast, slowed(fast) as slow:
        running = gateway("services: {shop: {load_balancer: p2c}}", shop=[fast, slow])
        assert {answer.status for answer in answers(running.address, [get()] * 100)} == {200}
        (service,) = running.gateway.stats()["services"]
        # The first may go there; what it took is remembered for longer than the others take together.
        assert service["instances"][1]["attempts"] <= 2


def slowed(instance: RawInstance) -> RawInstance:
    """A proxy in front of an instance that lets every answer wait."""

    def relay(peer: Peer, request: Message) -> None:
        with Peer.connect(instance.address) as behind:
            behind.send(request.raw_head, request.body)
            answer = behind.read_answer()
            # No more bytes come, so this waits for exactly the time that is set.
            peer.socket.settimeout(0.05)
            with pytest.raises(TimeoutError):
                peer.socket.recv(1)
            peer.socket.settimeout(None)
            peer.send(answer.raw_head, answer.body)

    return RawInstance(relay)


@pytest.mark.parametrize("workers", [1, 2])
def test_all_down_and_back(
    gateway: Start,
    processes: tuple[ProcessInstance, ProcessInstance],
    told: Told,
    workers: int,
) -> None:
    check = {"path": "/health", "interval": "50ms", "timeout": "2s", "unhealthy_after": 2}
    running = gateway({"workers": workers, "services": {"shop": {"health_check": check}}}, shop=processes)
    urls = [process.url for process in processes]
    for process in processes:
        process.kill()
    wait_until(lambda: states(running) == dict.fromkeys(urls, "down"))
    for answer in (running.get() for _ in range(5)):
        assert (answer.status, answer.one("retry-after")) == (503, "1")
    for process in processes:
        process.start()
    wait_until(lambda: states(running) == dict.fromkeys(urls, "up"))
    assert [running.get().status for _ in range(5)] == [200] * 5
    wait_until(lambda: len(told(*urls)) == 4)
    for url in urls:
        down, up = told(url)
        assert down.startswith(f"shop: {url} down: 2 failed checks, the last: ")
        assert up == f"shop: {url} up: 1 good checks, the last: status 200"


def test_checks_follow_the_configuration(gateway: Start) -> None:
    with RawInstance(OK) as one, RawInstance(OK) as other:
        check: dict[str, Any] = {"services": {"shop": {"health_check": {"path": "/well", "interval": "20ms"}}}}
        running = gateway(check, shop=[one])
        wait_until(lambda: len(one.requests) >= 3)
        assert {(request.method, request.target, request.one("host")) for request in one.requests} == {
            ("GET", "/well", one.address)
        }
        running.apply(check, shop=[other])
        wait_until(lambda: len(other.requests) >= 1)
        before = len(one.requests)
        wait_until(lambda: len(other.requests) >= 10)
        assert len(one.requests) <= before + 1, "a check that was under way at the change, at most"
        running.stop()
        ended = len(other.requests)
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", int(running.address.split(":")[1]))):
            pass
        assert len(other.requests) == ended


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", b"ftp\r\n\r\n"], ids=["503", "garbage"]
)
def test_checks_tell_why(gateway: Start, told: Told, answer: bytes) -> None:
    with RawInstance(answer) as bad:
        running = gateway({"services": {"shop": {"health_check": {"interval": "20ms"}}}}, shop=bad)
        wait_until(lambda: bool(told(bad.url)))
        reason = "status 503" if b"503" in answer else "the answer is not HTTP"
        assert told(bad.url) == [f"shop: {bad.url} down: 3 failed checks, the last: {reason}"]
        assert running.get().status == 503


def test_an_instance_that_drains_finishes_what_it_has(gateway: Start, told: Told) -> None:
    with RawInstance() as one, RawInstance(OK) as other:
        running = gateway(shop=[one, other])
        engine = running.gateway.engine
        assert engine is not None
        with running.connect() as client:
            client.send(get())
            peer = one.accept()
            peer.read_request()
            assert engine.set_draining("shop", one.url, True)
            assert not engine.set_draining("shop", one.url, True)
            assert [running.get().status for _ in range(4)] == [200] * 4
            running.apply(shop=[one, other])
            assert states(running)[one.url] == "draining"
            peer.send(OK)
            assert client.read_answer().body == b"ok"
        assert one.connections == 1
        assert engine.set_draining("shop", other.url, True)
        assert running.get().status == 503
        assert engine.set_draining("shop", other.url, False)
        assert running.get().status == 200
        with pytest.raises(Exception, match="no instance"):
            engine.set_draining("shop", "http://nobody:80", True)
        wait_until(lambda: len(told(one.url, other.url)) == 3)
        assert told(one.url)[0] == f"shop: {one.url} draining: by request"
