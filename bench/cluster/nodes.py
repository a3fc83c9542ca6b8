"""Gateways that share a store, with a service behind them, and clients of theirs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from bench.measure import free_port, wait_listening
from bench.peers import Pylae
from bench.processes import Process
from pylae.demo.store import DemoStore

ADMIN_TOKEN = secrets.token_urlsafe()
_FEW = 512


@dataclass
class Node:
    """A gateway."""

    number: int
    port: int
    admin: int
    folder: Path
    config: dict[str, Any]
    process: Process | None = field(default=None, init=False)

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "pylae.yaml"
        file.write_text(json.dumps(self.config))
        self.process = Process([Pylae.find(), "run", str(file)], None, self.folder / "log")
        wait_listening(self.process, self.port)

    def stop(self) -> None:
        """Ends it, if it runs."""
        if self.process:
            self.process.end()
            self.process = None


@dataclass(frozen=True)
class Answer:
    """What a gateway has answered."""

    status: int
    body: bytes


class Origin(asyncio.Protocol):
    """A service: numbers its answers. What begins with `/kept` may be stored."""

    answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins a connection."""
        self._transport, self._received = cast("asyncio.WriteTransport", transport), b""

    def data_received(self, data: bytes) -> None:
        """Answers all requests that are whole. They have no bodies."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            target, self._received = self._received.split(b" ", 2)[1], self._received[end + 4 :]
            Origin.answers += 1
            body = b"%d" % Origin.answers
            kept = b"Cache-Control: max-age=3600\r\n" if target.startswith(b"/kept") else b""
            self._transport.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (kept, len(body), body))


class Client:
    """A connection to a gateway, or to its admin API."""

    def __init__(self, port: int, *fields: str) -> None:
        self._port = port
        self._fields = "".join(f"{one}\r\n" for one in ("Host: localhost", *fields))
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, target: str, *fields: str, method: str = "GET", body: object = None) -> Answer:
        """Sends a request and returns the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        content = b"" if body is None else json.dumps(body).encode()
        lines = "".join(f"{one}\r\n" for one in fields)
        if content:
            lines += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        writer.write(f"{method} {target} HTTP/1.1\r\n{self._fields}{lines}\r\n".encode() + content)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        answer = Answer(int(head[9:12]), await reader.readexactly(length))
        if b"\r\nconnection: close" in head:
            self.close()
        return answer

    def close(self) -> None:
        """Ends the connection."""
        if self._streams:
            self._streams[1].close()
            self._streams = None


class Cluster:
    """Nodes and their store. `routes` and `more` go into the configuration of each."""

    def __init__(
        self, folder: Path, store: DemoStore, origin: int, routes: Sequence[Mapping[str, Any]], **more: Any
    ) -> None:
        self.store = store
        self.nodes = [self._node(folder, number, origin, routes, more) for number in range(3)]

    def _node(
        self, folder: Path, number: int, origin: int, routes: Sequence[Mapping[str, Any]], more: Mapping[str, Any]
    ) -> Node:
        port, admin = free_port(), free_port()
        own = folder / f"node-{number}"
        config = {
            "listeners": [f"127.0.0.1:{port}"],
            "admin": {"address": f"127.0.0.1:{admin}", "token": ADMIN_TOKEN},
            "workers": 1,
            "state": str(own / "state"),
            "cluster": {
                "name": "bench",
                "store": self.store.url,
                "password": self.store.password,
                "node": f"node-{number}",
                # Others may use the machine too.
                "timeout": "1s",
            },
            "services": {"origin": {"instances": [f"http://127.0.0.1:{origin}"]}},
            "routes": [{"service": "origin", **route} for route in routes],
            **more,
        }
        return Node(number, port, admin, own, config)

    def ask_store(self, *words: str) -> bytes:
        """Sends a command to the store, and returns the first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.store.port), 10) as connection:
            for line in (("AUTH", self.store.password), words):
                connection.sendall(f"{' '.join(line)}\r\n".encode())
                answer = connection.makefile("rb").readline()
        return answer


@contextlib.contextmanager
def started(cluster: Cluster) -> Iterator[Cluster]:
    """Starts the nodes, and ends them when the block is left."""
    try:
        for node in cluster.nodes:
            node.start()
        yield cluster
    finally:
        for node in cluster.nodes:
            node.stop()


async def serve_origin() -> tuple[asyncio.Server, int]:
    """Starts the service; returns its port, too."""
    server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", 0, backlog=_FEW)
    return server, int(server.sockets[0].getsockname()[1])


async def metric(node: Node, name: str) -> float:
    """The sum of a metric of a node over its labels."""
    client = Client(node.admin, f"Authorization: Bearer {ADMIN_TOKEN}", "Connection: close")
    text = (await client.ask("/metrics")).body.decode()
    lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)
