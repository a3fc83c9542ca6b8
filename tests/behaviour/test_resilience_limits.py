"""Circuit breakers, retries and overload over real sockets, with state that all workers share."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from pylae import Gateway, Route
from support.instance import OK, EchoInstance, RawInstance
from support.load import answers, get, load
from support.peer import Message, Peer, wait_until
from support.running import Running

Start = Callable[..., Running]

FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


def service(running: Running) -> dict[str, Any]:
    """What the stats say about the only service."""
    (only,) = running.gateway.stats()["services"]
    return dict(only)


class Switch:
    """An instance whose answers are held back until the test lets them go."""

    def __init__(self, *first: bytes) -> None:
        self.first = list(first)
        self.held: list[Peer] = []
        self._lock = threading.Lock()

    def __call__(self, peer: Peer, _: Message) -> None:
        with self._lock:
            answer = self.first.pop(0) if self.first else None
            if answer is None:
                self.held.append(peer)
        if answer is not None:
            peer.send(answer)

    def release(self, answer: bytes) -> None:
        """Answers all requests that are held back."""
        while self.held:
            self.held.pop().send(answer)


@pytest.mark.parametrize("probes", [1, 3])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_breaker_opens_probes_and_closes(gateway: Start, workers: int, probes: int) -> None:
    switch = Switch(*[FAILED] * 5)
    breaker = {"failure_threshold": 5, "timeout": "300ms", "half_open_requests": probes}
    with RawInstance(switch) as instance, ExitStack() as clients:
        running = gateway({"workers": workers, "services": {"shop": {"circuit_breaker": breaker}}}, shop=instance)
        # Each on a connection of its own: any worker may see it.
        assert [running.get().status for _ in range(5)] == [500] * 5
        refused = [running.get() for _ in range(10)]
        assert {(answer.status, answer.one("retry-after")) for answer in refused} == {(503, "1")}
        assert len(instance.requests) == 5
        assert service(running)["breaker"]["state"] == "open"
        # After the timeout exactly so many pass; they are held back, and all others are refused meanwhile.
        wait_until(lambda: service(running)["breaker"]["open_for"] == 0)
        for number in range(probes):
            clients.enter_context(running.connect()).send(get())
            wait_until(lambda count=number + 1: len(switch.held) == count)  # type: ignore[misc]
        assert load(running.address, 40) == {503: 40}
        assert len(instance.requests) == 5 + probes
        assert service(running)["breaker"]["state"] == "half_open"
        switch.first = [OK] * 20
        switch.release(OK)
        wait_until(lambda: service(running)["breaker"]["state"] == "closed")
        assert load(running.address, 20) == {200: 20}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_probe_that_fails_opens_it_again(gateway: Start, workers: int) -> None:
    breaker = {"failure_threshold": 2, "timeout": "100ms"}
    with RawInstance(FAILED) as instance:
        running = gateway({"workers": workers, "services": {"shop": {"circuit_breaker": breaker}}}, shop=instance)
        assert [running.get().status for _ in range(4)] == [500, 500, 503, 503]
        wait_until(lambda: service(running)["breaker"]["open_for"] == 0)
        assert running.get().status == 500
        assert service(running)["breaker"]["state"] == "open"
        assert len(instance.requests) == 3


def test_failures_at_the_same_time_open_it_for_all_workers(gateway: Start) -> None:
    switch = Switch()
    with RawInstance(switch) as instance, ExitStack() as clients:
        config = {"workers": 2, "services": {"shop": {"circuit_breaker": {"timeout": "60s"}}}}
        running = gateway(config, shop=instance)
        peers = [clients.enter_context(running.connect()) for _ in range(5)]
        for peer in peers:
            peer.send(get())
        wait_until(lambda: len(switch.held) == 5)
        switch.release(FAILED)
        assert [peer.read_answer().status for peer in peers] == [500] * 5
        assert load(running.address, 40) == {503: 40}
        assert len(instance.requests) == 5
        assert running.get().one("retry-after") == "60"


def test_a_breaker_for_each_instance_spares_the_others(gateway: Start) -> None:
    with RawInstance(FAILED) as bad, RawInstance(OK) as good:
        breaker = {"failure_threshold": 3, "scope": "instance"}
        running = gateway({"services": {"shop": {"circuit_breaker": breaker}}}, shop=[bad, good])
        seen = [answer.status for answer in answers(running.address, [get()] * 40)]
        assert (seen.count(500), seen.count(200)) == (3, 37)
        assert [one["breaker"]["state"] for one in service(running)["instances"]] == ["open", "closed"]


def test_the_textbook_route_has_the_textbook_breaker() -> None:
    with RawInstance(FAILED) as instance:
        gateway = Gateway(listeners=["127.0.0.1:0"], workers=2)
        gateway.add_route(
            Route(
                pattern=r"^/api/orders.*$",
                method="GET|POST|PUT|DELETE",
                service_name="order-service",
                service_url=instance.url,
                auth_required=False,
                timeout=30,
                retry_count=3,
                circuit_breaker=True,
            )
        )
        (plan,) = gateway.plan()["services"]
        assert plan["circuit_breaker"]["failure_threshold"] == 5
        assert plan["circuit_breaker"]["timeout"] == 60
        assert plan["circuit_breaker"]["half_open_requests"] == 1
        (address,) = gateway.start()
        try:
            seen = [answer.status for answer in answers(address, [get("/api/orders/1")] * 8)]
            assert seen == [500] * 5 + [503] * 3
            assert len(instance.requests) == 5
        finally:
            gateway.stop(False)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_storm_of_retries_is_impossible(gateway: Start, workers: int) -> None:
    with RawInstance(UNAVAILABLE) as one, RawInstance(UNAVAILABLE) as other:
        routes = [{"name": "all", "prefix": "/", "service": "shop", "retries": 10}]
        running = gateway({"workers": workers, "routes": routes}, shop=[one, other])
        assert load(running.address, 400) == {503: 400}
        attempts = sum(instance["attempts"] for instance in service(running)["instances"])
        assert 400 < attempts <= 1.25 * 400
        assert len(one.requests) + len(other.requests) == attempts
        assert service(running)["retries_refused"] > 0


def retried(**route: Any) -> dict[str, Any]:
    """Retries without a budget, to see the other rules."""
    return {
        "services": {"shop": {"retry_budget": {"ratio": 1, "min_per_second": 1000}}},
        "routes": [{"name": "all", "prefix": "/", "service": "shop", **route}],
    }


def request(method: str, body: bytes) -> bytes:
    return b"%s / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (method.encode(), len(body), body)


def cut(peer: Peer, _: Message) -> None:
    peer.reset()


@pytest.mark.parametrize(
    ("method", "answer", "retry_on", "statuses"),
    [
        ("GET", UNAVAILABLE, [], [200, 200]),
        ("PUT", UNAVAILABLE, [], [200, 200]),
        ("POST", UNAVAILABLE, [], [200, 503]),
        ("POST", UNAVAILABLE, ["gateway_error"], [200, 200]),
        ("GET", FAILED, [], [200, 500]),
        ("GET", FAILED, ["server_error"], [200, 200]),
        ("POST", FAILED, ["server_error"], [200, 200]),
        ("PUT", cut, [], [200, 200]),
        ("POST", cut, [], [200, 502]),
        ("POST", cut, ["reset"], [200, 200]),
    ],
)
def test_what_is_retried(gateway: Start, method: str, answer: Any, retry_on: list[str], statuses: list[int]) -> None:
    with RawInstance(answer) as bad, EchoInstance() as good:
        running = gateway(retried(retry_on=retry_on), shop=[bad, good])
        body = b"" if method == "GET" else b"0123456789" * 1000
        seen = [running.raw(request(method, body), 1)[0] for _ in range(2)]
        assert sorted(one.status for one in seen) == statuses
        # A retry takes the turn of the good one, so that the bad one is next again.
        assert len(bad.requests) == statuses.count(200)
        # What was sent again was sent whole.
        assert all(one.body.count(b"0123456789") == len(body) // 10 for one in seen if one.status == 200)


def test_a_connection_that_is_refused_is_always_retried(gateway: Start) -> None:
    with RawInstance(OK) as gone, EchoInstance() as good:
        gone.stop()
        running = gateway(retried(), shop=[gone, good])
        assert [running.raw(request("POST", b"hi"), 1)[0].status for _ in range(4)] == [200] * 4
        assert good.count == 4


@pytest.mark.parametrize(("method", "status", "elsewhere"), [("POST", 502, 0), ("PUT", 200, 1)])
def test_what_was_sent_over_a_connection_that_died_is_not_new(
    gateway: Start, method: str, status: int, elsewhere: int
) -> None:
    def goes_away(peer: Peer, _: Message) -> None:
        bad.listener.shutdown(socket.SHUT_RDWR)
        peer.reset()

    with RawInstance(OK, goes_away) as bad, RawInstance(OK) as good:
        running = gateway(retried(), shop=[bad, good])
        assert [running.get().status for _ in range(2)] == [200, 200]
        # The kept connection dies with the request on it, and there is no other.
        assert running.raw(request(method, b"hi"), 1)[0].status == status
        assert [one.method for one in bad.requests] == ["GET", method]
        assert [one.method for one in good.requests] == ["GET"] + [method] * elsewhere


@pytest.mark.parametrize(
    ("method", "retry_on", "size", "status"),
    [("PUT", [], 60_000, 200), ("PUT", [], 200_000, 502), ("POST", ["reset"], 60_000, 200)],
)
def test_a_body_that_is_not_kept_is_not_sent_again(
    gateway: Start, method: str, retry_on: list[str], size: int, status: int
) -> None:
    with RawInstance(cut) as bad, EchoInstance() as good:
        running = gateway(retried(retry_on=retry_on), shop=[bad, good])
        seen = [running.raw(request(method, b"x" * size), 1)[0] for _ in range(2)]
        assert sorted(one.status for one in seen) == [200, status]
        assert all(one.body.count(b"x" * size) == 1 for one in seen if one.status == 200)


def test_the_deadline_is_over_all_attempts(gateway: Start) -> None:
    with RawInstance() as one, RawInstance() as other:
        running = gateway(retried(timeout="40s", deadline="100s", retries=100), shop=[one, other])
        with running.connect() as client:
            client.send(get())
            for instance, passes in ((one, "41s"), (other, "41s"), (one, "20s")):
                # Two attempts of 40 s fit, and the third is cut short.
                instance.accept().read_until(b"\r\n\r\n")
                running.advance(passes)
            assert client.read_answer().status == 504
        assert (one.connections, other.connections) == (2, 1)


def test_a_client_that_spends_the_deadline_itself_takes_no_instance_out(gateway: Start) -> None:
    with RawInstance() as instance:
        configuration = retried(timeout="80s", deadline="60s", idle_timeout="90s")
        breaker = {"circuit_breaker": {"failure_threshold": 1, "timeout": "600s"}}
        configuration["services"]["shop"].update(breaker)
        running = gateway({**configuration, "limits": {"min_rate": 0}}, shop=instance)
        with running.connect() as client:
            client.send(request("PUT", b"hi")[:-1])
            taken = instance.accept()
            taken.read_until(b"\r\n\r\nh")
            running.advance("59s")
            client.send(b"i")
            taken.read(1)
            running.advance("2s")
            assert client.read_answer().status == 504
        assert (service(running)["breaker"]["state"], service(running)["instances"][0]["failures"]) == ("closed", 0)
        # An instance that has had half of the time that there is has had its time.
        with running.connect() as client:
            client.send(request("PUT", b"hi"))
            instance.accept().read_until(b"\r\n\r\nhi")
            running.advance("61s")
            assert client.read_answer().status == 504
        assert service(running)["breaker"]["state"] == "open"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_service_queues_and_then_refuses(gateway: Start, workers: int) -> None:
    switch = Switch()
    with RawInstance(switch) as instance, ExitStack() as clients:
        bounds = {"max_in_flight": 2, "queue": {"size": 3, "timeout": "60s"}}
        running = gateway({"workers": workers, "services": {"shop": bounds}}, shop=instance)
        peers = [clients.enter_context(running.connect()) for _ in range(5)]
        for number, peer in enumerate(peers):
            peer.send(get())
            wait_until(
                lambda count=number + 1: service(running)["entered"] + service(running)["waiting"] == count  # type: ignore[misc]
            )
        assert (service(running)["entered"], service(running)["waiting"]) == (2, 3)
        refused = [running.get() for _ in range(4)]
        assert {(answer.status, answer.one("retry-after")) for answer in refused} == {(503, "1")}
        wait_until(lambda: len(switch.held) == 2)
        assert len(instance.requests) == 2
        switch.first = [OK] * 3
        switch.release(OK)
        assert [peer.read_answer().status for peer in peers] == [200] * 5
        wait_until(lambda: service(running)["entered"] == service(running)["waiting"] == 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bound_holds_under_load(gateway: Start, workers: int) -> None:
    with EchoInstance() as echo:
        bounds = {"max_in_flight": 2, "queue": {"size": 64, "timeout": "60s"}}
        running = gateway({"workers": workers, "services": {"shop": bounds}}, shop=echo)
        assert load(running.address, 1500, clients=16) == {200: 1500}
        # The last answer may be with its client before its place is free.
        wait_until(lambda: service(running)["entered"] == service(running)["waiting"] == 0)
        assert len(echo._transports) <= 2 * workers, "connections that were in use at the same time"


@pytest.mark.parametrize("workers", [1, 2])
def test_who_came_first_goes_first(gateway: Start, workers: int) -> None:
    switch = Switch()
    with RawInstance(switch) as instance, ExitStack() as clients:
        bounds = {"max_in_flight": 1, "queue": {"size": 20, "timeout": "60s"}}
        running = gateway({"workers": workers, "services": {"shop": bounds}}, shop=instance)
        peers = [clients.enter_context(running.connect()) for _ in range(12)]
        for number, peer in enumerate(peers):
            peer.send(get(f"/{number}"))
            wait_until(lambda count=number: service(running)["waiting"] == count)  # type: ignore[misc]
            wait_until(lambda: len(switch.held) == 1)
        switch.first = [OK] * len(peers)
        switch.release(OK)
        assert [peer.read_answer().status for peer in peers] == [200] * len(peers)
        assert [one.target for one in instance.requests] == [f"/{number}" for number in range(len(peers))]


def test_nobody_waits_for_longer_than_the_queue_lets(gateway: Start) -> None:
    switch = Switch()
    with RawInstance(switch) as instance, ExitStack() as clients:
        bounds = {"max_in_flight": 1, "queue": {"size": 10, "timeout": "50ms"}}
        running = gateway({"services": {"shop": bounds}}, shop=instance)
        first = clients.enter_context(running.connect())
        first.send(get())
        wait_until(lambda: len(switch.held) == 1)
        assert running.get().status == 503
        assert service(running)["waiting"] == 0
        switch.release(OK)
        assert first.read_answer().status == 200


def test_a_client_that_leaves_the_queue_leaves_its_place(gateway: Start) -> None:
    switch = Switch()
    with RawInstance(switch) as instance, ExitStack() as clients:
        bounds = {"max_in_flight": 1, "queue": {"size": 1, "timeout": "60s"}}
        running = gateway({"services": {"shop": bounds}}, shop=instance)
        first = clients.enter_context(running.connect())
        first.send(get())
        wait_until(lambda: service(running)["entered"] == 1)
        second = running.connect()
        second.send(get())
        wait_until(lambda: service(running)["waiting"] == 1)
        second.close()
        wait_until(lambda: service(running)["waiting"] == 0)
        wait_until(lambda: len(switch.held) == 1)
        switch.first = [OK]
        switch.release(OK)
        assert first.read_answer().status == 200
        assert running.get().status == 200
