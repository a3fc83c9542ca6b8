"""WebSocket over HTTP/1.1: the handshake, the rules of frames, the ends. Byte by byte."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.frames import (
    ASK,
    BINARY,
    CLOSE,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    Opener,
    accept_for,
    close,
    frame,
    handshake,
    read_frame,
    switching,
)
from support.instance import OK, RawInstance
from support.peer import Peer, wait_until
from support.running import Process, Running

ROUTES = "routes: [{name: ws, prefix: /, service: all, websocket: %s}]"
OPEN = ROUTES % "true"
SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"
LIMITED = ROUTES % "{max_message: 1000, max_frame: 600}"


@pytest.fixture
def silent() -> Iterator[RawInstance]:
    """An instance that does only what the test does."""
    with RawInstance() as instance:
        yield instance


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens WebSockets."""
    opener = Opener()
    yield opener
    opener.close()


class TestHandshake:
    def test_what_the_instance_and_the_client_get(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        running = gateway(OPEN, all=silent)
        fields = ("Sec-WebSocket-Protocol: chat, other", "Origin: http://a", "X-User-ID: 1")
        ends = opened(running, silent, *fields, granted=("Sec-WebSocket-Protocol: other", "X-Own: 1"))
        assert ends.request.one("upgrade") == "websocket"
        assert ends.request.one("connection") == "Upgrade"
        assert ends.request.one("sec-websocket-key") == KEY
        assert ends.request.one("sec-websocket-protocol") == "chat, other"
        assert ends.request.one("origin") == "http://a"
        assert "x-user-id" not in ends.request
        assert ends.request.one("x-forwarded-for") == "127.0.0.1"
        assert ends.answer.status == 101
        assert ends.answer.one("upgrade") == "websocket"
        assert ends.answer.one("connection") == "Upgrade"
        assert ends.answer.one("sec-websocket-accept") == accept_for(KEY)
        assert ends.answer.one("sec-websocket-protocol") == "other"
        assert ends.answer.one("x-request-id") == ends.request.one("x-request-id")
        assert "content-length" not in ends.answer
        assert "transfer-encoding" not in ends.answer

    def test_a_route_that_does_not_allow_it(self, gateway: Callable[..., Running], instance: RawInstance) -> None:
        """It is an ordinary request: the instance is not asked, and bytes behind it are the next request."""
        running = gateway(ROUTES % "false", all=instance)
        answers = running.raw(handshake() + SECOND, 2)
        assert [answer.status for answer in answers] == [200, 200]
        assert "upgrade" not in instance.requests[0]
        assert "connection" not in instance.requests[0]

    @pytest.mark.parametrize(
        "head",
        [
            ASK.replace("Connection: Upgrade\r\n", ""),
            ASK.replace("Upgrade: websocket\r\n", ""),
            ASK.replace("Upgrade: websocket", "Upgrade: h2c"),
            ASK.replace("Upgrade: websocket", "Upgrade: websocket, h2c"),
            ASK + "Upgrade: websocket\r\n",
        ],
    )
    def test_what_does_not_ask_for_it_is_an_ordinary_request(
        self, head: str, gateway: Callable[..., Running], instance: RawInstance
    ) -> None:
        running = gateway(OPEN, all=instance)
        answers = running.raw(f"GET / HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode() + SECOND, 2)
        assert [answer.status for answer in answers] == [200, 200]
        assert "upgrade" not in instance.requests[0]

    def test_other_methods_and_versions_are_ordinary_requests(
        self, gateway: Callable[..., Running], instance: RawInstance
    ) -> None:
        running = gateway(OPEN, all=instance)
        assert running.raw(f"POST / HTTP/1.1\r\nHost: a\r\n{ASK}\r\n".encode(), 1)[0].status == 200
        assert running.raw(f"GET / HTTP/1.0\r\nHost: a\r\n{ASK}\r\n".encode(), 1)[0].status == 200
        assert not any("upgrade" in request for request in instance.requests)

    @pytest.mark.parametrize(
        ("head", "status"),
        [
            (ASK.replace("Version: 13", "Version: 8"), 426),
            (ASK.replace("Sec-WebSocket-Version: 13\r\n", ""), 426),
            (ASK.replace(KEY, "short"), 400),
            (ASK + f"Sec-WebSocket-Key: {KEY}\r\n", 400),
            (ASK + "Content-Length: 5\r\n", 400),
        ],
    )
    def test_one_that_asks_wrongly_is_refused(
        self, head: str, status: int, gateway: Callable[..., Running], instance: RawInstance
    ) -> None:
        running = gateway(OPEN, all=instance)
        answer = running.raw(f"GET / HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode(), 1)[0]
        assert answer.status == status
        if status == 426:
            assert answer.one("sec-websocket-version") == "13"
            assert answer.one("upgrade") == "websocket"
        assert instance.connections == 0

    def test_bytes_behind_it_wait_for_the_101(self, gateway: Callable[..., Running], silent: RawInstance) -> None:
        running = gateway(OPEN, all=silent)
        early = frame(TEXT, b"early", masked=True)
        with running.connect() as client:
            client.send(handshake() + early[:3], early[3:])
            peer = silent.accept()
            peer.read_head()
            with pytest.raises(TimeoutError):
                peer.socket.settimeout(0.2)
                peer.read(1)
            peer.socket.settimeout(15)
            peer.send(switching() + frame(TEXT, b"hello"))
            assert read_frame(peer).payload == b"early"
            client.read_head()
            assert read_frame(client).payload == b"hello"

    def test_bytes_behind_it_are_the_next_request_when_it_is_refused(
        self, gateway: Callable[..., Running], instance: RawInstance
    ) -> None:
        running = gateway(OPEN, all=instance)
        answers = running.raw(handshake() + SECOND, 2)
        assert [answer.status for answer in answers] == [200, 200]
        assert instance.requests[0].one("upgrade") == "websocket"
        assert instance.requests[1].target == "/second"
        # What was asked to switch is not used again.
        assert instance.connections == 2

    def test_frames_behind_a_refused_one_are_no_requests(
        self, gateway: Callable[..., Running], instance: RawInstance
    ) -> None:
        running = gateway(OPEN, all=instance)
        answers = running.raw(handshake() + frame(TEXT, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", masked=True))
        assert [answer.status for answer in answers] == [200, 400]
        assert len(instance.requests) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            switching("Sec-WebSocket-Protocol: chat"),
            switching("Sec-WebSocket-Extensions: permessage-deflate"),
            switching("Sec-WebSocket-Extensions: x-any"),
            switching("Upgrade: websocket"),
            switching("Transfer-Encoding: chunked", "Content-Length: 1"),
            switching().replace(b"Accept: ", b"Accept: x"),
            switching().replace(b"Upgrade: websocket\r\n", b""),
            switching().replace(b"Connection: Upgrade\r\n", b""),
            switching().replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        ],
    )
    def test_a_101_that_is_not_what_was_asked_for(self, answer: bytes, gateway: Callable[..., Running]) -> None:
        with RawInstance(answer) as instance:
            running = gateway(OPEN, all=instance)
            assert running.raw(handshake(), 1)[0].status == 502
            # It is never sent twice.
            assert instance.connections == 1

    def test_only_what_the_gateway_understands_is_offered(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        running = gateway(OPEN, all=silent)
        offer = "Sec-WebSocket-Extensions: x-any, permessage-deflate; client_max_window_bits"
        ends = opened(running, silent, offer)
        assert ends.request.one("sec-websocket-extensions") == "permessage-deflate; client_max_window_bits"

    def test_policies_decide_at_the_handshake(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        route = "{prefix: /, service: all, websocket: true, rate_limit: 1/h, cors: {origins: ['http://a']}}"
        running = gateway(f"routes: [{route}]", all=silent)
        ends = opened(running, silent, "Origin: http://a")
        assert ends.answer.one("access-control-allow-origin") == "http://a"
        assert "ratelimit" in ends.answer
        assert running.raw(handshake(), 1)[0].status == 429

    def test_only_connect_failures_are_repeated(
        self, gateway: Callable[..., Running], dead_url: str, silent: RawInstance, opened: Opener
    ) -> None:
        route = "{prefix: /, service: all, websocket: true, retry_on: reset|server_error, retries: 5}"
        running = gateway(f"routes: [{route}]", all=[dead_url, silent])
        for _ in range(2):
            opened(running, silent)
        with running.connect() as client:
            client.send(handshake())
            peer = silent.accept()
            peer.read_head()
            peer.reset()
            assert client.read_answer().status == 502
        with running.connect() as client:
            client.send(handshake())
            peer = silent.accept()
            peer.read_head()
            peer.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
            assert client.read_answer().status == 503
        assert silent.connections == 4


class TestFrames:
    def test_both_ways_in_any_pieces(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        ends = opened(gateway(OPEN, all=silent), silent)
        sent = [frame(TEXT, b"a" * n, masked=True) for n in (0, 1, 125, 126, 70_000)]
        for piece in b"".join(sent[:4]):
            ends.client.send(bytes([piece]))
        ends.client.send(sent[4])
        got = [read_frame(ends.instance) for _ in sent]
        assert [(one.first, len(one.payload), one.masked) for one in got] == [
            (TEXT, n, True) for n in (0, 1, 125, 126, 70_000)
        ]
        ends.instance.send(frame(BINARY, b"b" * 100_000), frame(PING, b"x"))
        assert read_frame(ends.client) == Frame(BINARY, b"b" * 100_000, masked=False)
        ends.client.send(frame(PONG, b"x", masked=True))
        assert read_frame(ends.client).first == PING
        assert read_frame(ends.instance) == Frame(PONG, b"x", masked=True)

    def test_compressed_messages_pass_as_they_are(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        extension = "Sec-WebSocket-Extensions: permessage-deflate"
        ends = opened(gateway(OPEN, all=silent), silent, extension, granted=(extension,))
        ends.client.send(frame(0xC1, b"\xaa\x00", masked=True))
        assert read_frame(ends.instance) == Frame(0xC1, b"\xaa\x00", masked=True)
        ends.instance.send(frame(0xC1, b"\xaa\x00"))
        assert read_frame(ends.client) == Frame(0xC1, b"\xaa\x00", masked=False)

    @pytest.mark.parametrize(
        "bad",
        [
            frame(TEXT, b"unmasked"),
            frame(0xC1, b"rsv1", masked=True),
            frame(0x91, b"rsv3", masked=True),
            frame(0x83, b"reserved", masked=True),
            frame(0x80, b"continuation", masked=True),
            frame(0x09, b"in pieces", masked=True),
            frame(PING, b"x" * 126, masked=True),
            frame(CLOSE, b"x", masked=True),
            b"\x82\xfe\x00\x05",
        ],
    )
    def test_a_client_that_breaks_a_rule(
        self, bad: bytes, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        ends = opened(gateway(OPEN, all=silent), silent)
        ends.client.send(frame(TEXT, b"good", masked=True) + bad)
        assert read_frame(ends.instance).payload == b"good"
        told = read_frame(ends.instance)
        assert (told.code, told.masked) == (1002, True)
        # What it was told before is answered, as it would be without a gateway.
        ends.instance.send(frame(TEXT, b"answer") + close(1000))
        ends.instance.close()
        assert read_frame(ends.client).payload == b"answer"
        assert read_frame(ends.client).code == 1002
        assert ends.client.at_end()

    @pytest.mark.parametrize("goes", [True, False])
    def test_an_instance_that_has_no_last_words(
        self, goes: bool, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        running = gateway(OPEN, all=silent)
        ends = opened(running, silent)
        ends.client.send(frame(TEXT, b"unmasked"))
        assert read_frame(ends.instance).code == 1002
        if goes:
            ends.instance.close()
        else:
            running.advance("1s")
        assert read_frame(ends.client).code == 1002
        running.advance("5s")
        assert ends.client.at_end()

    def test_an_instance_that_breaks_a_rule(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        for bad in (frame(TEXT, b"masked", masked=True), frame(0xC1, b"rsv1"), frame(0x8B)):
            ends = opened(gateway(OPEN, all=silent), silent)
            ends.instance.send(frame(TEXT, b"good") + bad)
            assert read_frame(ends.client).payload == b"good"
            assert read_frame(ends.client).code == 1002
            assert read_frame(ends.instance).code == 1002
            ends.instance.close()
            assert ends.client.at_end()

    @pytest.mark.parametrize(
        ("frames", "passes"),
        [
            ([(0x02, 600), (0x80, 400)], True),
            ([(BINARY, 601)], False),
            ([(0x02, 600), (0x80, 401)], False),
            ([(0x02, 600), (PING, 100), (0x80, 400), (BINARY, 600)], True),
        ],
    )
    def test_sizes_are_bounded(
        self,
        frames: list[tuple[int, int]],
        passes: bool,
        gateway: Callable[..., Running],
        silent: RawInstance,
        opened: Opener,
    ) -> None:
        for masked in (True, False):
            ends = opened(gateway(LIMITED, all=silent), silent)
            source, target = (ends.client, ends.instance) if masked else (ends.instance, ends.client)
            for first, size in frames:
                source.send(frame(first, bytes(size), masked=masked))
            for first, _ in frames if passes else frames[:-1]:
                assert read_frame(target).first == first
            if not passes:
                assert read_frame(target).code == 1009
                if masked:
                    target.send(close(1009))
                assert read_frame(source).code == 1009

    def test_a_bound_breaks_in_only_between_frames(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        """The instance is in the middle of a frame when the client breaks a rule: it finishes it, and says its last."""
        ends = opened(gateway(OPEN, all=silent), silent)
        whole = frame(BINARY, b"z" * 50_000)
        ends.instance.send(whole[:20_000])
        assert ends.client.read(20_000) == whole[:20_000]
        ends.client.send(frame(TEXT, b"unmasked"))
        assert read_frame(ends.instance).code == 1002
        ends.instance.send(whole[20_000:] + frame(TEXT, b"the last") + close(1000) + frame(TEXT, b"too late"))
        assert ends.client.read(30_004) == whole[20_000:]
        assert read_frame(ends.client).payload == b"the last"
        assert read_frame(ends.client).code == 1002
        ends.instance.close()
        assert ends.client.at_end()


class TestEnds:
    def test_the_client_closes(self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener) -> None:
        ends = opened(gateway(OPEN, all=silent), silent)
        ends.client.send(close(3000, masked=True) + frame(TEXT, b"behind it", masked=True))
        assert read_frame(ends.instance).code == 3000
        ends.instance.send(close(3000))
        ends.instance.close()
        assert read_frame(ends.client).code == 3000
        assert ends.client.at_end()
        # Nothing passes behind a Close frame.
        assert ends.instance.pending() == b""

    def test_the_instance_closes(self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener) -> None:
        ends = opened(gateway(OPEN, all=silent), silent)
        ends.instance.send(close(1000))
        assert read_frame(ends.client).code == 1000
        ends.client.send(close(1000, masked=True))
        assert read_frame(ends.instance).code == 1000
        ends.instance.end()
        assert ends.client.at_end()
        ends.client.close()
        assert ends.instance.at_end()

    def test_a_client_that_says_it_closes_and_reads_on(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        ends = opened(gateway(OPEN, all=silent), silent)
        ends.client.send(close(1000, masked=True))
        ends.client.end()
        assert read_frame(ends.instance).code == 1000
        ends.instance.send(frame(TEXT, b"last words"), close(1000))
        assert read_frame(ends.client).payload == b"last words"
        assert read_frame(ends.client).code == 1000

    def test_one_that_goes_without_a_word_takes_the_other_along(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        running = gateway(OPEN, all=silent)
        for leave in (Peer.close, Peer.reset):
            ends = opened(running, silent)
            leave(ends.client)
            assert ends.instance.at_end()
            ends = opened(running, silent)
            leave(ends.instance)
            assert ends.client.at_end()
        wait_until(lambda: running.gateway.stats()["totals"]["tunnels"] == 0)

    def test_silence_ends_it_and_any_frame_ends_silence(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        ends = opened(gateway(ROUTES % "{idle_timeout: 400ms}", all=silent), silent)
        for _ in range(6):
            ends.client.socket.settimeout(0.15)
            with pytest.raises(TimeoutError):
                ends.client.read(1)
            ends.client.send(frame(PING, masked=True))
            assert read_frame(ends.instance).first == PING
        ends.client.socket.settimeout(15)
        assert read_frame(ends.client).code == 1001
        assert read_frame(ends.instance).code == 1001
        ends.client.send(close(1001, masked=True))
        ends.instance.close()
        assert ends.client.at_end()

    def test_one_side_that_stops_reading_holds_up_the_other_and_is_cut_off(
        self, gateway_process: Callable[..., Process], silent: RawInstance, opened: Opener
    ) -> None:
        running = gateway_process(ROUTES % "{idle_timeout: 2s}", all=silent)
        opened(running, silent)
        before = running.memory
        ends = opened(running, silent, receive_buffer=65536)
        ends.instance.socket.settimeout(1)
        piece, sent = frame(BINARY, bytes(60_000)), 0
        with pytest.raises(TimeoutError):
            while sent < 2**30:
                sent += ends.instance.socket.send(piece)
        assert sent < 64 * 2**20
        assert running.memory - before < 4 * 2**20
        ends.instance.socket.settimeout(15)
        assert ends.instance.at_end()

    def test_a_reload_leaves_it_alone(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        running = gateway(OPEN, all=silent)
        ends = opened(running, silent)
        running.apply("routes: [{path: /other, service: all}]", all=silent)
        ends.client.send(frame(TEXT, b"still there", masked=True))
        assert read_frame(ends.instance).payload == b"still there"
        assert running.raw(handshake(), 1)[0].status == 404

    def test_a_drain_says_good_bye_to_both(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        running = gateway(OPEN, all=silent)
        ends = opened(running, silent)
        stopping = threading.Thread(target=running.stop, kwargs={"drain": True})
        stopping.start()
        assert read_frame(ends.client).code == 1001
        told = read_frame(ends.instance)
        assert (told.code, told.masked) == (1001, True)
        ends.client.send(close(1001, masked=True))
        ends.instance.send(close(1001))
        ends.instance.close()
        assert ends.client.at_end()
        ends.client.close()
        stopping.join()

    def test_a_drain_does_not_wait_for_ever(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        """Neither side answers the Close frame."""
        running = gateway("limits: {drain_timeout: 60s}\n" + OPEN, all=silent)
        ends = opened(running, silent)
        running.stop(drain=True)
        assert read_frame(ends.client).code == 1001
        assert ends.client.at_end()


class TestCounting:
    def test_it_is_counted_while_it_is_open_and_logged_when_it_is_over(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener, tmp_path: Path
    ) -> None:
        log = tmp_path / "log"
        running = gateway(f"{OPEN}\npolicies: {{access_log: {{output: '{log}'}}}}", all=silent)
        ends = opened(running, silent)
        totals = running.gateway.stats()["totals"]
        assert (totals["tunnels"], totals["in_flight"], totals["connections"]) == (1, 0, 1)
        assert "pylae_websockets 1\n" in running.gateway.metrics()
        ends.client.send(frame(TEXT, bytes(100), masked=True))
        ends.instance.send(frame(TEXT, bytes(1000)), close(1000))
        read_frame(ends.client)
        ends.client.send(close(1000, masked=True))
        ends.instance.end()
        ends.client.read(4)
        assert ends.client.at_end()
        running.stop(drain=True)
        (line,) = (json.loads(line) for line in log.read_text().splitlines())
        assert (line["status"], line["route"], line["bytes_in"]) == (101, "ws", 106 + 8)
        assert line["bytes_out"] == len(ends.answer.raw_head) + 1004 + 4

    def test_why_the_gateway_closed_it_is_logged(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener, tmp_path: Path
    ) -> None:
        log = tmp_path / "log"
        running = gateway(f"{LIMITED}\npolicies: {{access_log: {{output: '{log}'}}}}", all=silent)
        ends = opened(running, silent)
        ends.client.send(frame(TEXT, bytes(2000), masked=True))
        assert read_frame(ends.client).code == 1009
        ends.instance.close()
        assert ends.client.at_end()
        running.stop(drain=True)
        assert json.loads(log.read_text())["code"] == "websocket_too_large"

    def test_it_does_not_take_the_place_of_a_request(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        running = gateway("limits: {max_requests: 1}\n" + OPEN, all=silent)
        ends = [opened(running, silent) for _ in range(3)]
        with running.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            peer = silent.accept()
            peer.read_request()
            peer.send(OK)
            assert client.read_answer().status == 200
        assert running.gateway.stats()["totals"]["tunnels"] == len(ends)

    def test_it_takes_the_place_of_a_connection(
        self, gateway: Callable[..., Running], silent: RawInstance, opened: Opener
    ) -> None:
        running = gateway("limits: {max_connections: 2}\n" + OPEN, all=silent)
        ends = [opened(running, silent) for _ in range(34)]
        with pytest.raises((AssertionError, ConnectionError)):
            running.get()
        ends[0].client.send(frame(TEXT, b"still there", masked=True))
        assert read_frame(ends[0].instance).payload == b"still there"


def test_a_thousand_idle_sockets(gateway_process: Callable[..., Process]) -> None:
    """What one costs while nothing happens; `docs/guide/websocket.md` states it."""
    count = 1000

    def answer(peer: Peer, _: object) -> None:
        peer.send(switching())
        peer.read(1)

    with RawInstance(answer) as instance:
        instance.listener.listen(1024)
        running = gateway_process("limits: {max_connections: 3000}\n" + OPEN, all=instance)
        clients: list[Peer] = []
        try:
            for place in range(count + 100):
                if place == 100:
                    before = running.memory
                client = running.connect()
                clients.append(client)
                client.send(handshake())
                assert client.read_head().status == 101
            each = (running.memory - before) / count
            print(f"{each / 1024:.1f} KB per idle WebSocket")
            assert each < 16 * 1024
        finally:
            for client in clients:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                client.close()
