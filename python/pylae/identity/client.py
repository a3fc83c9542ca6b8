"""A client for services that are asked about requests: it keeps its connections, and is strict about answers.

`ApiClient` makes a connection for each request, which would be the most of what a verdict costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ipaddress
import re
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pylae.identity.failures import AnswerError
from pylae.identity.flights import Flights
from pylae.registry.client import ApiClient, Reply
from pylae.units import size

Fields = Sequence[tuple[str, str]]

_LONGEST_HEAD = 64 * 1024
_MOST_IDLE = 32
"""Connections that are kept for the next requests."""
_MOST_AT_ONCE = 256
"""Connections in use. Further requests wait for one, as part of their time."""
_KEPT = 15.0
"""Seconds for which an unused connection is kept. Most servers close theirs after longer."""
_TLS_KEPT = 60.0
"""Seconds after which the files of authorities are read again."""
_MOST_INTERIM = 8
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})( [^\x00-\x08\x0a-\x1f\x7f]*)?")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_NO_BODY = (204, 304)


class _Reader(asyncio.StreamReader):
    """Counts what arrives: what nobody has asked for spoils a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_LONGEST_HEAD, loop)
        self.arrived = 0
        self.taken = 0

    def feed_data(self, data: Any) -> None:
        self.arrived += len(data)
        super().feed_data(data)

    async def until(self, end: bytes) -> bytes:
        try:
            found = await self.readuntil(end)
        except asyncio.LimitOverrunError:
            raise AnswerError("its head is too long") from None
        self.taken += len(found)
        return found

    async def exactly(self, count: int) -> bytes:
        found = await self.readexactly(count)
        self.taken += len(found)
        return found


class Connection:
    """A connection, and when it was used."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.used = time.monotonic()

    @property
    def usable(self) -> bool:
        """Whether the next answer on it will be the next request's."""
        reader = self.reader
        silent = reader.arrived == reader.taken and not reader.at_eof()
        return silent and not self.writer.is_closing() and time.monotonic() - self.used < _KEPT

    def close(self) -> None:
        """Closes it at once."""
        # Its loop may have ended.
        with contextlib.suppress(RuntimeError):
            self.writer.transport.abort()


class ServiceClient(ApiClient):
    """Asks one service. Raises ApiError, with the address in its text, if the service cannot be asked, and AnswerError
    if its answer cannot be used.
    """

    def __init__(self, url: str, ca: Path | None = None, cert: Path | None = None, key: Path | None = None) -> None:
        """`url` is that of the service, with path and query; the files are those of `https`, in PEM."""
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        super().__init__(f"{parts.scheme}://{host}:{port}", ca, cert, key)
        self._host = parts.netloc
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._idle: list[Connection] = []
        self._keeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = asyncio.Semaphore(_MOST_AT_ONCE)
        self._lookups: Flights[str, list[str]] = Flights()
        self._trusted: tuple[float, ssl.SSLContext] | None = None

    async def call(
        self,
        method: str,
        fields: Fields,
        body: bytes = b"",
        *,
        patience: float,
        most: int,
        once: bool = False,
        target: str | None = None,
    ) -> Reply:
        """The answer, whatever its status is, if it is whole within `patience` seconds and its body no longer than
        `most` bytes. `target` replaces path and query of the service's URL.

        The request is repeated if a kept connection has ended meanwhile. With `once` it never is, and has a connection
        of its own.
        """
        fields = [*fields, ("Connection", "close")] if once else fields
        with self._told():
            async with asyncio.timeout(patience):
                self._adopt_loop()
                async with self._room:
                    head = self._request(method, target or self.target, fields, body)
                    while not once and (kept := self._kept()) is not None:
                        arrived = kept.reader.arrived
                        try:
                            return await self._exchange(kept, head + body, most)
                        except (OSError, asyncio.IncompleteReadError):
                            if kept.reader.arrived != arrived:
                                raise
                    return await self._exchange(await self.connection(), head + body, most)

    async def _keep(self) -> None:
        """Closes connections that nobody has used for long."""
        while self._idle:
            await asyncio.sleep(max(0.0, self._idle[0].used + _KEPT - time.monotonic()))
            while self._idle and not self._idle[0].usable:
                self._idle.pop(0).close()

    def _has_kept(self, keeper: asyncio.Task[None]) -> None:
        """Closes all connections when the loop ends. That may cancel the keeper before it has begun."""
        if keeper.cancelled() and keeper.get_loop() is self._loop:
            self._close()

    def _close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _adopt_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # The loop of the hooks has been replaced, and with it go its connections.
            self._close()
            self._loop, self._room = loop, asyncio.Semaphore(_MOST_AT_ONCE)

    def _kept(self) -> Connection | None:
        while self._idle:
            found = self._idle.pop()
            if found.usable:
                return found
            found.close()
        return None

    def _request(self, method: str, target: str, fields: Fields, body: bytes) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", "User-Agent: pylae"]
        lines += [f"{name}: {value}" for name, value in fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        # As the gateway decodes them.
        return "\r\n".join((*lines, "", "")).encode("latin-1")

    async def _exchange(self, connection: Connection, request: bytes, most: int) -> Reply:
        try:
            connection.writer.write(request)
            reply, lasts = await _read(connection.reader, most)
        except BaseException:
            connection.close()
            raise
        connection.used = time.monotonic()
        keeper = self._keeper if self._keeper and self._keeper.get_loop() is self._loop else None
        is_ending = keeper is not None and keeper.cancelled()
        if lasts and connection.usable and len(self._idle) < _MOST_IDLE and not is_ending:
            self._idle.append(connection)
            if keeper is None or keeper.done():
                self._keeper = asyncio.create_task(self._keep())
                self._keeper.add_done_callback(self._has_kept)
        else:
            connection.close()
        return reply

    async def connection(self) -> Connection:
        """A new connection. Raises OSError."""
        url = urlsplit(self.address)
        host, port = url.hostname or "", url.port or 0
        context = self._context_of_now() if url.scheme == "https" else None
        failure: OSError | None = None
        for found in await self._where(host, port):
            try:
                return await connected(host=found, port=port, ssl=context, server_hostname=host if context else None)
            except OSError as error:
                failure = error
        raise failure or OSError(0, f"{host} has no address")

    async def _where(self, host: str, port: int) -> list[str]:
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        return await self._lookups.run(host, lambda: self._addresses(host, port))

    def _context_of_now(self) -> ssl.SSLContext:
        now = time.monotonic()
        if self._trusted is None or now - self._trusted[0] > _TLS_KEPT:
            self._trusted = now, self._tls()
        return self._trusted[1]


async def connected(**how: Any) -> Connection:
    """A connection that the loop makes `how` it is said. Raises OSError."""
    loop = asyncio.get_running_loop()
    reader = _Reader(loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, **how)
    return Connection(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


async def _read(reader: _Reader, most: int) -> tuple[Reply, bool]:
    """Returns an answer, and whether another one may follow on the connection."""
    for _ in range(_MOST_INTERIM):
        line, _, lines = (await reader.until(b"\r\n\r\n"))[:-4].partition(b"\r\n")
        found = _STATUS.fullmatch(line)
        if found is None or found[2] == b"101":
            raise AnswerError("it is not HTTP")
        if not found[2].startswith(b"1"):
            break
    else:
        raise AnswerError("it is interim only")
    status, fields = int(found[2]), _fields(lines)
    lasts = found[1] == b"1" and "close" not in (fields.get("connection") or "").lower()
    lengths = {value.strip() for value in fields.get_all("content-length", [])}
    codings = [value.strip().lower() for value in fields.get_all("transfer-encoding", [])]
    if status in _NO_BODY:
        return Reply(status, fields, b""), lasts
    if codings:
        if codings != ["chunked"] or lengths:
            raise AnswerError("its body has no certain end")
        return Reply(status, fields, await _chunks(reader, most)), lasts
    if not lengths:
        return Reply(status, fields, await _rest(reader, most)), False
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit()):
        raise AnswerError("its body has no certain end")
    if len(length) > len(str(most)) or int(length) > most:
        raise _too_long(most)
    return Reply(status, fields, await reader.exactly(int(length))), lasts


def _fields(lines: bytes) -> http.client.HTTPMessage:
    fields = http.client.HTTPMessage()
    for line in lines.split(b"\r\n") if lines else ():
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        if not (colon and _NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise AnswerError("it is not HTTP")
        fields[name.decode("ascii")] = value.decode("latin-1")
    return fields


async def _chunks(reader: _Reader, most: int) -> bytes:
    data = bytearray()
    while True:
        line = await reader.until(b"\r\n")
        digits = line[:-2].partition(b";")[0].strip()
        if not _SIZE.fullmatch(digits):
            raise AnswerError("it is not HTTP")
        count = int(digits, 16)
        if not count:
            break
        if len(data) + count > most:
            raise _too_long(most)
        data += await reader.exactly(count)
        if await reader.exactly(2) != b"\r\n":
            raise AnswerError("it is not HTTP")
    for _ in range(100):
        if await reader.until(b"\r\n") == b"\r\n":
            return bytes(data)
    raise AnswerError("it is not HTTP")


async def _rest(reader: _Reader, most: int) -> bytes:
    data = bytearray()
    while piece := await reader.read(64 * 1024):
        data += piece
        if len(data) > most:
            raise _too_long(most)
    return bytes(data)


def _too_long(most: int) -> AnswerError:
    return AnswerError(f"it has more than {size(most)}")
