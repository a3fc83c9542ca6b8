"""What is no HTTP/2, frame by frame, from clients and from instances: refused, and no further than it has to be.

The frames are made by hand, since no library would send them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Self

import hpack
import pytest
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
)

from support.h2client import Flooder
from support.instance import EchoInstance, RawInstance
from support.peer import PATIENCE
from support.running import Running

Start = Callable[..., Running]

LISTENER = {"listeners": [{"address": "127.0.0.1:0", "http2": True}]}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PROTOCOL_ERROR = 1
WHOLE = ("END_HEADERS", "END_STREAM")


def is_end(stream: int) -> Callable[[Frame], bool]:
    """Tells frames that end a stream."""
    return lambda frame: (
        frame.stream_id == stream and (isinstance(frame, RstStreamFrame) or "END_STREAM" in frame.flags)
    )


def status(head: Frame) -> str:
    """The status in the first head that a connection has brought."""
    assert isinstance(head, HeadersFrame)
    return next(str(value) for name, value in hpack.Decoder().decode(head.data) if name == ":status")


@pytest.mark.parametrize("field", [(":path", "/other"), (":status", "200"), (":x", "y")])
def test_pseudo_fields_in_trailers_reset_the_stream(gateway: Start, field: tuple[str, str]) -> None:
    with RawInstance() as instance:
        running = gateway(LISTENER, instance=instance)
        with Flooder(running.address) as peer:
            peer.send(peer.head(1, "END_HEADERS", method="POST"), DataFrame(1, b"x"))
            asked = instance.accept()
            asked.read_until(b"1\r\nx\r\n")
            peer.send(HeadersFrame(1, peer.encoder.encode([field]), flags=WHOLE))
            (reset,) = peer.wait(lambda frame: isinstance(frame, RstStreamFrame))
            assert (reset.stream_id, reset.error_code) == (1, PROTOCOL_ERROR)
            # Its instance does not take what has come for the whole.
            assert asked.read_all() == b""
            peer.send(PingFrame(0, b"12345678"))
            peer.wait(lambda frame: isinstance(frame, PingFrame))


@pytest.mark.parametrize(
    "first",
    [PingFrame(0, b"12345678"), SettingsFrame(0, flags=["ACK"]), HeadersFrame(1, b"\x82\x86\x84", flags=WHOLE)],
    ids=["ping", "acknowledgement", "request"],
)
def test_a_preface_without_settings_ends_the_connection(gateway: Start, echo: EchoInstance, first: Frame) -> None:
    running = gateway(LISTENER, echo=echo)
    with socket.create_connection(("127.0.0.1", int(running.address.rpartition(":")[2])), 20) as peer:
        peer.sendall(PREFACE + first.serialize())
        stream = peer.makefile("rb")
        frames = list(_frames(stream))
    assert [frame.error_code for frame in frames if isinstance(frame, GoAwayFrame)] == [PROTOCOL_ERROR]
    assert echo.count == 0


def _frames(stream: object) -> Iterator[Frame]:
    with contextlib.suppress(ConnectionResetError):
        while len(head := stream.read(9)) == 9:  # type: ignore[attr-defined]
            frame, length = Frame.parse_frame_header(memoryview(head))
            frame.parse_body(memoryview(stream.read(length)))  # type: ignore[attr-defined]
            yield frame


def test_a_fragment_gets_400(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(LISTENER, echo=echo)
    with Flooder(running.address) as peer:
        peer.send(peer.head(1, *WHOLE, path="/a#b"))
        (head, *_) = peer.wait(lambda frame: isinstance(frame, HeadersFrame))
        assert status(head) == "400"
    assert echo.count == 0


@pytest.mark.parametrize("name", ["X-Upper", "x y", ":x", ""])
def test_a_field_without_a_name_resets_its_stream_and_no_other(gateway: Start, echo: EchoInstance, name: str) -> None:
    running = gateway(LISTENER, echo=echo)
    with Flooder(running.address) as peer:
        peer.send(peer.head(1, *WHOLE, fields=[(name, "1")]), peer.head(3, *WHOLE))
        peer.wait(is_end(3))
        (reset,) = [frame for frame in peer.came if isinstance(frame, RstStreamFrame)]
        assert (reset.stream_id, reset.error_code) == (1, PROTOCOL_ERROR)
    assert echo.count == 1


def test_mistakes_that_are_far_apart_do_not_add_up(gateway: Start, echo: EchoInstance) -> None:
    """What is reset is counted as long as the connection lives, but exchanges that are served pay for it."""
    running = gateway({**LISTENER, "limits": {"http2": {"max_resets": 5}}}, echo=echo)
    with Flooder(running.address) as peer:
        for number in range(50):
            wrong, right = 4 * number + 1, 4 * number + 3
            peer.send(peer.head(wrong, *WHOLE, fields=[("connection", "close")]), peer.head(right, *WHOLE))
            peer.wait(is_end(wrong))
            peer.wait(is_end(right))
        # At once: the gateway hangs up in the middle.
        peer.send(*(peer.head(4 * number + 1, *WHOLE, fields=[("connection", "close")]) for number in range(50, 60)))
        assert peer.ended() in (11, None)


class RawServer:
    """An instance that answers each connection with frames that a test makes, and keeps what the gateway says."""

    def __init__(self, *answer: Frame | tuple[str, list[tuple[str, str]]], first: Frame | None = None) -> None:
        self._answer = answer
        self._first = first or SettingsFrame(0)
        self.said: list[Frame] = []
        self._news = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.listener.accept()
                with peer:
                    self._serve(peer)

    def _serve(self, peer: socket.socket) -> None:
        stream, encoder = peer.makefile("rb"), hpack.Encoder()
        stream.read(len(PREFACE))
        peer.sendall(self._first.serialize())
        for frame in _frames(stream):
            with self._news:
                self.said.append(frame)
                self._news.notify_all()
            if isinstance(frame, HeadersFrame):
                for piece in self._answer:
                    if not isinstance(piece, Frame):
                        flags = ["END_HEADERS", "END_STREAM"] if piece[0] == "last" else ["END_HEADERS"]
                        piece = HeadersFrame(frame.stream_id, encoder.encode(piece[1]), flags=flags)
                    piece.stream_id = piece.stream_id and frame.stream_id
                    peer.sendall(piece.serialize())

    def reason(self) -> tuple[type[Frame], int]:
        """How and why the gateway has ended the first stream or connection that it has ended for a reason."""
        with self._news:
            while not (found := [frame for frame in self.said if getattr(frame, "error_code", 0)]):
                assert self._news.wait(PATIENCE)
            return type(found[0]), found[0].error_code  # type: ignore[attr-defined]


BOTH = {
    "services": {"one": {"protocol": "http2"}},
    "routes": [{"name": "a", "prefix": "/", "service": "one", "retries": 0}],
}
OK = ("more", [(":status", "200")])

ANSWERS: dict[str, tuple[Frame | tuple[str, list[tuple[str, str]]], ...]] = {
    "a request's pseudo-field": (("last", [(":status", "200"), (":path", "/")]),),
    "a pseudo-field behind others": (("last", [("x", "y"), (":status", "200")]),),
    "no status": (("last", [("x", "y")]),),
    "two of them": (("last", [(":status", "200"), (":status", "200")]),),
    "a switch of protocols": (("last", [(":status", "101")]),),
    "an interim answer that ends": (("last", [(":status", "103")]),),
    "a field of the connection": (("last", [(":status", "200"), ("connection", "close")]),),
    "a body before a head": (DataFrame(1, b"x", flags=["END_STREAM"]),),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_that_are_none_are_502(gateway: Start, case: str) -> None:
    with RawServer(*ANSWERS[case]) as instance:
        running = gateway(BOTH, one=instance.url)
        assert running.get("/").status == 502
        assert instance.reason() == (RstStreamFrame, PROTOCOL_ERROR)


@pytest.mark.parametrize("trailer", [(":status", "200"), (":path", "/"), ("X-Upper", "1"), ("connection", "close")])
def test_trailers_of_an_instance_are_checked(gateway: Start, trailer: tuple[str, str]) -> None:
    with RawServer(OK, DataFrame(1, b"half"), ("last", [trailer])) as instance:
        running = gateway({**LISTENER, **BOTH}, one=instance.url)
        with Flooder(running.address) as peer:
            peer.send(peer.head(1, *WHOLE))
            # An answer whose trailers are malformed is not complete, or none if they were there before it was read.
            end = peer.wait(is_end(1))[0]
            head = next(frame for frame in peer.came if isinstance(frame, HeadersFrame))
            assert isinstance(end, RstStreamFrame) or status(head) == "502"
        assert instance.reason() == (RstStreamFrame, PROTOCOL_ERROR)


def test_an_instance_cannot_switch_push_on(gateway: Start) -> None:
    settings = SettingsFrame(0, settings={SettingsFrame.ENABLE_PUSH: 1})
    with RawServer(("last", [(":status", "200")]), first=settings) as instance:
        running = gateway(BOTH, one=instance.url)
        assert running.get("/").status == 502
        assert instance.reason() == (GoAwayFrame, PROTOCOL_ERROR)


def test_an_instance_cannot_push(gateway: Start) -> None:
    promise = PushPromiseFrame(1, 2, b"\x82\x86\x84\x41\x01a", flags=["END_HEADERS"])
    with RawServer(promise) as instance:
        running = gateway(BOTH, one=instance.url)
        assert running.get("/").status == 502
        assert instance.reason() == (GoAwayFrame, PROTOCOL_ERROR)


def test_an_instance_begins_with_settings(gateway: Start) -> None:
    with RawServer(("last", [(":status", "200")]), first=PingFrame(0, b"12345678")) as instance:
        running = gateway(BOTH, one=instance.url)
        assert running.get("/").status == 502
        assert instance.reason() == (GoAwayFrame, PROTOCOL_ERROR)
