"""One end of a TCP connection, for tests that care about bytes."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

PATIENCE = 15.0
"""Seconds after which a test that waits for bytes fails. Nothing waits that long when all is well."""


@dataclass(frozen=True)
class Message:
    """A parsed HTTP/1 message. Field names are in lower case; order and repetitions are kept."""

    start: str
    fields: tuple[tuple[str, str], ...]
    body: bytes = b""
    raw_head: bytes = b""
    trailers: tuple[tuple[str, str], ...] = ()

    @property
    def status(self) -> int:
        """Status of an answer."""
        return int(self.start.split(" ")[1])

    @property
    def method(self) -> str:
        """Method of a request."""
        return self.start.split(" ")[0]

    @property
    def target(self) -> str:
        """Target of a request."""
        return self.start.split(" ")[1]

    def all(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for key, value in self.fields if key == name.lower()]

    def one(self, name: str) -> str | None:
        """The value of a field that must not be repeated."""
        values = self.all(name)
        assert len(values) < 2, f"{name} is repeated: {values}"
        return values[0] if values else None

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))


class Peer:
    """A connected socket with a buffer: every read waits until it has what it was asked for, or fails the test."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._taken = 0

    @property
    def received(self) -> bytes:
        """Every byte that has come, read by the test or not."""
        return bytes(self._received)

    @classmethod
    def connect(cls, address: str, *, receive_buffer: int | None = None) -> Self:
        """Connects to `host:port`; a small receive buffer makes a reader that can be slow."""
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE)
        try:
            connection.connect((host, int(port)))
        except OSError:
            connection.close()
            raise
        return cls(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, *pieces: bytes) -> None:
        """Sends the pieces, each with a call of its own."""
        for piece in pieces:
            self.socket.sendall(piece)

    def end(self) -> None:
        """Says that no more bytes will come (FIN); reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes, in order if everything was read."""
        self.socket.close()

    def reset(self) -> None:
        """Closes with a reset (RST)."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def forget(self) -> None:
        """Drops what was read: `received` does not have it any more."""
        del self._received[: self._taken]
        self._taken = 0

    def pending(self) -> bytes:
        """Bytes that have come and that no read has taken."""
        return bytes(self._received[self._taken :])

    def _more(self) -> bool:
        piece = self.socket.recv(65536)
        self._received += piece
        return bool(piece)

    def _take(self, count: int) -> bytes:
        self._taken += count
        return bytes(self._received[self._taken - count : self._taken])

    def _expect_more(self) -> None:
        # Bounded: a body of megabytes helps nobody in a report.
        assert self._more(), f"closed after {len(self._received)} bytes, the last of them {self._received[-300:]!r}"

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        while len(self._received) - self._taken < count:
            self._expect_more()
        return self._take(count)

    def read_until(self, end: bytes) -> bytes:
        """Everything up to and with `end`."""
        while (found := self._received.find(end, self._taken)) < 0:
            self._expect_more()
        return self._take(found + len(end) - self._taken)

    def read_all(self) -> bytes:
        """Everything until the other side closes in order. A reset raises ConnectionResetError."""
        while self._more():
            pass
        return self._take(len(self._received) - self._taken)

    def at_end(self) -> bool:
        """Waits for the other side to close, by FIN or reset; False if bytes come instead."""
        if self.pending():
            return False
        try:
            return not self._more()
        except ConnectionResetError:
            return True

    def read_head(self) -> Message:
        """The next head, of a request or an answer."""
        head = self.read_until(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        return Message(start, tuple(_field(line) for line in lines), raw_head=head)

    def read_request(self) -> Message:
        """The next request, with its body."""
        head = self.read_head()
        return self._with_body(head, ends_by_close=False)

    def read_answer(self, method: str = "GET", *, interim: bool = False) -> Message:
        """The next answer to a request with `method`, with its body; 1xx are skipped unless `interim` asks for them."""
        while True:
            head = self.read_head()
            if head.status >= 200:
                bodiless = method == "HEAD" or head.status in (204, 304)
                return head if bodiless else self._with_body(head, ends_by_close=True)
            if interim:
                return head

    def _with_body(self, head: Message, *, ends_by_close: bool) -> Message:
        trailers: list[tuple[str, str]] = []
        length = head.one("content-length")
        if "transfer-encoding" in head:
            body, trailers = self._read_chunked()
        elif length is not None:
            body = self.read(int(length))
        else:
            body = self.read_all() if ends_by_close else b""
        return Message(head.start, head.fields, body, head.raw_head, tuple(trailers))

    def _read_chunked(self) -> tuple[bytes, list[tuple[str, str]]]:
        body, trailers = bytearray(), []
        while size := int(self.read_until(b"\r\n"), 16):
            body += self.read(size)
            assert self.read(2) == b"\r\n"
        while (line := self.read_until(b"\r\n")) != b"\r\n":
            trailers.append(_field(line.decode("latin-1").removesuffix("\r\n")))
        return bytes(body), trailers


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    assert colon, f"not a field: {line!r}"
    return name.lower(), value.strip(" \t")


def raw(address: str, data: bytes, count: int | None = None, *, method: str = "GET") -> list[Message]:
    """Sends bytes and gives the answers that come back: `count` of them, or all until the gateway closes.

    `method` is what all the requests in `data` have, where the framing of the answer depends on it.
    """
    answers: list[Message] = []
    with Peer.connect(address) as peer:
        peer.send(data)
        while len(answers) != count if count is not None else peer.pending() or not peer.at_end():
            answers.append(peer.read_answer(method))
    return answers


def accepts(address: str) -> bool:
    """Whether someone takes connections at `host:port`."""
    try:
        Peer.connect(address).close()
    except (ConnectionRefusedError, ConnectionResetError):
        # The latter where the listener is closed in the middle of the kernel's handshake.
        return False
    return True


def wait_until(condition: Callable[[], bool], *, patience: float = PATIENCE) -> None:
    """Waits for something that can only be looked at, such as a counter. `patience` is in seconds."""
    import time

    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
