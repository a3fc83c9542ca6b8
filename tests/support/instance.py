"""Instances that a test starts and looks into."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Self

from support.peer import PATIENCE, Message, Peer

Answer = bytes | Sequence[bytes] | Callable[[Peer, Message], None]
"""What to answer a request with: bytes, pieces of bytes each sent by itself, or a function that does it."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class RawInstance:
    """An instance that keeps every byte it gets and answers with exactly the bytes it is told.

    With answers, each complete request gets the next one and the last one for ever after (`RawInstance(OK)`); a
    function is called with the peer and the request. Without, the test does it all: `peer = instance.accept()`.
    With a `context` it speaks TLS.
    """

    def __init__(self, *answers: Answer, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.url = f"{'https' if context else 'http'}://{self.address}"
        self.requests: list[Message] = []
        """Complete requests that came, over all connections."""
        self.peers: list[Peer] = []
        """All connections that were accepted."""
        self._answers = list(answers)
        self._accepted: queue.SimpleQueue[Peer] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def received(self) -> bytes:
        """Every byte that has been read, connections one after the other."""
        return b"".join(peer.received for peer in self.peers)

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return len(self.peers)

    def accept(self) -> Peer:
        """The next connection."""
        return self._accepted.get(timeout=PATIENCE)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if self._context:
                connection.settimeout(PATIENCE)
                try:
                    connection = self._context.wrap_socket(connection, server_side=True)
                except OSError:
                    connection.close()
                    continue
            peer = Peer(connection)
            self.peers.append(peer)
            self._accepted.put(peer)
            if self._answers:
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: Peer) -> None:
        # The gateway may close at any time, which is what ends this.
        with contextlib.suppress(OSError, AssertionError):
            peer.socket.settimeout(None)
            while True:
                request = peer.read_request()
                with self._lock:
                    self.requests.append(request)
                    answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if callable(answer):
                    answer(peer, request)
                else:
                    peer.send(*((answer,) if isinstance(answer, bytes) else answer))

    def stop(self) -> None:
        """Refuses new connections and closes those that are open."""
        with contextlib.suppress(OSError):
            # Wakes the thread that accepts; closing alone does not.
            self.listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class EchoInstance:
    """A small fast HTTP instance that answers every request with a JSON description of it.

    `{"instance", "method", "target", "headers": [[name, value], …], "body"}`; names in lower case, body in Latin-1.
    """

    def __init__(self, name: str = "echo") -> None:
        self.name = name
        self.methods: Counter[str] = Counter()
        """Requests answered, by their methods."""
        self._loop = asyncio.new_event_loop()
        self._transports: set[asyncio.Transport] = set()
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self._server = self._loop.run_until_complete(self._loop.create_server(lambda: _Echo(self), sock=listener))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """Requests answered."""
        return self.methods.total()

    def stop(self) -> None:
        """Refuses new connections and closes those that are open."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        # Connections that are being accepted become transports first.
        if accepting := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(accepting)
        for transport in self._transports:
            transport.abort()
        # They are closed one turn of the loop later.
        await asyncio.sleep(0)
        await self._server.wait_closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Echo(asyncio.Protocol):
    def __init__(self, instance: EchoInstance) -> None:
        self._instance = instance
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._instance._transports.add(transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._instance._transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            start, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
            fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            body = self._body(dict(fields), end + 4)
            if body is None:
                return
            self._answer(start, fields, body)

    def _body(self, fields: dict[str, str], at: int) -> bytes | None:
        """The body that begins at `at`, taken out of the buffer; None if there is more to come."""
        if "transfer-encoding" not in fields:
            end = at + int(fields.get("content-length", 0))
            if len(self._buffer) < end:
                return None
            body, self._buffer = self._buffer[at:end], self._buffer[end:]
            return body
        body = b""
        while (line_end := self._buffer.find(b"\r\n", at)) >= 0:
            size = int(self._buffer[at:line_end], 16)
            if size == 0:
                end = self._buffer.find(b"\r\n\r\n", line_end)
                if end < 0:
                    return None
                self._buffer = self._buffer[end + 4 :]
                return body
            body += self._buffer[line_end + 2 : line_end + 2 + size]
            at = line_end + 4 + size
        return None

    def _answer(self, start: str, fields: list[tuple[str, str]], body: bytes) -> None:
        method, target, _ = start.split(" ")
        self._instance.methods[method] += 1
        text = json.dumps(
            {
                "instance": self._instance.name,
                "method": method,
                "target": target,
                "headers": fields,
                "body": body.decode("latin-1"),
            }
        ).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text)
        self._transport.write(head if method == "HEAD" else head + text)
