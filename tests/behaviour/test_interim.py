"""Interim answers: 102 and 103 go on to clients, filtered and counted, and disturb nothing (RFC 9110 section 15.2)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import h2.events
import pytest

from support.h2client import FramePeer
from support.h2servers import H2Connection, H2Instance
from support.instance import OK, RawInstance
from support.peer import Message, Peer, wait_until
from support.running import Running
from support.tls import Authority

Start = Callable[..., Running]

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
HTTP2 = {"listeners": [{"address": "127.0.0.1:0", "http2": True}]}
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _interim(client: Peer, request: bytes = GET) -> tuple[list[Message], Message]:
    """The interim answers to a request, and the final one."""
    client.send(request)
    interim: list[Message] = []
    while (answer := client.read_answer(interim=True)).status < 200:
        interim.append(answer)
    return interim, answer


def test_hints_come_before_the_answer(gateway: Start) -> None:
    with RawInstance() as instance, gateway(all=instance).connect() as client:
        client.send(GET)
        peer = instance.accept()
        peer.read_request()
        peer.send(HINTS)
        hints = client.read_answer(interim=True)
        assert (hints.start, hints.all("link")) == ("HTTP/1.1 103 Early Hints", ["</a.css>; rel=preload"])
        peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        assert client.read_answer(interim=True).status == 102
        peer.send(OK)
        assert client.read_answer(interim=True).body == b"ok"


def test_only_102_and_103_go_on(gateway: Start) -> None:
    others = CONTINUE + b"HTTP/1.1 104 Upload Resumption Supported\r\n\r\nHTTP/1.1 199 Whatever\r\nX-A: 1\r\n\r\n"
    with RawInstance(others + HINTS + others + b"HTTP/1.1 102 Processing\r\n\r\n" + others + OK) as instance:
        with gateway(all=instance).connect() as client:
            for _ in range(3):
                interim, answer = _interim(client)
                assert [one.status for one in interim] == [103, 102]
                assert (answer.status, answer.body, answer.all("link")) == (200, b"ok", [])
        assert instance.connections == 1


def test_fields_of_one_connection_and_of_framing_stay_behind(gateway: Start) -> None:
    hints = (
        b"HTTP/1.1 103 Early Hints\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\nUpgrade: websocket\r\nTE: trailers\r\n"
        b"Proxy-Authenticate: Basic\r\nLink:</b>\r\nx_a: 1\r\n\r\n"
    )
    with RawInstance(hints + OK) as instance, gateway(all=instance).connect() as client:
        interim, answer = _interim(client)
        assert [one.fields for one in interim] == [(("link", "</b>"), ("x_a", "1"), ("via", "1.1 pylae"))]
        assert answer.body == b"ok"


def test_policies_and_hooks_see_only_the_answer(gateway: Start) -> None:
    transform = "policies: {security_headers: {}, transform: {response: {set: {X-Brand: a}, remove: [Link]}}}"
    with RawInstance(HINTS + OK) as instance, gateway(transform, all=instance).connect() as client:
        interim, answer = _interim(client)
        assert [[name for name, _ in one.fields] for one in interim] == [["link", "via"]]
        assert answer.one("x-brand") == "a"
        assert "x-content-type-options" in answer
        assert "x-request-id" in answer


@pytest.mark.parametrize("count", [8, 9, 40])
def test_at_most_eight_go_on(count: int, gateway: Start) -> None:
    hints = b"".join(b"HTTP/1.1 103 Early Hints\r\nX-N: %d\r\n\r\n" % number for number in range(count))
    with RawInstance(hints + OK) as instance, gateway(all=instance).connect() as client:
        for _ in range(2):
            interim, answer = _interim(client)
            assert [one.one("x-n") for one in interim] == [str(number) for number in range(8)]
            assert answer.body == b"ok"


def test_http_1_0_gets_none(gateway: Start) -> None:
    with RawInstance(HINTS + OK) as instance, gateway(all=instance).connect() as client:
        interim, answer = _interim(client, b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n")
        assert (interim, answer.body) == ([], b"ok")


def test_a_body_that_is_invited_is_invited_once(gateway: Start) -> None:
    with RawInstance() as instance, gateway(all=instance).connect() as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        peer = instance.accept()
        peer.read_head()
        peer.send(HINTS + CONTINUE + HINTS)
        assert [client.read_answer(interim=True).status for _ in range(3)] == [100, 103, 103]
        client.send(b"hello")
        assert peer.read(5) == b"hello"
        peer.send(CONTINUE + HINTS + OK)
        assert [client.read_answer(interim=True).status for _ in range(2)] == [103, 200]


def test_it_may_come_while_the_request_is_still_sent(gateway: Start) -> None:
    with RawInstance() as instance, gateway(all=instance).connect() as client:
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        peer = instance.accept()
        peer.read_until(b"hello\r\n")
        peer.send(HINTS)
        assert client.read_answer(interim=True).status == 103
        client.send(b"0\r\n\r\n")
        peer.read_until(b"0\r\n\r\n")
        peer.send(OK)
        assert client.read_answer(interim=True).body == b"ok"


def test_another_attempt_may_follow(gateway: Start) -> None:
    def hints_and_no_answer(peer: Peer, _: Message) -> None:
        peer.send(HINTS)
        peer.end()

    with RawInstance(hints_and_no_answer, HINTS + OK) as instance, gateway(all=instance).connect() as client:
        interim, answer = _interim(client)
        assert ([one.status for one in interim], answer.body) == ([103, 103], b"ok")
        assert len(instance.requests) == 2


def test_all_attempts_together_send_eight(gateway: Start) -> None:
    def five_and_no_answer(peer: Peer, _: Message) -> None:
        peer.send(HINTS * 5)
        peer.end()

    with RawInstance(five_and_no_answer, HINTS * 5 + OK) as instance, gateway(all=instance).connect() as client:
        interim, answer = _interim(client)
        assert (len(interim), answer.body) == (8, b"ok")


def test_what_hinted_has_answered(gateway: Start) -> None:
    """A kept connection that ends behind hints has not ended in silence: a POST is not sent again."""

    def hints_and_no_answer(peer: Peer, _: Message) -> None:
        peer.send(HINTS)
        peer.end()

    with RawInstance(OK, hints_and_no_answer, OK) as instance, gateway(all=instance).connect() as client:
        post = POST + b"Content-Length: 0\r\n\r\n"
        assert _interim(client, post)[1].status == 200
        interim, answer = _interim(client, post)
        assert ([one.status for one in interim], answer.status) == ([103], 502)
        assert len(instance.requests) == 2
        # The gateway's own answer stands behind the hints like any other.
        assert json.loads(answer.body)["type"] == "urn:pylae:error:bad_gateway"


def test_bad_hints_are_a_bad_answer(gateway: Start) -> None:
    for bad in (
        b"HTTP/1.1 103 Early Hints\r\nX : 1\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nX: \x00\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\nX: 1\n\n",
        b"HTTP/1.1 103 Early Hints\r\nConnection: set-cookie\r\nSet-Cookie: a=b\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    ):
        with RawInstance(bad + OK) as instance:
            running = gateway("routes: [{prefix: /, service: all, retries: 0}]", all=instance)
            with running.connect() as client:
                interim, answer = _interim(client)
                assert answer.status == 502, bad[:80]
                assert b"hello" not in client.received
                assert all("x" not in one and "set-cookie" not in one for one in interim)
            assert instance.peers[0].at_end()


def test_nobody_is_told_behind_a_stale_answer(gateway: Start) -> None:
    fields = b"Cache-Control: max-age=0, stale-while-revalidate=60\r\nContent-Length: 1\r\n\r\n"
    asked = threading.Event()

    def second(peer: Peer, _: Message) -> None:
        peer.send(HINTS * 3 + b"HTTP/1.1 200 OK\r\n" + fields.replace(b"=0", b"=60") + b"b")
        asked.set()

    with RawInstance(b"HTTP/1.1 200 OK\r\n" + fields + b"a", second) as instance:
        running = gateway("policies: {cache: true}", all=instance)
        with running.connect() as client:
            assert _interim(client)[1].body == b"a"
            interim, answer = _interim(client)
            assert (interim, answer.body) == ([], b"a")
            assert asked.wait(10)
            wait_until(lambda: _interim(client)[1].body == b"b")
            interim, answer = _interim(client)
            assert (interim, answer.body) == ([], b"b")
        assert len(instance.requests) == 2


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_client_that_does_not_read_gets_an_orderly_answer(
    encrypted: bool, gateway: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What there is no room for is left out, and nothing is cut in two."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    listener = {"address": "127.0.0.1:0", **({"tls": authority.issue("one", "localhost")} if encrypted else {})}
    hints = [b"HTTP/1.1 103 Early Hints\r\nX-N: %d\r\nX: %s\r\n\r\n" % (n, b"a" * 900_000) for n in range(8)]
    with RawInstance() as instance:
        running = gateway({"listeners": [listener], "limits": {"max_head": "1MB"}}, all=instance)
        client = running.connect(receive_buffer=4096)
        if encrypted:
            client.socket = authority.context().wrap_socket(client.socket, server_hostname="localhost")
        with client:
            client.send(GET)
            peer = instance.accept()
            peer.read_request()
            # All of it is taken, whether or not the client reads.
            peer.send(*hints, OK)
            numbers = []
            while (answer := client.read_answer(interim=True)).status == 103:
                assert answer.one("x") == "a" * 900_000
                numbers.append(int(answer.one("x-n") or ""))
            assert answer.body == b"ok"
            assert numbers == sorted(numbers)
            assert 1 <= len(numbers) < 8
            # The next exchange begins afresh.
            client.send(GET)
            peer.read_request()
            peer.send(HINTS + OK)
            assert [client.read_answer(interim=True).status for _ in range(2)] == [103, 200]


def test_a_client_that_goes_away_behind_hints(gateway: Start) -> None:
    with RawInstance() as instance:
        running = gateway(all=instance)
        with running.connect() as client:
            client.send(GET)
            peer = instance.accept()
            peer.read_request()
            peer.send(HINTS)
            assert client.read_answer(interim=True).status == 103
        assert peer.at_end()


class TestWebSocket:
    def test_a_handshake_gets_none(self, gateway: Start) -> None:
        handshake = (
            b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        granted = (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        with RawInstance(HINTS + granted) as instance:
            running = gateway("routes: [{prefix: /, service: all, websocket: true}]", all=instance)
            with running.connect() as client:
                client.send(handshake)
                assert client.read_head().status == 101


def _hints(events: list[h2.events.Event]) -> list[list[tuple[str, str]]]:
    """The fields of the interim answers among the events."""
    return [
        [(str(name), str(value)) for name, value in event.headers or ()]
        for event in events
        if isinstance(event, h2.events.InformationalResponseReceived)
    ]


class TestHttp2:
    def test_to_a_client(self, gateway: Start) -> None:
        with RawInstance() as instance, FramePeer(gateway(HTTP2, all=instance).address) as client:
            stream = client.request("GET", "/x")
            peer = instance.accept()
            peer.read_request()
            peer.send(b"HTTP/1.1 103 Early Hints\r\nConnection: x-hop\r\nX-Hop: 1\r\nLink: </a>\r\n\r\n")
            client.wait(lambda: bool(_hints(client.events)))
            peer.send(CONTINUE + b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
            assert client.answer(stream).body == b"ok"
            assert _hints(client.events) == [
                [(":status", "103"), ("link", "</a>"), ("via", "1.1 pylae")],
                [(":status", "102"), ("via", "1.1 pylae")],
            ]

    def test_to_a_client_at_most_eight(self, gateway: Start) -> None:
        with RawInstance(HINTS * 20 + OK) as instance, FramePeer(gateway(HTTP2, all=instance).address) as client:
            assert client.get("/x").body == b"ok"
            assert len(_hints(client.events)) == 8

    def test_from_an_instance(self, gateway: Start) -> None:
        seen = threading.Event()

        def hint(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
            connection.h2.send_headers(stream, [(":status", "103"), ("link", "</a>")])
            connection.h2.send_headers(stream, [(":status", "100")])
            connection.flush()
            threading.Thread(target=lambda: (seen.wait(10), answer(connection, stream)), daemon=True).start()

        def answer(connection: H2Connection, stream: int) -> None:
            with connection.lock:
                connection.h2.send_headers(stream, [(":status", "102")])
                connection.answer(stream)
                connection.flush()

        with H2Instance(hint) as instance:
            running = gateway({**HTTP2, "services": {"one": {"protocol": "http2"}}}, one=instance)
            with running.connect() as client:
                client.send(GET)
                hints = client.read_answer(interim=True)
                assert (hints.start, hints.fields) == (
                    "HTTP/1.1 103 Early Hints",
                    (("link", "</a>"), ("via", "2.0 pylae")),
                )
                seen.set()
                assert [client.read_answer(interim=True).status for _ in range(2)] == [102, 200]
            with FramePeer(running.address) as other:
                assert other.get("/x").body == b"ok"
                assert [fields[0][1] for fields in _hints(other.events)] == ["103", "102"]

    def test_from_an_instance_that_does_nothing_else(self, gateway: Start) -> None:
        def hint(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
            for _number in range(200):
                connection.h2.send_headers(stream, [(":status", "103")])
            connection.answer(stream)

        with H2Instance(hint) as instance:
            routes = [{"prefix": "/", "service": "one", "retries": 0}]
            running = gateway({"services": {"one": {"protocol": "http2"}}, "routes": routes}, one=instance)
            with running.connect() as client:
                interim, answer = _interim(client)
                assert (len(interim), answer.status) == (8, 502)

    def test_many_exchanges_at_once_keep_theirs_apart(self, gateway: Start) -> None:
        def hint(connection: H2Connection, stream: int, fields: dict[str, str]) -> None:
            connection.h2.send_headers(stream, [(":status", "103"), ("x-path", fields[":path"])])
            connection.answer(stream, fields[":path"].encode())

        with H2Instance(hint) as instance:
            running = gateway({"services": {"one": {"protocol": "http2"}}}, one=instance)

            def ask(number: int) -> None:
                with running.connect() as client:
                    for turn in range(5):
                        path = f"/{number}/{turn}"
                        interim, answer = _interim(client, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                        assert [one.one("x-path") for one in interim] == [path]
                        assert answer.body == path.encode()

            with ThreadPoolExecutor(8) as clients:
                list(clients.map(ask, range(8)))


def test_calls_of_grpc_get_none(gateway: Start) -> None:
    def hint(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
        connection.h2.send_headers(stream, [(":status", "103")])
        connection.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        connection.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    with H2Instance(hint) as instance:
        running = gateway({**HTTP2, "services": {"one": {"protocol": "http2"}}}, one=instance)
        with FramePeer(running.address) as client:
            call = ("content-type", "application/grpc"), ("te", "trailers")
            stream = client.request("POST", "/a.B/c", *call, body=b"\0\0\0\0\0")
            answer = client.answer(stream)
            assert (answer.status, dict(answer.trailers)) == (200, {"grpc-status": "0"})
            assert _hints(client.events) == []
