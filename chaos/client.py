"""Clients that count: each request is answered as it must be, or is a failure with a name."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import websockets
from websockets.asyncio.client import connect

PATIENCE = 10.0
_TICK, _PAUSE = 0.005, 0.01
"""Seconds between two looks at whether clients run, and by how much one may be late."""


@dataclass(frozen=True)
class Answer:
    """What came."""

    status: int
    head: str
    body: bytes


class Client:
    """A connection of HTTP/1.1, made when it is needed. A request is never sent again."""

    def __init__(self, port: int, *, source: str = "") -> None:
        self._port, self._source = port, source
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes without a word."""
        if self._streams:
            self._streams[1].close()
            self._streams = None

    @property
    def open(self) -> bool:
        """Whether it has a connection that the other end has not closed."""
        return self._streams is not None and not self._streams[0].at_eof() and not self._streams[1].is_closing()

    async def connect(self) -> None:
        """Makes the connection now."""
        local = (self._source, 0) if self._source else None
        self._streams = await asyncio.open_connection("127.0.0.1", self._port, local_addr=local, limit=2**20)

    async def ask(
        self, target: str = "/", *fields: str, method: str = "GET", body: bytes = b"", patience: float = PATIENCE
    ) -> Answer:
        """One request. Raises OSError, EOFError, TimeoutError or ValueError if there is no whole answer."""
        try:
            async with asyncio.timeout(patience):
                if self._streams is None:
                    await self.connect()
                assert self._streams  # noqa: S101 (connect has made it)
                reader, writer = self._streams
                length = [f"Content-Length: {len(body)}"] if body or method in ("POST", "PUT") else []
                lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields, *length, "", ""]
                writer.write("\r\n".join(lines).encode("latin-1") + body)
                answer = await _read(reader)
        except BaseException:
            self.close()
            raise
        if "\r\nconnection: close\r\n" in answer.head:
            self.close()
        return answer


async def _read(reader: asyncio.StreamReader) -> Answer:
    status = 100
    while 100 <= status < 200:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if not head.startswith("http/1.1 "):
            raise ValueError("this is no answer")
        status = int(head.split(" ", 2)[1])
    if "\r\ntransfer-encoding: chunked" in head:
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    else:
        _, found, length = head.partition("\r\ncontent-length:")
        body = await reader.readexactly(int(length.partition("\r\n")[0])) if found else b""
    return Answer(status, head, body)


class Load:
    """Clients that go on until they are stopped, and what became of their requests."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.broken: Counter[str] = Counter()
        """Requests without a whole answer, by why."""
        self.times: list[tuple[float, float]] = []
        """When each answer came, and seconds that it took."""
        self.pauses: list[tuple[float, float]] = []
        """When these clients themselves did not run, from and to: what was under way then says nothing."""
        self._going = True
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> Self:
        """Lets each client finish its request."""
        self._going = False
        await asyncio.gather(*self._tasks)
        return self

    def mark(self) -> float:
        """Now, for `since`."""
        return time.monotonic()

    @property
    def good(self) -> int:
        """Answers with 200."""
        return self.statuses[200]

    @property
    def failed(self) -> int:
        """All others."""
        return sum(self.statuses.values()) - self.good + sum(self.broken.values())

    @property
    def share(self) -> float:
        """Of all requests, those that were answered with 200."""
        return self.good / max(1, self.good + self.failed)

    def p99(self) -> float:
        """Milliseconds within which 99 of 100 answers came, those not counted that met a pause of the clients; endless
        without an answer.
        """
        times = sorted(took for at, took in self.times if not self._is_paused(at - took, at))
        return times[math.ceil(len(times) * 0.99) - 1] * 1000 if times else math.inf

    def _is_paused(self, began: float, ended: float) -> bool:
        return any(began < until and since < ended for since, until in self.pauses)

    def longest_gap(self, since: float) -> float:
        """The longest time without any answer, in seconds."""
        at = [since, *sorted(at for at, _ in self.times if at >= since), time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(at))

    def told(self) -> str:
        """In words."""
        other = {str(status): count for status, count in self.statuses.items() if status != 200} | self.broken
        why = f" ({', '.join(f'{count} {name}' for name, count in other.items())})" if other else ""
        return f"{self.failed} of {self.good + self.failed:,} failed{why}"

    def begin(self, count: int, client: Callable[[int], Awaitable[None]]) -> Self:
        """So many more clients; `client` makes requests until the load is stopped."""
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self._note_pauses()))
        self._tasks += [asyncio.create_task(_run(client, number)) for number in range(count)]
        return self

    async def _note_pauses(self) -> None:
        while self._going:
            began = time.monotonic()
            await asyncio.sleep(_TICK)
            ended = time.monotonic()
            if ended - began > _TICK + _PAUSE:
                self.pauses.append((began, ended))

    async def _one(self, ask: Callable[[], Awaitable[int]]) -> bool:
        """Counts one request; whether it was answered."""
        began = time.monotonic()
        try:
            self.statuses[await ask()] += 1
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, h2.exceptions.H2Error) as error:
            self.broken[type(error).__name__] += 1
            return False
        now = time.monotonic()
        self.times.append((now, now - began))
        return True

    def h1(
        self,
        port: int,
        count: int,
        target: str = "/",
        *fields: str,
        pace: float = 0.02,
        fresh: bool = False,
        post: bool = False,
        patience: float = PATIENCE,
    ) -> Self:
        """Clients of HTTP/1.1, each with a request every `pace` seconds, over `fresh` connections if they shall.

        `{client}` in a field is the client's number. POSTs have an `X-Id`.
        """

        async def client(number: int) -> None:
            own = [field.format(client=number) for field in fields]
            connection = Client(port)
            for turn in itertools.takewhile(lambda _: self._going, itertools.count()):

                async def ask(turn: int = turn) -> int:
                    if post:
                        more = f"X-Id: {id(self)}-{number}-{turn}"
                        answer = await connection.ask(target, more, method="POST", body=b"x" * 100, patience=patience)
                    else:
                        answer = await connection.ask(target, *own, patience=patience)
                    return answer.status

                answered = await self._one(ask)
                if fresh:
                    connection.close()
                await asyncio.sleep(pace if answered else max(pace, 0.05))
            connection.close()

        return self.begin(count, client)

    def h2(self, port: int, count: int, target: str = "/", *, streams: int = 5, pace: float = 0.02) -> Self:
        """Clients of HTTP/2 with prior knowledge, with some streams at once."""

        async def client(_: int) -> None:
            connection = _Http2(port)
            while self._going:
                for status in await connection.round(target, streams):
                    if isinstance(status, int):
                        self.statuses[status] += 1
                    else:
                        self.broken[status] += 1
                self.times.append((time.monotonic(), 0.0))
                await asyncio.sleep(pace)
            connection.close()

        return self.begin(count, client)

    def websockets(self, port: int, count: int, *, pace: float = 0.05) -> Self:
        """Clients of WebSocket that have each message echoed; a connection that ends is a failure."""

        async def client(number: int) -> None:
            try:
                async with connect(f"ws://127.0.0.1:{port}/ws", compression=None, open_timeout=PATIENCE) as socket:
                    for turn in itertools.takewhile(lambda _: self._going, itertools.count()):
                        await socket.send(f"{number} {turn}")
                        echoed = await asyncio.wait_for(socket.recv(), PATIENCE) == f"{number} {turn}"
                        self.statuses[200 if echoed else 0] += 1
                        await asyncio.sleep(pace)
            except (OSError, websockets.WebSocketException) as error:
                self.broken[f"WebSocket {type(error).__name__}"] += 1

        return self.begin(count, client)


async def _run(client: Callable[[int], Awaitable[None]], number: int) -> None:
    await client(number)


class _Http2:
    """A connection of HTTP/2 that does what a GOAWAY says: it finishes, and opens another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    def close(self) -> None:
        """Closes without a word."""
        if self._writer:
            self._writer.close()
            self._writer = None

    async def _connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._state = h2.connection.H2Connection(h2.config.H2Configuration())
        self._state.initiate_connection()
        self._rest = b""

    async def round(self, target: str, count: int) -> Sequence[int | str]:
        """Some requests at once: the status of each, or why it has none."""
        try:
            async with asyncio.timeout(PATIENCE):
                if self._writer is None:
                    await self._connect()
                return await self._ask(target, count)
        except (OSError, EOFError, h2.exceptions.H2Error) as error:
            self.close()
            return [f"h2 {type(error).__name__}"] * count

    def _events(self, data: bytes) -> Iterator[h2.events.Event]:
        """What is in the frames that have come whole. The library takes a GOAWAY for the end, which it is not yet."""
        self._rest += data
        while len(self._rest) >= 9 and len(self._rest) >= (size := 9 + int.from_bytes(self._rest[:3], "big")):
            frame, self._rest = self._rest[:size], self._rest[size:]
            yield from self._state.receive_data(frame)
            self._state.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN

    async def _ask(self, target: str, count: int) -> Sequence[int | str]:
        assert self._writer  # noqa: S101 (round has made it)
        state, writer = self._state, self._writer
        pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", target)]
        found: dict[int, int | str] = {}
        open_, leaving, refused = set(), False, 0
        for _ in range(count):
            open_.add(stream := state.get_next_available_stream_id())
            state.send_headers(stream, pseudo, end_stream=True)
        while open_:
            with contextlib.suppress(ConnectionError):
                writer.write(state.data_to_send())
            if not (data := await self._reader.read(2**16)):
                self.close()
                return [*found.values(), *(["h2 closed"] * len(open_))]
            for event in self._events(data):
                if isinstance(event, h2.events.ResponseReceived):
                    found[event.stream_id] = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    open_.discard(event.stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    found[event.stream_id] = f"h2 reset {event.error_code}"
                    open_.discard(event.stream_id)
                elif isinstance(event, h2.events.ConnectionTerminated):
                    # What the other end says that it has not looked at may be asked of another connection.
                    left_out = {stream for stream in open_ if stream > (event.last_stream_id or 0)}
                    leaving, refused = True, refused + len(left_out)
                    open_ -= left_out
        with contextlib.suppress(ConnectionError):
            writer.write(state.data_to_send())
        if leaving:
            self.close()
        return [*found.values(), *(await self.round(target, refused) if refused else ())]
