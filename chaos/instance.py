"""An instance that behaves as it is told: a process of its own, and a double of what goes wrong behind gateways.

`python -m chaos.instance PORT FILE` prints the ports of its HTTP and its WebSockets, and writes the `X-Id` of each POST
that comes to the file, so that what came is known even if it is killed. `/chaos/behave?…` tells it how to behave.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Process
from websockets.asyncio.server import ServerConnection, serve

from chaos.client import Client

BEHAVIOURS = ("well", "hanging", "resetting", "short", "garbage", "early", "endless", "interim", "failing")
"""`short`: less than Content-Length; `early`: ends in the head; `endless`: a head without end; `interim`: a flood of
102; `failing`: 503."""

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_LIES = {
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ntoo little",
    "garbage": bytes(range(128, 256)) * 8 + b"\r\n\r\n",
    "early": b"HTTP/1.1 200 OK\r\nContent-Le",
    "failing": b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno",
}


@dataclass
class _Serving:
    posts: int
    """Descriptor of the file of POSTs."""
    behaviour: str = "well"
    delay: float = 0.0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether another one may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        await reader.readexactly(int(fields.get("content-length", 0)))
        if target.startswith("/chaos/"):
            self.behaviour, _, delay = target.partition("?")[2].partition("&")
            self.delay = float(delay)
            writer.write(_OK)
            return True
        if method == "POST":
            os.write(self.posts, f"{fields.get('x-id', '')}\n".encode())
        if target.startswith("/stream/"):
            await _stream(int(target.rpartition("/")[2]), writer)
            return True
        return await self._answer(reader, writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        behaviour = self.behaviour
        if self.delay:
            await asyncio.sleep(self.delay)
        if behaviour == "well":
            writer.write(_OK)
        elif behaviour == "hanging":
            await reader.read(1)
        elif behaviour == "resetting":
            writer.transport.abort()
        elif behaviour in ("endless", "interim"):
            piece = b"X-Filling: 0123456789\r\n" if behaviour == "endless" else b"HTTP/1.1 102 Processing\r\n\r\n"
            writer.write(b"HTTP/1.1 200 OK\r\n" if behaviour == "endless" else b"")
            while not reader.at_eof():
                writer.write(piece * 200)
                await writer.drain()
        else:
            writer.write(_LIES[behaviour])
        await writer.drain()
        return behaviour in ("well", "failing")


async def _stream(tenths: int, writer: asyncio.StreamWriter) -> None:
    """A body in so many pieces, one each tenth of a second."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(tenths):
        writer.write(b"5\r\npiece\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def _main(port: int, posts: Path) -> None:
    serving = _Serving(os.open(posts, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    server = await asyncio.start_server(serving.connected, "127.0.0.1", port, backlog=4096)
    async with serve(_echo, "127.0.0.1", 0, compression=None) as sockets:
        here = [server.sockets[0], next(iter(sockets.sockets))]
        print(*(each.getsockname()[1] for each in here), flush=True)
        await server.serve_forever()


class Instance:
    """One of them, as the runner of a fault sees it."""

    def __init__(self, folder: Path) -> None:
        self._log, self.posts = folder / "instance.log", folder / "posts"
        self.port = 0
        self.start()

    def start(self) -> None:
        """Starts it, where it was before."""
        words = [sys.executable, "-m", "chaos.instance", str(self.port), str(self.posts)]
        self._process = Process(words, None, self._log, pipes=True)
        self.port, self.websockets = (int(port) for port in self._process.read_line(20).split())

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self._process.end(0)

    async def behave(self, behaviour: str, delay: float = 0) -> None:
        """Has it behave so from now on."""
        # From an address that no gateway has, which may have used up its ports.
        async with Client(self.port, source="127.9.9.9") as client:
            await client.ask(f"/chaos/behave?{behaviour}&{delay}")


def came(instances: Iterable[Instance]) -> Counter[str]:
    """How often each POST came to any of them."""
    return Counter(name for instance in instances for name in instance.posts.read_text().split())


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2])))
