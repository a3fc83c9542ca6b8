"""WebSocket over HTTP/2 (RFC 8441): the same tunnels, opened by an extended CONNECT."""

from __future__ import annotations

import threading
from collections.abc import Callable

import h2.settings
from hyperframe.frame import DataFrame, HeadersFrame

from support.frames import accept_for, close, frame
from support.h2client import Flooder, FramePeer
from support.instance import EchoInstance, RawInstance
from support.peer import Message, Peer
from support.running import Running

Start = Callable[..., Running]

CONFIGURATION = {
    "listeners": [{"address": "127.0.0.1:0", "http2": True}],
    "routes": [
        {"name": "chat", "prefix": "/chat", "service": "echo", "websocket": True},
        {"name": "plain", "prefix": "/", "service": "echo"},
    ],
}
TEXT, CLOSE = 0x81, 0x88


def opening(peer: FramePeer, path: str, protocol: str = "websocket", *fields: tuple[str, str]) -> int:
    """Asks for a tunnel; gives the number of its stream."""
    return peer.open(
        [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "http"),
            (":authority", "gateway.test"),
            (":path", path),
            ("sec-websocket-version", "13"),
            ("origin", "https://shop.example"),
            *fields,
        ],
        end=False,
    )


def echo(peer: Peer, request: Message) -> None:
    """Grants a handshake, sends one frame back unmasked, and answers a Close frame."""
    key = request.one("sec-websocket-key")
    assert key
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    peer.send(f"{head}Sec-WebSocket-Accept: {accept_for(key)}\r\nX-Chat: 7\r\n\r\n".encode())
    while True:
        first, length = peer.read(2)
        mask = peer.read(4)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(peer.read(length & 0x7F)))
        peer.send(frame(first, payload))
        if first == CLOSE:
            return peer.close()


def test_a_tunnel_opens_carries_frames_and_closes(gateway: Start) -> None:
    with RawInstance(echo) as instance:
        running = gateway(CONFIGURATION, echo=instance)
        with FramePeer(running.address) as peer:
            stream = opening(peer, "/chat?room=1", "websocket", ("sec-websocket-protocol", "chat"))
            peer.wait(lambda: bool(peer.answers[stream].fields))
            answer = peer.answers[stream]
            assert (answer.status, answer.get("x-chat"), answer.ended) == (200, "7", False)
            assert not {"upgrade", "connection", "sec-websocket-accept"} & {name for name, _ in answer.fields}
            assert peer.connection.remote_settings[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1
            for text in (b"hello", b"there"):
                answer.body = b""
                peer.connection.send_data(stream, frame(TEXT, text, masked=True))
                peer.flush()
                peer.wait(lambda text=text: answer.body == frame(TEXT, text))  # type: ignore[misc]
            answer.body = b""
            peer.connection.send_data(stream, close(1000, masked=True))
            peer.flush()
            assert peer.answer(stream).body == close(1000)
        asked = instance.requests[0]
        assert (asked.method, asked.target) == ("GET", "/chat?room=1")
        assert asked.one("sec-websocket-protocol") == "chat"
        assert asked.one("origin") == "https://shop.example"


def test_a_stop_says_good_bye(gateway: Start) -> None:
    with RawInstance(echo) as instance:
        running = gateway(CONFIGURATION, echo=instance)
        with Flooder(running.address) as peer:
            fields = [(":protocol", "websocket"), ("sec-websocket-version", "13")]
            peer.send(peer.head(1, "END_HEADERS", method="CONNECT", path="/chat", fields=fields))
            peer.wait(lambda seen: isinstance(seen, HeadersFrame))
            stopping = threading.Thread(target=lambda: running.stop(drain=True))
            stopping.start()
            said = peer.wait(lambda seen: isinstance(seen, DataFrame))[0]
            assert (said.data[0], int.from_bytes(said.data[2:4], "big")) == (CLOSE, 1001)
            peer.send(DataFrame(1, close(1001, masked=True), flags=["END_STREAM"]))
            assert peer.ended() == 0
            stopping.join()


def test_a_route_without_websocket_grants_none(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(CONFIGURATION, echo=echo)
    with FramePeer(running.address) as peer:
        answer = peer.answer(opening(peer, "/plain"))
        # HTTP_1_1_REQUIRED: what the instance said to a plain GET is not taken for a tunnel.
        assert (answer.reset, answer.fields) == (13, [])
        assert peer.get("/plain").status == 200


def test_handshakes_are_checked_as_on_http1(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(CONFIGURATION, echo=echo)
    with FramePeer(running.address) as peer:
        wrong = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "gateway.test"),
            (":path", "/chat"),
            ("sec-websocket-version", "8"),
        ]
        answer = peer.answer(peer.open(wrong, end=False))
        assert (answer.status, answer.get("sec-websocket-version")) == (426, "13")
        # An instance that does not grant it: its answer is not one to a handshake.
        assert peer.answer(opening(peer, "/chat")).fields == []
        assert peer.answer(opening(peer, "/chat", "connect-udp")).status == 501
    assert echo.count == 1
