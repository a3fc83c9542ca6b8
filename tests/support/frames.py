"""WebSocket by hand, for tests that care about bytes (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from support.instance import RawInstance
from support.peer import Message, Peer
from support.running import Process, Running

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ASK = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
"""The fields of a handshake."""
MASK = bytes([0x37, 0xFA, 0x21, 0x3D])

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
"""First bytes of whole frames."""


@dataclass(frozen=True)
class Frame:
    """A frame as it came."""

    first: int
    payload: bytes
    masked: bool

    @property
    def code(self) -> int:
        """Status code of a Close frame."""
        assert self.first == CLOSE, self
        return int.from_bytes(self.payload[:2], "big")


def frame(first: int, payload: bytes = b"", *, masked: bool = False) -> bytes:
    """A frame; `masked` is how a client sends it."""
    length, bit = len(payload), 0x80 if masked else 0
    if length < 126:
        head = bytes([first, bit | length])
    elif length < 2**16:
        head = bytes([first, bit | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + length.to_bytes(8, "big")
    return head + (MASK + _mask(payload, MASK) if masked else payload)


def close(code: int, *, masked: bool = False) -> bytes:
    """A Close frame."""
    return frame(CLOSE, code.to_bytes(2, "big"), masked=masked)


def _mask(payload: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))


def read_frame(peer: Peer) -> Frame:
    """The next frame."""
    first, second = peer.read(2)
    length = second & 0x7F
    if length >= 126:
        length = int.from_bytes(peer.read(2 if length == 126 else 8), "big")
    key = peer.read(4) if second & 0x80 else b""
    payload = peer.read(length)
    return Frame(first, _mask(payload, key) if key else payload, bool(key))


def accept_for(key: str) -> str:
    """Value of `Sec-WebSocket-Accept` for a key."""
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def switching(*fields: str) -> bytes:
    """A 101 that accepts `ASK`."""
    lines = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept_for(KEY)}", *fields)
    return ("HTTP/1.1 101 Switching Protocols\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode()


def handshake(*fields: str, target: str = "/") -> bytes:
    """A request that asks for a WebSocket."""
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"GET {target} HTTP/1.1\r\nHost: gateway.test\r\n{ASK}{lines}\r\n".encode()


@dataclass(frozen=True)
class Opened:
    """An open WebSocket: the client's end, the instance's end, the request that this got and the client's 101."""

    client: Peer
    instance: Peer
    request: Message
    answer: Message


class Opener:
    """Opens WebSockets through gateways, and closes what is left of them in the end."""

    def __init__(self) -> None:
        self.clients: list[Peer] = []

    def __call__(
        self,
        running: Running | Process,
        instance: RawInstance,
        *fields: str,
        granted: tuple[str, ...] = (),
        **options: int,
    ) -> Opened:
        """Opens one to an instance that has no answers of its own."""
        client = running.connect(**options)
        self.clients.append(client)
        client.send(handshake(*fields))
        peer = instance.accept()
        request = peer.read_head()
        peer.send(switching(*granted))
        return Opened(client, peer, request, client.read_head())

    def close(self) -> None:
        """Closes the clients' ends."""
        for client in self.clients:
            client.close()
