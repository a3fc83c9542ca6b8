"""HTTP/2 to instances: exchanges share connections, and errors say whether a request may be sent again."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import h2.events
import pytest

from support.h2client import FramePeer
from support.h2servers import H2Connection, H2Instance, hypercorn_instance
from support.running import Running
from support.tls import Authority

Start = Callable[..., Running]

BOTH = {"listeners": [{"address": "127.0.0.1:0", "http2": True}], "services": {"one": {"protocol": "http2"}}}


def test_an_instance_sees_the_request(gateway: Start) -> None:
    with H2Instance(lambda connection, stream, _: connection.answer(stream, b"hello")) as instance:
        running = gateway(BOTH, one=instance)
        answer = running.get("/a?b", "X-One: 1", "Cookie: a=1", "Connection: x-hop", "X-Hop: 1", "Te: trailers, gzip")
        assert (answer.status, answer.body) == (200, b"hello")
        fields = instance.requests[0]
    assert fields[":method"] == "GET"
    assert fields[":path"] == "/a?b"
    assert fields[":scheme"] == "http"
    assert fields[":authority"] == "gateway.test"
    assert fields["x-one"] == "1"
    assert fields["te"] == "trailers"
    assert fields["x-forwarded-host"] == "gateway.test"
    assert not {"host", "connection", "x-hop", "transfer-encoding"} & set(fields)


def test_exchanges_share_connections_up_to_a_bound(gateway: Start) -> None:
    waiting: list[tuple[H2Connection, int]] = []
    all_here = threading.Barrier(7)

    def answer(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
        waiting.append((connection, stream))
        threading.Thread(target=lambda: (all_here.wait(10), reply(connection, stream)), daemon=True).start()

    def reply(connection: H2Connection, stream: int) -> None:
        with connection.lock:
            connection.answer(stream)
            connection.flush()

    with H2Instance(answer) as instance:
        running = gateway({**BOTH, "services": {"one": {"protocol": "http2", "max_streams": 3}}}, one=instance)
        with ThreadPoolExecutor(7) as clients:
            answers = list(clients.map(lambda number: running.get(f"/{number}"), range(7)))
        assert [answer.body for answer in answers] == [b"ok"] * 7
        assert sorted(len(connection.bodies) for connection in instance.connections) == [1, 3, 3]


def test_the_bound_of_the_instance_is_kept(gateway: Start) -> None:
    def answer(connection: H2Connection, stream: int, fields: dict[str, str]) -> None:
        if fields[":path"] != "/wait":
            connection.answer(stream)

    with H2Instance(answer, max_streams=1) as instance:
        running = gateway(BOTH, one=instance)
        assert running.get("/").status == 200
        with FramePeer(running.address) as peer:
            waiting = peer.request("GET", "/wait")
            while len(instance.requests) < 2:
                pass
            assert peer.get("/").status == 200
            assert len(instance.connections) == 2
            peer.connection.reset_stream(waiting)
            peer.flush()


def test_bodies_and_trailers_go_both_ways(gateway: Start) -> None:
    def answer(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
        connection.h2.send_headers(stream, [(":status", "200")])

    class Echo(H2Connection):
        """Sends back what comes, as it comes."""

        def _take(self, event: h2.events.Event) -> None:
            super()._take(event)
            if isinstance(event, h2.events.DataReceived):
                self.h2.send_data(event.stream_id, event.data)
            elif isinstance(event, h2.events.TrailersReceived):
                self.h2.send_headers(event.stream_id, event.headers, end_stream=True)

    with H2Instance(answer) as instance:
        instance.connection = Echo
        running = gateway(BOTH, one=instance)
        with FramePeer(running.address) as peer:
            stream = peer.request("POST", "/", body=b"one", end=False)
            peer.wait(lambda: peer.answers[stream].body == b"one")
            peer.connection.send_data(stream, b"two")
            peer.flush()
            peer.wait(lambda: peer.answers[stream].body == b"onetwo")
            peer.connection.send_headers(stream, [("x-sum", "7")], end_stream=True)
            peer.flush()
            assert peer.answer(stream).trailers == [("x-sum", "7")]
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 8\r\n\r\n"
        answer_ = running.raw(chunked, 1, method="POST")[0]
        assert (answer_.body, answer_.trailers) == (b"abc", (("x-sum", "8"),))


def refuse(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
    if len(connection.instance.requests) == 1:
        connection.h2.reset_stream(stream, 7)
    else:
        connection.answer(stream)


def go_away(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
    if len(connection.instance.requests) == 2:
        # The last stream that was looked at is the one before.
        connection.h2.close_connection(last_stream_id=stream - 2)
    else:
        connection.answer(stream)


def cancel(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
    if len(connection.instance.requests) == 1:
        connection.h2.reset_stream(stream, 2)
    else:
        connection.answer(stream)


def test_a_refused_request_was_not_looked_at_and_is_sent_again_whatever_it_is(gateway: Start) -> None:
    with H2Instance(refuse) as instance:
        running = gateway(BOTH, one=instance)
        assert running.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", 1)[0].status == 200
        assert len(instance.requests) == 2


def test_so_is_one_that_a_goaway_leaves_out(gateway: Start) -> None:
    with H2Instance(go_away) as instance:
        running = gateway(BOTH, one=instance)
        for _ in range(3):
            assert running.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", 1)[0].status == 200
        assert len(instance.requests) == 4
        assert len(instance.connections) == 2


@pytest.mark.parametrize(("method", "status", "requests"), [("GET", 200, 2), ("POST", 502, 1)])
def test_one_that_may_have_been_acted_on_is_not_unless_it_is_idempotent(
    gateway: Start, method: str, status: int, requests: int
) -> None:
    with H2Instance(cancel) as instance:
        running = gateway(BOTH, one=instance)
        sent = f"{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".encode()
        assert running.raw(sent, 1)[0].status == status
        assert len(instance.requests) == requests


def test_a_connection_that_died_while_idle_is_replaced(gateway: Start) -> None:
    with H2Instance(lambda connection, stream, _: connection.answer(stream)) as instance:
        running = gateway(
            {**BOTH, "routes": [{"name": "a", "prefix": "/", "service": "one", "retries": 0}]}, one=instance
        )
        for count in range(1, 4):
            assert running.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", 1)[0].status == 200
            assert len(instance.connections) == count
            instance.connections[-1].close()


@pytest.mark.parametrize(("method", "status", "elsewhere"), [("POST", 502, 1), ("PUT", 200, 2)])
def test_what_was_sent_over_a_connection_that_died_is_not_new(
    gateway: Start, method: str, status: int, elsewhere: int
) -> None:
    def goes_away(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
        if len(bad.requests) == 1:
            connection.answer(stream)
        else:
            bad.listener.shutdown(socket.SHUT_RDWR)
            connection.close()

    with H2Instance(goes_away) as bad, H2Instance(lambda connection, stream, _: connection.answer(stream)) as good:
        running = gateway(BOTH, one=[bad.url, good.url])
        assert [running.get("/").status for _ in range(2)] == [200, 200]
        sent = f"{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".encode()
        assert running.raw(sent, 1)[0].status == status
        assert (len(bad.requests), len(good.requests)) == (2, elsewhere)


def test_a_request_that_http2_cannot_carry_is_its_client_s_fault(gateway: Start) -> None:
    with H2Instance(lambda connection, stream, _: connection.answer(stream)) as instance:
        running = gateway({**BOTH, "limits": {"max_head": 200_000, "max_target": 100_000}}, one=instance)
        # The instance says how large a head it takes.
        assert running.get("/").status == 200
        answer = running.get("/" + "a" * 70_000)
        assert (answer.status, b"HTTP/2" in answer.body) == (400, True)
        (service,) = running.gateway.stats()["services"]
        assert (len(instance.requests), service["instances"][0]["failures"]) == (1, 0)
        assert running.get("/").status == 200


def test_answers_that_are_not_http_are_502(gateway: Start) -> None:
    def answer(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
        connection.h2.send_headers(stream, [(":status", "200"), ("connection", "close")], end_stream=True)

    with H2Instance(answer) as instance:
        running = gateway(
            {**BOTH, "routes": [{"name": "a", "prefix": "/", "service": "one", "retries": 0}]}, one=instance
        )
        assert running.get("/").status == 502


def test_an_instance_that_is_late_is_left_and_its_connection_not_trusted(gateway: Start) -> None:
    def answer(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
        if len(connection.instance.requests) > 1:
            connection.answer(stream)

    with H2Instance(answer) as instance:
        routes = [{"name": "a", "prefix": "/", "service": "one", "retries": 0, "timeout": "200ms"}]
        running = gateway({**BOTH, "routes": routes}, one=instance)
        assert running.get("/").status == 504
        assert running.get("/").status == 200
        assert len(instance.connections) == 2


def test_hypercorn_as_instance(gateway: Start) -> None:
    body = bytes(range(256)) * 4000
    with hypercorn_instance() as url:
        running = gateway(BOTH, one=url)
        with FramePeer(running.address) as peer:
            assert len(peer.get("/bytes/3000000").body) == 3_000_000
        head = f"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        seen = json.loads(running.raw(head + body, 1, method="POST")[0].body)
        assert (seen["length"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("secure", [False, True])
def test_health_is_asked_over_http2(gateway: Start, tmp_path: Path, secure: bool) -> None:
    asked = threading.Event()

    def answer(connection: H2Connection, stream: int, fields: dict[str, str]) -> None:
        connection.answer(stream, status=503 if fields[":path"] == "/health" else 200)
        if fields[":path"] == "/health":
            asked.set()

    authority = Authority(tmp_path)
    context = authority.server("127.0.0.1")
    context.set_alpn_protocols(["h2"])
    with H2Instance(answer, context=context if secure else None) as instance:
        service: dict[str, object] = {
            "protocol": "http2",
            "health_check": {"interval": "100ms", "unhealthy_after": 1},
            **({"tls": {"ca": str(authority.file)}} if secure else {}),
        }
        running = gateway({**BOTH, "services": {"one": service}}, one=instance)
        assert asked.wait(10)
        while running.get("/").status != 503:
            pass


def test_answers_that_end_with_their_stream_are_kept_and_those_that_break_off_are_not(gateway: Start) -> None:
    def reply(connection: H2Connection, stream: int, fields: dict[str, str]) -> None:
        # Neither says how long it is.
        connection.answer(stream, b"half", end=False)
        if fields[":path"] == "/broken":
            connection.h2.reset_stream(stream)
        else:
            connection.h2.send_data(stream, b" whole", end_stream=True)

    with H2Instance(reply) as instance:
        routes = [{"name": "all", "prefix": "/", "service": "one", "retries": 0, "cache": {"max_entry": "64KB"}}]
        running = gateway({**BOTH, "routes": routes}, one=instance)
        assert [running.get("/whole").body for _ in range(2)] == [b"half whole"] * 2
        assert len(instance.requests) == 1
        for _ in range(2):
            with running.connect() as client, suppress(AssertionError, OSError):
                client.send(b"GET /broken HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
                client.read_answer()
        assert len(instance.requests) == 3
