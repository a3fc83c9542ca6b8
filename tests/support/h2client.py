"""Clients of HTTP/2: one that behaves, and can be made to misbehave frame by frame."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import hpack
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, PingFrame, SettingsFrame, WindowUpdateFrame

from support.peer import PATIENCE

Fields = Sequence[tuple[str, str]]


@dataclass
class Answer:
    """What came on one stream."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None
    """Error code of the reset, if there was one."""

    @property
    def status(self) -> int:
        """Status of the answer."""
        return int(dict(self.fields)[":status"])

    def get(self, name: str) -> str | None:
        """The value of a field that is there at most once."""
        values = [value for key, value in self.fields if key == name]
        assert len(values) < 2, f"{name} is repeated: {values}"
        return values[0] if values else None


class ClosedError(Exception):
    """The gateway ended the connection."""


class FramePeer:
    """A connection that speaks HTTP/2, and may say what is malformed but not what is no HTTP/2."""

    def __init__(self, address: str, *, tls: ssl.SSLContext | None = None, window: int | None = None) -> None:
        host, _, port = address.rpartition(":")
        connection = socket.create_connection((host, int(port)), PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = tls.wrap_socket(connection, server_hostname="localhost") if tls else connection
        self._begin(connection, "https" if tls else "http", window)

    @classmethod
    def on(cls, connection: socket.socket, scheme: str, *, window: int | None = None) -> Self:
        """The same on a connection that is there, behind the handshake of TLS if it has one."""
        peer = cls.__new__(cls)
        peer._begin(connection, scheme, window)
        return peer

    def _begin(self, connection: socket.socket, scheme: str, window: int | None) -> None:
        self.socket = connection
        config = h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="utf-8"
        )
        self.connection = h2.connection.H2Connection(config)
        self.scheme = scheme
        self.answers: dict[int, Answer] = {}
        self.goaway: list[tuple[int, int]] = []
        """Error codes and last streams of every GOAWAY."""
        self.events: list[h2.events.Event] = []
        self.auto_window = True
        """Whether body bytes that came are acknowledged."""
        self.connection.initiate_connection()
        if window is not None:
            self.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes without a word."""
        self.socket.close()

    def flush(self) -> None:
        """Sends what the well-behaved part has to say."""
        # Who is gone is noticed when reading, behind what it said before.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(self.connection.data_to_send())

    def head(self, method: str = "GET", path: str = "/", *fields: tuple[str, str]) -> list[tuple[str, str]]:
        """The fields of a request."""
        return [
            (":method", method),
            (":scheme", self.scheme),
            (":authority", "gateway.test"),
            (":path", path),
            *fields,
        ]

    def request(
        self,
        method: str = "GET",
        path: str = "/",
        *fields: tuple[str, str],
        body: bytes | None = None,
        end: bool = True,
    ) -> int:
        """Sends a request, its body too if it fits into the windows; gives the number of its stream."""
        return self.open(self.head(method, path, *fields), body=body, end=end)

    def open(self, fields: Fields, *, body: bytes | None = None, end: bool = True) -> int:
        """Sends exactly these fields, pseudo-fields among them."""
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream, list(fields), end_stream=end and body is None)
        if body is not None:
            self.connection.send_data(stream, body, end_stream=end)
        self.answers[stream] = Answer()
        self.flush()
        return stream

    def _receive(self) -> None:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise ClosedError
        for event in self.connection.receive_data(data):
            self.events.append(event)
            self._take(event)
        self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway.append((int(event.error_code or 0), event.last_stream_id or 0))
            return
        answer = self.answers.setdefault(getattr(event, "stream_id", None) or 0, Answer())
        if isinstance(event, h2.events.ResponseReceived):
            answer.fields = [(str(name), str(value)) for name, value in event.headers or ()]
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data or b""
            if self.auto_window and event.flow_controlled_length:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = [(str(name), str(value)) for name, value in event.headers or ()]
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code or 0)

    def wait(self, until: Callable[[], bool]) -> None:
        """Reads until something is so. Raises `ClosedError` when the gateway ends the connection."""
        while not until():
            self._receive()

    def answer(self, stream: int) -> Answer:
        """The whole answer of a stream, or its reset."""
        self.wait(lambda: self.answers[stream].ended or self.answers[stream].reset is not None)
        return self.answers[stream]

    def get(self, path: str = "/", *fields: tuple[str, str]) -> Answer:
        """One GET and its answer."""
        return self.answer(self.request("GET", path, *fields))

    def read_to_end(self) -> None:
        """Reads until the gateway ends the connection."""
        while True:
            try:
                self._receive()
            except (ClosedError, h2.exceptions.ProtocolError):
                return


class Flooder:
    """A connection that says whatever a test likes in frames, and keeps every frame that comes."""

    def __init__(self, address: str, *, reads: bool = True) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.encoder = hpack.Encoder()
        self.came: list[Frame] = []
        self.news = threading.Condition()
        """Held while a frame is taken in, and told of it."""
        everything = WindowUpdateFrame(0, window_increment=2**30)
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SettingsFrame(0), everything)
        self._reader = threading.Thread(target=self._read, daemon=True)
        if reads:
            self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        if self._reader.is_alive():
            self._reader.join()
        self.socket.close()

    def send(self, *pieces: bytes | Frame) -> None:
        """Sends bytes and frames with one call."""
        self.socket.sendall(b"".join(piece if isinstance(piece, bytes) else piece.serialize() for piece in pieces))

    def head(
        self, stream: int, *flags: str, method: str = "GET", path: str = "/", fields: Fields = (), more: bytes = b""
    ) -> HeadersFrame:
        """The head of a request; `more` is put behind its fields as it is."""
        pseudo = [(":method", method), (":scheme", "http"), (":authority", "gateway.test"), (":path", path)]
        return HeadersFrame(stream, self.encoder.encode([*pseudo, *fields]) + more, flags=flags)

    def ended(self) -> int | None:
        """Waits until the gateway has ended the connection; the reason that its last GOAWAY gives, if one arrived."""
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "the gateway did not end the connection"
        reasons = [frame.error_code for frame in self.came if isinstance(frame, GoAwayFrame)]
        return reasons[-1] if reasons else None

    def until_ended(self, send: Callable[[int], None], most: int) -> int:
        """Calls `send` with 0, 1, … until that fails, because the gateway has had enough; says how often it did not."""
        for count in range(most):
            try:
                send(count)
            except OSError:
                return count
        return most

    def wait(self, until: Callable[[Frame], bool], count: int = 1) -> list[Frame]:
        """Waits until so many frames of a kind have come."""
        # Looked for with the lock held: the last frames and the end may come together.
        with self.news:
            while len(found := [frame for frame in self.came if until(frame)]) < count:
                assert self._reader.is_alive(), f"the connection ended after {self.came}"
                self.news.wait(PATIENCE)
            return found

    def _read(self) -> None:
        stream = self.socket.makefile("rb")
        with contextlib.suppress(OSError):
            while len(head := stream.read(9)) == 9:
                frame, length = Frame.parse_frame_header(memoryview(head))
                frame.parse_body(memoryview(stream.read(length)))
                with self.news:
                    self.came.append(frame)
                    if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
                        self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
                    self.news.notify_all()
        with self.news:
            self.news.notify_all()
