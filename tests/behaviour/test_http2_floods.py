"""What has brought HTTP/2 servers down, sent for real: each is answered in bounded memory while others are served.

The frames are made by hand, since no client library would send them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import h2.events
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from support.h2client import Flooder, FramePeer
from support.h2servers import H2Connection, H2Instance
from support.instance import OK, EchoInstance, RawInstance
from support.load import load
from support.peer import raw
from support.running import Process, Running

Start = Callable[..., Running]
StartProcess = Callable[..., Process]

ENHANCE_YOUR_CALM = 11
CONFIGURATION = {
    "listeners": [{"address": "127.0.0.1:0", "http2": True}],
    "limits": {"http2": {"max_resets": 50, "max_idle_frames": 200}},
}
CUT_OFF = (ENHANCE_YOUR_CALM, None)
"""Reasons that a client hears that goes too far: none if the reset of the connection overtakes the GOAWAY."""
COMPLETE = ("END_HEADERS", "END_STREAM")
MOST_MEMORY = 24 * 1024 * 1024
"""What a flood may add to the memory of the gateway, at most."""


@contextlib.contextmanager
def others(address: str) -> Iterator[None]:
    """While this runs another client is served, and not one of its requests fails."""
    failures: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            seen = load(address, 50, clients=2)
            if set(seen) != {200}:
                failures.append(seen)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert not failures


@contextlib.contextmanager
def flooded(gateway_process: StartProcess, echo: EchoInstance) -> Iterator[Process]:
    """A gateway that is flooded, and has to stay small and to go on serving."""
    running = gateway_process(CONFIGURATION, echo=echo)
    load(running.address, 200)
    before = running.memory
    with others(running.address):
        yield running
    assert running.peak_memory - before < MOST_MEMORY
    with FramePeer(running.address) as peer:
        assert peer.get().status == 200


def test_rapid_reset(gateway_process: StartProcess, echo: EchoInstance) -> None:
    """CVE-2023-44487: requests that are cancelled at once cost the server more than the client."""
    with flooded(gateway_process, echo) as running:
        for _ in range(3):
            with Flooder(running.address) as peer:

                def send(n: int, peer: Flooder = peer) -> None:
                    peer.send(peer.head(2 * n + 1, *COMPLETE), RstStreamFrame(2 * n + 1, 8))

                assert peer.until_ended(send, 20_000) < 20_000
                assert peer.ended() in CUT_OFF


def test_resets_that_work_pays_for_are_fine(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(CONFIGURATION, echo=echo)
    with FramePeer(running.address) as peer:
        for _ in range(100):
            assert peer.get().status == 200
            stream = peer.request("POST", "/", end=False)
            peer.connection.reset_stream(stream, 8)
            peer.flush()
        assert peer.get().status == 200


def of_stream(kind: int, payload: bytes) -> Callable[[Flooder, int], bytes]:
    """A frame that is not allowed on a stream whose request is complete."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, 0])
    return lambda _, stream: head + stream.to_bytes(4, "big") + payload


RESET_BY = {
    "window too large": of_stream(8, (2**31 - 1).to_bytes(4, "big")),
    "window of nothing": of_stream(8, bytes(4)),
    "body behind the end": of_stream(0, b"x"),
    "head behind the end": lambda peer, stream: peer.head(stream, *COMPLETE).serialize(),
    "priority too short": of_stream(2, bytes(4)),
    "priority over itself": lambda _, stream: of_stream(2, stream.to_bytes(4, "big") + b"\0")(_, stream),
}
"""What has servers reset a stream on which they are at work."""


@pytest.mark.parametrize("how", RESET_BY)
def test_made_you_reset(gateway_process: StartProcess, echo: EchoInstance, how: str) -> None:
    """CVE-2025-8671: the client has the server reset its streams, by frames that are not allowed."""
    with flooded(gateway_process, echo) as running, Flooder(running.address) as peer:

        def send(n: int) -> None:
            stream = 2 * n + 1
            peer.send(peer.head(stream, *COMPLETE), RESET_BY[how](peer, stream))

        assert peer.until_ended(send, 20_000) < 20_000
        # Some of them are errors of the connection.
        assert peer.ended() not in (0, 2)


def test_requests_that_are_malformed_again_and_again(gateway_process: StartProcess, echo: EchoInstance) -> None:
    with flooded(gateway_process, echo) as running, Flooder(running.address) as peer:
        fields = [("connection", "close")]
        send = lambda n: peer.send(peer.head(2 * n + 1, *COMPLETE, fields=fields))  # noqa: E731
        assert peer.until_ended(send, 20_000) < 20_000
        assert peer.ended() in CUT_OFF


@pytest.mark.parametrize("piece", [b"", b"\x00\x03abc\x7f\x80\x01" + b"x" * 255], ids=["empty", "fields"])
def test_continuation_flood(gateway_process: StartProcess, echo: EchoInstance, piece: bytes) -> None:
    """CVE-2024-27316: a head that never ends."""
    with flooded(gateway_process, echo) as running, Flooder(running.address) as peer:
        peer.send(peer.head(1, "END_STREAM"))
        assert peer.until_ended(lambda _: peer.send(ContinuationFrame(1, piece)), 50_000) < 50_000
        assert peer.ended() in CUT_OFF


def test_hpack_bomb(gateway_process: StartProcess, echo: EchoInstance) -> None:
    """A few bytes that refer to a large field of the table again and again."""
    with flooded(gateway_process, echo) as running, Flooder(running.address) as peer:
        value = b"x" * 3000
        # A literal that enters the table (RFC 7541 section 6.2.1), then nothing but references to it.
        length = bytes([(len(value) - 127) & 0x7F | 0x80, (len(value) - 127) >> 7])
        literal = b"\x40\x01x\x7f" + length + value
        pseudo = b"\x82\x86\x84\x01\x01a"
        # Sixteen thousand bytes that would be thirty-six million as text.
        peer.send(HeadersFrame(1, pseudo + literal + b"\xbe" * 12_000, flags=COMPLETE))
        assert peer.ended() in CUT_OFF


def test_too_many_fields_and_too_large_heads(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(CONFIGURATION, echo=echo)
    with FramePeer(running.address) as peer:
        fields = [(f"x-{number}", "1") for number in range(101)]
        assert peer.get("/", *fields).status == 431
        assert peer.get("/", *fields[:90]).status == 200
        assert peer.get("/", ("x", "y" * 33_000)).status == 431
        assert peer.get("/?" + "q" * 9_000).status == 414
        assert peer.get("/").status == 200


@pytest.mark.parametrize(
    "frame",
    [
        SettingsFrame(0, settings={4: 65535}),
        PingFrame(0, b"12345678"),
        PriorityFrame(99, stream_weight=1),
        WindowUpdateFrame(0, window_increment=1),
        DataFrame(1, b""),
        DataFrame(1, b"x"),
    ],
    ids=["settings", "ping", "priority", "window", "empty data", "crumbs"],
)
def test_frames_that_carry_nothing(gateway_process: StartProcess, echo: EchoInstance, frame: Frame) -> None:
    """CVE-2019-9512, 9513, 9515, 9518: cheap to send, and each wants to be looked at or answered."""
    with flooded(gateway_process, echo) as running, Flooder(running.address) as peer:
        peer.send(peer.head(1, "END_HEADERS", method="POST"))
        many = frame.serialize() * 10
        assert peer.until_ended(lambda _: peer.send(many), 50_000) < 50_000
        assert peer.ended() in CUT_OFF


MESSAGE = DataFrame(1, bytes(5)).serialize()
"""The smallest message of gRPC."""
WINDOW_FULL = 65_535 // 5
"""So many of them fit into a window that nobody has enlarged."""


def test_small_messages_that_wait_are_no_flood(gateway_process: StartProcess) -> None:
    """A call that streams, to a service that is busy: what its client may send at once waits in little memory."""
    services = {"one": {"max_in_flight": 1, "queue": {"size": 1, "timeout": "20s"}}}
    with RawInstance() as instance:
        running = gateway_process({**CONFIGURATION, "services": services}, one=instance)
        before = running.memory
        with running.connect() as first, Flooder(running.address) as peer:
            first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            busy = instance.accept()
            busy.read_head()
            peer.send(peer.head(1, "END_HEADERS", method="POST"), MESSAGE * WINDOW_FULL, PingFrame(0, b"12345678"))
            # Everything in front of it has been read.
            peer.wait(lambda frame: isinstance(frame, PingFrame))
            busy.send(OK)
            assert first.read_answer().status == 200
            peer.send(DataFrame(1, b"", flags=["END_STREAM"]))
            assert busy.read_request().body == bytes(5 * WINDOW_FULL)
            busy.send(OK)
            peer.wait(lambda frame: isinstance(frame, DataFrame) and "END_STREAM" in frame.flags)
        assert running.peak_memory - before < MOST_MEMORY


def test_small_messages_that_a_client_does_not_take_are_no_flood(gateway_process: StartProcess) -> None:
    """The same from an instance: it would be all exchanges on its connection that end with it."""

    def answer(connection: H2Connection, stream: int, fields: dict[str, str]) -> None:
        if fields[":path"] == "/small":
            connection.h2.send_headers(stream, [(":status", "200")])
            connection.flush()
            connection.peer.sendall(MESSAGE * WINDOW_FULL)
        else:
            connection.answer(stream)

    with H2Instance(answer) as instance:
        services = {"one": {"protocol": "http2"}}
        running = gateway_process({**CONFIGURATION, "services": services}, one=instance)
        before = running.memory
        with FramePeer(running.address, window=0) as peer:
            stream = peer.request("GET", "/small")
            peer.wait(lambda: bool(peer.answers[stream].fields))
            # On the same connection, behind all of them.
            assert raw(running.address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1)[0].body == b"ok"
            peer.connection.increment_flow_control_window(2**24, stream)
            peer.connection.increment_flow_control_window(2**24)
            peer.auto_window = False
            peer.flush()
            peer.wait(lambda: len(peer.answers[stream].body) == 5 * WINDOW_FULL)
        assert len(instance.connections) == 1
        assert running.peak_memory - before < MOST_MEMORY


def test_small_messages_behind_a_cancellation_are_no_flood(gateway: Start) -> None:
    """What was under way when a client left says nothing about the connection that others share."""
    late = threading.Event()

    class Late(H2Connection):
        """Goes on for a while with what nobody wants any more."""

        def _take(self, event: h2.events.Event) -> None:
            super()._take(event)
            if isinstance(event, h2.events.StreamReset):
                self.peer.sendall(DataFrame(event.stream_id, bytes(5)).serialize() * WINDOW_FULL)
                late.set()

    def answer(connection: H2Connection, stream: int, fields: dict[str, str]) -> None:
        if fields[":path"] == "/small":
            connection.h2.send_headers(stream, [(":status", "200")])
        else:
            connection.answer(stream)

    with H2Instance(answer) as instance:
        instance.connection = Late
        running = gateway({"services": {"one": {"protocol": "http2"}}}, one=instance)
        with running.connect() as client:
            client.send(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.read_head().status == 200
        assert late.wait(20)
        assert running.get("/").body == b"ok"
        assert len(instance.connections) == 1


def test_empty_frames_now_and_then_are_no_flood(gateway: Start) -> None:
    """Their number is bounded by time and work, not for the life of a connection."""
    empty = DataFrame(1, b"").serialize()

    def answer(connection: H2Connection, stream: int, _: dict[str, str]) -> None:
        connection.h2.send_headers(stream, [(":status", "200")])
        connection.flush()
        connection.peer.sendall(DataFrame(stream, b"").serialize() * 150)
        connection.h2.send_data(stream, b"ok", end_stream=True)

    with H2Instance(answer) as instance:
        configuration = {"listeners": CONFIGURATION["listeners"], "services": {"one": {"protocol": "http2"}}}
        running = gateway(configuration, one=instance)
        with Flooder(running.address) as peer:
            for stream in (1, 3, 5):
                peer.send(peer.head(stream, "END_HEADERS", method="POST"))
                peer.send(empty.replace(b"\1", bytes([stream])) * 150, DataFrame(stream, b"x", flags=["END_STREAM"]))
                peer.wait(lambda frame: isinstance(frame, DataFrame) and "END_STREAM" in frame.flags, (stream + 1) // 2)
        assert len(instance.connections) == 1


def test_answers_that_nobody_reads_do_not_pile_up(gateway_process: StartProcess, echo: EchoInstance) -> None:
    """CVE-2019-9512: a client that asks for acknowledgements and does not take them."""
    with flooded(gateway_process, echo) as running, Flooder(running.address, reads=False) as peer:
        peer.socket.settimeout(1)
        many = PingFrame(0, b"12345678").serialize() * 100
        # Until it is cut off, or nothing more is read of what it says.
        assert peer.until_ended(lambda _: peer.send(many), 50_000) < 50_000


def test_more_streams_than_allowed_are_refused(gateway: Start) -> None:
    with RawInstance() as instance:
        running = gateway({**CONFIGURATION, "limits": {"http2": {"max_streams": 3}}}, instance=instance)
        with Flooder(running.address) as peer:
            # Sent before the client can have heard of the bound.
            peer.send(*(peer.head(2 * n + 1, *COMPLETE) for n in range(5)))
            refused = peer.wait(lambda frame: isinstance(frame, RstStreamFrame), 2)
            assert [(frame.stream_id, frame.error_code) for frame in refused] == [(7, 7), (9, 7)]


def test_windows_of_zero_do_not_hold_an_exchange_for_ever(gateway: Start) -> None:
    """CVE-2019-9517: answers that are asked for and never let in."""
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
    with RawInstance(body) as instance:
        running = gateway({**CONFIGURATION, "limits": {"body_grace": "300ms"}}, instance=instance)
        with FramePeer(running.address, window=0) as peer:
            peer.auto_window = False
            answer = peer.answer(peer.request())
            assert (answer.status, answer.body, answer.reset) == (200, b"", 2)
            assert running.gateway.stats()["totals"]["in_flight"] == 0


def test_a_head_has_one_deadline_however_it_trickles(gateway: Start, echo: EchoInstance) -> None:
    running = gateway({**CONFIGURATION, "limits": {"head_timeout": "300ms"}}, echo=echo)
    with Flooder(running.address) as peer:
        peer.send(peer.head(3, "END_STREAM"))
        assert peer.ended() == ENHANCE_YOUR_CALM


def test_a_head_in_one_frame_has_the_same_deadline(gateway: Start) -> None:
    """Also while another exchange keeps the connection busy."""
    with RawInstance() as instance:
        running = gateway({**CONFIGURATION, "limits": {"head_timeout": "300ms"}}, instance=instance)
        with Flooder(running.address) as peer:
            peer.send(peer.head(1, *COMPLETE))
            instance.accept()
            peer.send(peer.head(3, *COMPLETE).serialize()[:12])
            assert peer.ended() == ENHANCE_YOUR_CALM


def test_a_connection_without_a_request_is_closed(gateway: Start, echo: EchoInstance) -> None:
    running = gateway({**CONFIGURATION, "limits": {"head_timeout": "300ms", "keep_alive": "300ms"}}, echo=echo)
    with running.connect() as silent:
        silent.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        silent.read_all()
    with Flooder(running.address) as peer:
        assert peer.ended() == 0
    with Flooder(running.address) as peer:
        peer.send(peer.head(1, *COMPLETE))
        assert peer.ended() == 0
        assert [frame.stream_id for frame in peer.came if isinstance(frame, HeadersFrame)] == [1]


def test_bodies_that_nobody_takes_are_bounded(gateway_process: StartProcess) -> None:
    """Windows are opened only as the instance takes what has come."""
    with RawInstance() as instance:
        running = gateway_process({**CONFIGURATION, "limits": {"max_body": "1GB", "min_rate": 0}}, instance=instance)
        before = running.memory
        with FramePeer(running.address) as peer:
            streams = [peer.request("POST", "/", end=False) for _ in range(50)]
            sent = 0
            while (window := min(16384, peer.connection.local_flow_control_window(streams[0]))) > 0:
                for stream in streams:
                    room = min(window, peer.connection.local_flow_control_window(stream))
                    if room > 0:
                        peer.connection.send_data(stream, b"x" * room)
                        sent += room
                peer.flush()
            assert 65_000 < sent <= 2**20
            assert running.memory - before < MOST_MEMORY
