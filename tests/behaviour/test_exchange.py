"""What a client may rely on: connections, framing, methods, retries, timeouts."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from support.instance import OK, EchoInstance, RawInstance
from support.peer import Message, Peer, wait_until
from support.running import Running

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
PUT = b"PUT /x HTTP/1.1\r\nHost: a\r\n"
ALWAYS_RETRY = "services: {all: {retry_budget: {ratio: 1}}}"
NO_RETRY = "routes: [{prefix: /, service: all, retries: 0}]"


@contextlib.contextmanager
def full_queue() -> Iterator[str]:
    """The address of a listener whose queue is full: the kernel drops what comes, and nobody is told."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


class TestConnections:
    def test_a_connection_serves_many_requests_over_one_to_the_instance(
        self, gateway: Callable[..., Running], instance: RawInstance
    ) -> None:
        running = gateway(all=instance)
        with running.connect() as client:
            for _ in range(50):
                client.send(GET)
                answer = client.read_answer()
                assert (answer.status, "connection" in answer) == (200, False)
        assert (len(instance.requests), instance.connections) == (50, 1)

    def test_requests_sent_ahead_are_answered_in_order(
        self, gateway: Callable[..., Running], echo: EchoInstance
    ) -> None:
        running = gateway("routes: [{prefix: /ok, service: all}]", all=echo)
        targets = [f"/ok/{n}" if n % 3 else f"/none/{n}" for n in range(100)]
        data = "".join(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n" for target in targets).encode()
        for answer, target in zip(running.raw(data, 100), targets, strict=True):
            body = json.loads(answer.body)
            assert body["target" if target.startswith("/ok") else "instance"] == target

    def test_requests_sent_ahead_behind_bodies(self, gateway: Callable[..., Running], echo: EchoInstance) -> None:
        running = gateway(all=echo)
        bodies = [bytes([65 + n % 26]) * (n * 97 % 5000) for n in range(60)]
        data = b""
        for n, body in enumerate(bodies):
            if n % 2:
                half = len(body) // 2
                chunks = b"".join(b"%x;e\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
                data += POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX: y\r\n\r\n"
            else:
                data += POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
        answers = running.raw(data, len(bodies))
        assert [json.loads(answer.body)["body"].encode() for answer in answers] == bodies

    def test_bytes_that_come_one_by_one(self, gateway: Callable[..., Running], echo: EchoInstance) -> None:
        running = gateway(all=echo)
        data = POST + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n" + GET
        with running.connect() as client:
            client.send(*(data[i : i + 1] for i in range(len(data))))
            assert json.loads(client.read_answer().body)["body"] == "hello world"
            assert json.loads(client.read_answer().body)["method"] == "GET"

    def test_a_client_that_asks_for_close(self, gateway: Callable[..., Running], instance: RawInstance) -> None:
        answers = gateway(all=instance).raw(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
        assert [(answer.status, answer.one("connection")) for answer in answers] == [(200, "close")]
        assert len(instance.requests) == 1

    def test_what_comes_behind_the_last_request_does_not_cost_the_answer(self, gateway: Callable[..., Running]) -> None:
        with RawInstance() as instance, contextlib.ExitStack() as stack:
            running = gateway(all=instance)
            clients = [stack.enter_context(running.connect()) for _ in range(5)]
            peer: Peer | None = None
            for client in clients:
                client.send(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                peer = peer or instance.accept()
                peer.read_until(b"\r\n\r\n")
                # As some clients send behind a body. Closed now, the connection would be reset.
                client.send(b"\r\n")
                peer.send(OK)
                assert client.read_all().startswith(b"HTTP/1.1 200 OK\r\n")

    def test_http_1_0(self, gateway: Callable[..., Running], instance: RawInstance) -> None:
        answers = gateway(all=instance).raw(b"GET /x HTTP/1.0\r\n\r\n")
        assert [(answer.status, answer.body) for answer in answers] == [(200, b"ok")]
        assert answers[0].start.startswith("HTTP/1.1 ")
        assert instance.requests[0].start == "GET /x HTTP/1.1"
        assert instance.requests[0].one("host") == instance.address

    def test_http_1_0_with_keep_alive(self, gateway: Callable[..., Running], instance: RawInstance) -> None:
        request = b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        answers = gateway(all=instance).raw(request * 2, 2)
        assert [answer.one("connection") for answer in answers] == ["keep-alive", "keep-alive"]

    def test_http_1_0_gets_no_chunks(self, gateway: Callable[..., Running]) -> None:
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"
        with RawInstance(chunked) as instance:
            answers = gateway(all=instance).raw(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert [(answer.body, answer.one("connection")) for answer in answers] == [(b"hello", "close")]
        assert "transfer-encoding" not in answers[0]

    def test_the_end_of_what_a_client_says_is_its_departure(self, gateway: Callable[..., Running]) -> None:
        with RawInstance() as instance:
            running = gateway(all=instance)
            with running.connect() as client:
                client.send(GET)
                peer = instance.accept()
                peer.read_request()
                client.end()
                assert peer.at_end()


class TestFraming:
    @pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 65_535, 65_536, 1_000_000])
    @pytest.mark.parametrize("framing", ["length", "chunked", "close"])
    def test_bodies_of_answers(self, framing: str, size: int, gateway: Callable[..., Running]) -> None:
        body = bytes(n * 7 % 251 for n in range(size))
        if framing == "length":
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body
        elif framing == "chunked":
            pieces = [body[at : at + 10_007] for at in range(0, size, 10_007)]
            chunks = b"".join(b"%X\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        else:
            answer = b"HTTP/1.1 200 OK\r\n\r\n" + body

        def send(peer: Peer, _: Message) -> None:
            peer.send(answer)
            if framing == "close":
                peer.end()

        with RawInstance(send) as instance:
            running = gateway(all=instance)
            with running.connect() as client:
                for _ in range(3):
                    client.send(GET)
                    got = client.read_answer()
                    assert got.body == body
                    assert ("content-length" in got) == (framing == "length")
            assert instance.connections == (3 if framing == "close" else 1)

    @pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 65_535, 65_536, 65_537, 1_000_000])
    @pytest.mark.parametrize("chunked", [False, True])
    def test_bodies_of_requests(
        self, chunked: bool, size: int, gateway: Callable[..., Running], instance: RawInstance
    ) -> None:
        body = bytes(n * 7 % 251 for n in range(size))
        if chunked:
            pieces = [body[at : at + 10_007] for at in range(0, size, 10_007)]
            framed = b"Transfer-Encoding: Chunked\r\n\r\n"
            framed += b"".join(b"%X\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        else:
            framed = b"Content-Length: %d\r\n\r\n" % size + body
        running = gateway(all=instance)
        answers = running.raw((POST + framed) * 2, 2)
        assert [answer.status for answer in answers] == [200, 200]
        assert [request.body for request in instance.requests] == [body, body]
        assert ("content-length" in instance.requests[0]) != chunked

    def test_trailers_both_ways(self, gateway: Callable[..., Running]) -> None:
        answer = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Type: a\r\n\r\n"
        )
        with RawInstance(answer) as instance:
            running = gateway(all=instance)
            trailers = b"X-Count: 1\r\nAuthorization: forged\r\nX-User-ID: forged\r\nHost: forged\r\n"
            got = running.raw(POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + trailers + b"\r\n", 1)[0]
            assert got.trailers == (("x-sum", "1"),)
            assert instance.requests[0].trailers == (("x-count", "1"),)

    @pytest.mark.parametrize("status", [204, 304])
    def test_answers_without_body(self, status: int, gateway: Callable[..., Running]) -> None:
        with RawInstance(b"HTTP/1.1 %d X\r\nETag: a\r\n\r\n" % status, OK) as instance:
            running = gateway(all=instance)
            with running.connect() as client:
                client.send(GET * 2)
                first = client.read_answer()
                assert (first.status, first.one("etag")) == (status, "a")
                assert "content-length" not in first
                assert "transfer-encoding" not in first
                assert client.read_answer().body == b"ok"
            assert instance.connections == 1

    @pytest.mark.parametrize("stated", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
    def test_head(self, stated: bytes, gateway: Callable[..., Running]) -> None:
        with RawInstance(b"HTTP/1.1 200 OK\r\n" + stated + b"\r\n") as instance:
            running = gateway(all=instance)
            with running.connect() as client:
                for _ in range(3):
                    client.send(GET.replace(b"GET", b"HEAD"))
                    answer = client.read_answer("HEAD")
                    assert answer.status == 200
                    assert answer.one("content-length") == ("5" if b"5" in stated else None)
            assert instance.connections == 1
            assert instance.requests[0].method == "HEAD"

    def test_a_304_states_the_length_of_what_it_stands_for(self, gateway: Callable[..., Running]) -> None:
        with RawInstance(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n") as instance:
            running = gateway(all=instance)
            answers = running.raw(GET * 2, 2, method="HEAD")
            assert [answer.one("content-length") for answer in answers] == ["5", "5"]

    def test_reasons_and_odd_statuses_pass(self, gateway: Callable[..., Running]) -> None:
        for start in ("HTTP/1.1 200 All right", "HTTP/1.1 299 Odd", "HTTP/1.1 599 Odder"):
            with RawInstance(start.encode() + b"\r\nContent-Length: 0\r\n\r\n") as instance:
                assert gateway(all=instance).get().start == start


class TestRoutes:
    def test_methods(self, gateway: Callable[..., Running], echo: EchoInstance) -> None:
        running = gateway(
            "routes: [{path: /a, method: GET|POST, service: all}, {path: /a, method: DELETE, service: all}]", all=echo
        )
        for method, status in (("GET", 200), ("HEAD", 200), ("POST", 200), ("DELETE", 200), ("PUT", 405), ("X", 405)):
            request = f"{method} /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()
            answer = running.raw(request, 1, method=method)[0]
            assert answer.status == status, method
            if status == 405:
                assert set((answer.one("allow") or "").split(", ")) == {"DELETE", "GET", "HEAD", "POST"}
        assert running.get("/b").status == 404
        assert echo.count == 4

    def test_an_error_to_head_has_no_body(self, gateway: Callable[..., Running], echo: EchoInstance) -> None:
        running = gateway("routes: [{path: /a, service: all}]", all=echo)
        answers = running.raw(
            b"HEAD /b HTTP/1.1\r\nHost: a\r\n\r\nHEAD /a HTTP/1.1\r\nHost: a\r\n\r\n", 2, method="HEAD"
        )
        assert [answer.status for answer in answers] == [404, 200]
        assert int(answers[0].one("content-length") or 0) > 0

    def test_paths_sent_on(self, gateway: Callable[..., Running], instance: RawInstance) -> None:
        running = gateway(
            """
            routes:
              - {prefix: /api, service: all, strip_prefix: true}
              - {prefix: /deep/er, service: all, strip_prefix: /deep}
              - {path: "/users/{id:int}/{rest:path}", service: all, rewrite: "/v2/{rest}/of/{id}"}
              - {pattern: '^/old/(?P<name>[a-z]+)$', service: all, rewrite: "/new/{name}"}
              - {prefix: /same, service: all}
            """,
            all=instance,
        )
        for target, seen in (
            ("/api/a?b=c", "/a?b=c"),
            ("/api", "/"),
            ("/api/", "/"),
            ("/api/../api/x%20y", "/x%20y"),
            ("/deep/er/x", "/er/x"),
            ("/users/7/a/b?c", "/v2/a/b/of/7?c"),
            ("/old/abc", "/new/abc"),
            ("/same/%61", "/same/a"),
        ):
            assert running.get(target).status == 200
            assert instance.requests[-1].target == seen

    def test_errors_are_problem_details(self, gateway: Callable[..., Running], echo: EchoInstance) -> None:
        running = gateway("routes: [{path: /a, service: all}]", all=echo)
        answer = running.get("/nothing/%C3%A9?secret=1", "X-Request-ID: my-id")
        assert (answer.status, answer.one("content-type")) == (404, "application/problem+json")
        assert answer.one("cache-control") == "no-store"
        body = json.loads(answer.body)
        assert set(body) == {
            "type",
            "title",
            "status",
            "detail",
            "instance",
            "error",
            "request_id",
            "timestamp",
        }
        assert (body["status"], body["title"], body["instance"]) == (404, "Not Found", "/nothing/%C3%A9")
        assert (body["request_id"], body["error"]) == ("my-id", body["detail"])
        assert body["timestamp"].endswith("Z")

    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            ("*/*", "application/problem+json"),
            ("application/json", "application/problem+json"),
            ("text/html", "text/html; charset=utf-8"),
            ("text/html,application/xhtml+xml,*/*;q=0.8", "application/problem+json"),
            ("text/plain", "text/plain; charset=utf-8"),
            ("text/plain, text/html", "text/html; charset=utf-8"),
            ("text/html, application/json;q=0", "text/html; charset=utf-8"),
            ("image/png", "application/problem+json"),
        ],
    )
    def test_errors_come_in_what_the_client_accepts(
        self, accept: str, kind: str, gateway: Callable[..., Running], echo: EchoInstance
    ) -> None:
        running = gateway("routes: [{path: /a, service: all}]", all=echo)
        answer = running.get("/b", f"Accept: {accept}")
        assert (answer.status, answer.one("content-type")) == (404, kind)
        assert (answer.one("x-request-id") or "?").encode() in answer.body or kind.startswith("text/plain")


class TestInstances:
    def test_all_take_their_turn(self, gateway: Callable[..., Running]) -> None:
        with EchoInstance("a") as a, EchoInstance("b") as b:
            running = gateway(all=[a, b])
            names = [json.loads(running.get().body)["instance"] for _ in range(10)]
            assert sorted(names) == ["a"] * 5 + ["b"] * 5

    def test_a_dead_instance_costs_no_request(
        self, gateway: Callable[..., Running], echo: EchoInstance, dead_url: str
    ) -> None:
        running = gateway(ALWAYS_RETRY, all=[dead_url, echo])
        with running.connect() as client:
            for _ in range(10):
                client.send(POST + b"Content-Length: 5\r\n\r\nhello")
                assert json.loads(client.read_answer().body)["body"] == "hello"
        assert running.gateway.stats()["totals"]["retries"] > 0

    def test_no_instance_can_be_reached(self, gateway: Callable[..., Running], dead_url: str) -> None:
        running = gateway(all=dead_url)
        answer = running.get()
        assert (answer.status, json.loads(answer.body)["type"]) == (502, "urn:pylae:error:connect_failed")
        assert dead_url.rpartition(":")[2].encode() not in answer.body

    def test_kept_connections_that_have_died_are_replaced_silently(self, gateway: Callable[..., Running]) -> None:
        with RawInstance() as instance:
            running = gateway(NO_RETRY, all=instance)
            with running.connect() as client:
                for end in (Peer.close, Peer.reset, Peer.end):
                    client.send(POST + b"Content-Length: 5\r\n\r\nhello")
                    peer = instance.accept()
                    peer.read_request()
                    peer.send(OK)
                    assert client.read_answer().status == 200
                    end(peer)
            assert instance.connections == 3

    def test_a_kept_connection_that_dies_under_a_request(self, gateway: Callable[..., Running]) -> None:
        """The race that every pool has: the request was sent before the end of the connection was seen."""
        with RawInstance() as instance:
            running = gateway(NO_RETRY, all=instance)
            with running.connect() as client:
                client.send(GET)
                first = instance.accept()
                first.read_request()
                first.send(OK)
                assert client.read_answer().status == 200
                client.send(PUT + b"Content-Length: 5\r\n\r\nhello")
                assert first.read_request().body == b"hello"
                first.reset()
                second = instance.accept()
                assert second.read_request().body == b"hello"
                # Once: what dies on a new connection is an error.
                second.reset()
                assert client.read_answer().status == 502
            assert instance.connections == 2

    def test_a_request_that_may_have_been_done_is_not_repeated(self, gateway: Callable[..., Running]) -> None:
        def die(peer: Peer, _: Message) -> None:
            peer.reset()

        with RawInstance(die) as one, RawInstance(die) as two:
            running = gateway(all=[one, two])
            assert running.raw(POST + b"Content-Length: 2\r\n\r\nok", 1)[0].status == 502
            assert len(one.requests) + len(two.requests) == 1
            assert running.raw(GET, 1)[0].status == 502
            assert len(one.requests) + len(two.requests) > 2

    def test_an_idempotent_request_is_repeated_elsewhere(self, gateway: Callable[..., Running]) -> None:
        def die(peer: Peer, _: Message) -> None:
            peer.reset()

        with RawInstance(die) as bad, EchoInstance() as good:
            running = gateway(ALWAYS_RETRY, all=[bad, good])
            body = bytes(65 + n % 26 for n in range(60_000))
            put = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + body
            for _ in range(4):
                assert json.loads(running.raw(put, 1)[0].body)["body"].encode() == body
            assert len(bad.requests) > 0

    def test_a_large_body_is_not_repeated(self, gateway: Callable[..., Running]) -> None:
        def die(peer: Peer, _: Message) -> None:
            peer.reset()

        with RawInstance(die) as one, RawInstance(die) as two:
            running = gateway(all=[one, two])
            put = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n" + bytes(70_000)
            assert running.raw(put, 1)[0].status == 502
            assert len(one.requests) + len(two.requests) == 1


class TestTime:
    def test_an_instance_that_does_not_answer(self, gateway: Callable[..., Running]) -> None:
        with RawInstance() as instance:
            running = gateway("routes: [{prefix: /, service: all, timeout: 200ms, retries: 0}]", all=instance)
            with running.connect() as client:
                client.send(GET)
                answer = client.read_answer()
                assert (answer.status, json.loads(answer.body)["type"]) == (504, "urn:pylae:error:gateway_timeout")
                peer = instance.accept()
                peer.read_request()
                assert peer.at_end()
                # The client's connection goes on.
                client.send(GET)
                instance.accept().send(OK)
                assert client.read_answer().status == 200

    def test_half_a_head_does_not_move_the_deadline(self, gateway: Callable[..., Running]) -> None:
        with RawInstance() as instance:
            running = gateway("routes: [{prefix: /, service: all, timeout: 300ms, retries: 0}]", all=instance)
            with running.connect() as client:
                client.send(GET)
                peer = instance.accept()
                peer.read_request()
                peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n")
                assert client.read_answer().status == 504

    def test_all_attempts_share_the_deadline(self, gateway: Callable[..., Running]) -> None:
        with RawInstance() as one, RawInstance() as two:
            running = gateway(
                "routes: [{prefix: /, service: all, timeout: 10s, deadline: 300ms, retries: 5, retry_on: timeout}]",
                all=[one, two],
            )
            assert running.get().status == 504
            assert one.connections + two.connections == 1

    def test_a_connection_that_is_not_made(self, gateway: Callable[..., Running]) -> None:
        with full_queue() as address:
            running = gateway(
                "{services: {all: {connect_timeout: 200ms}}, routes: [{prefix: /, service: all, retries: 0}]}",
                all=address,
            )
            answer = running.get()
            assert (answer.status, json.loads(answer.body)["type"]) == (502, "urn:pylae:error:connect_failed")

    def test_a_body_that_stops(self, gateway: Callable[..., Running]) -> None:
        with RawInstance() as instance:
            running = gateway("routes: [{prefix: /, service: all, idle_timeout: 200ms}]", all=instance)
            with running.connect() as client:
                client.send(GET)
                peer = instance.accept()
                peer.read_request()
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
                client.read_head()
                assert client.read(5) == b"hello"
                assert client.at_end()
                assert peer.at_end()

    def test_kept_connections_are_closed_after_a_while(self, gateway: Callable[..., Running]) -> None:
        with RawInstance() as instance:
            running = gateway("services: {all: {idle_timeout: 100ms}}", all=instance)
            with running.connect() as client:
                client.send(GET)
                peer = instance.accept()
                peer.read_request()
                peer.send(OK)
                assert client.read_answer().status == 200
                assert peer.at_end()


class TestDeparture:
    def test_a_client_that_goes_while_its_answer_is_awaited(self, gateway: Callable[..., Running]) -> None:
        with RawInstance() as instance:
            running = gateway(all=instance)
            for leave in (Peer.close, Peer.reset):
                client = running.connect()
                client.send(GET)
                peer = instance.accept()
                peer.read_request()
                leave(client)
                assert peer.at_end()
            wait_until(lambda: running.gateway.stats()["totals"]["abandoned"] == 2)

    def test_a_client_that_goes_in_the_middle_of_its_answer(self, gateway: Callable[..., Running]) -> None:
        with RawInstance() as instance:
            running = gateway(all=instance)
            for framing in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
                client = running.connect()
                client.send(GET)
                peer = instance.accept()
                peer.read_request()
                peer.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
                client.read_head()
                client.close()
                assert peer.at_end()

    def test_a_client_that_goes_while_a_connection_is_made(self, gateway: Callable[..., Running]) -> None:
        with full_queue() as address:
            running = gateway(all=address)
            client = running.connect()
            client.send(GET)
            wait_until(lambda: running.gateway.stats()["totals"]["in_flight"] == 1)
            client.close()
            wait_until(lambda: running.gateway.stats()["totals"]["abandoned"] == 1)

    def test_many_at_once(self, gateway: Callable[..., Running], echo: EchoInstance) -> None:
        running = gateway("workers: 2", all=echo)
        failures: list[BaseException] = []

        def run() -> None:
            try:
                with running.connect() as client:
                    for n in range(100):
                        client.send(f"GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                        assert json.loads(client.read_answer().body)["target"] == f"/{n}"
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        # An exchange is counted once its answer was sent, which its client may have by then.
        wait_until(lambda: running.gateway.stats()["totals"]["by_class"][1] == 2000)
