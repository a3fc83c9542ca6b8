"""A client for HTTP APIs. A request that waits holds no thread, and can be cancelled at once.

Each request has its own connection. `http.client` parses heads and bodies.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from pylae.units import size

MOST_BYTES = 16 * 1024 * 1024
"""Longest reply."""
_PIECE = 64 * 1024
_LONGEST_HEAD = 128 * 1024
# `http.client` reads as many bytes as a chunk says that it has, up to more than there can be.
_NO_HTTP = (
    *(http.client.HTTPException, asyncio.IncompleteReadError, asyncio.LimitOverrunError),
    *(ValueError, OverflowError),
)
_MOST_TEXT = 200
"""Characters of what an API says about an error."""


class ApiError(Exception):
    """An API cannot be asked, or its answer cannot be used. The text says which API, and why."""


class RefusedError(ApiError):
    """An answer with another status than 200."""

    def __init__(self, address: str, reply: Reply) -> None:
        super().__init__(f"{address} refuses with {reply.status}: {reply.said() or '(it does not say why)'}")
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Reply:
    """What an API has answered."""

    status: int
    fields: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The document in it. Raises ValueError."""
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None

    def said(self) -> str:
        """What it says about an error, shortened to one line."""
        text = self.body[: 4 * _MOST_TEXT].decode("utf-8", "replace")
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(text)
            text = str(found.get("message", text)) if isinstance(found, dict) else text
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= _MOST_TEXT else f"{line[:_MOST_TEXT]}…"


class ApiClient:
    """Asks one API. Its errors are ApiError, with the address in their text."""

    def __init__(self, address: str, ca: Path | None = None, cert: Path | None = None, key: Path | None = None) -> None:
        """`address` as `pylae.registry.api` has it; the files are those of `https`, in PEM."""
        self.address = address
        self._ca, self._cert, self._key = ca, cert, key
        self._asking: threading.Thread | None = None

    async def get(
        self,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        fields: Mapping[str, str] | None = None,
        *,
        patience: float,
        most: int = MOST_BYTES,
    ) -> Reply:
        """The reply to a GET, if it is whole within `patience` seconds and no longer than `most` bytes.

        Raises ApiError, which is RefusedError where the status is not 200.
        """
        with self._told():
            async with asyncio.timeout(patience):
                reader, writer = await self._connection()
                try:
                    writer.write(self._head(path, query, fields or {}))
                    reply = await _reply(reader, most)
                finally:
                    writer.transport.abort()
            if reply.status != 200:
                raise RefusedError(self.address, reply)
            return reply

    async def stream(self, path: str, query: Sequence[tuple[str, str]] = (), *, patience: float) -> Stream:
        """A reply without an end, once its head is here, within `patience` seconds. Close it. Raises ApiError."""
        with self._told():
            async with asyncio.timeout(patience):
                reader, writer = await self._connection()
                try:
                    writer.write(self._head(path, query, {}))
                    head = await reader.readuntil(b"\r\n\r\n")
                    reply = _parsed(head)
                    if reply.status != 200:
                        # An error has an end, and says what is wrong.
                        raise RefusedError(self.address, await _reply(reader, MOST_BYTES, head))
                except BaseException:
                    writer.transport.abort()
                    raise
        return Stream(reader, writer)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what goes wrong inside into an ApiError with the address."""
        address = self.address
        try:
            yield
        except RefusedError:
            raise
        except ApiError as error:
            raise ApiError(f"{address} {error}") from None
        except TimeoutError:
            raise ApiError(f"{address} does not answer in time") from None
        except ssl.SSLCertVerificationError as error:
            raise ApiError(f"{address} cannot prove who it is ({error.verify_message})") from None
        except OSError as error:
            raise ApiError(f"{address} cannot be reached ({error.strerror or type(error).__name__})") from None
        except _NO_HTTP:
            raise ApiError(f"{address} does not answer as HTTP has it") from None

    def _head(self, path: str, query: Sequence[tuple[str, str]], fields: Mapping[str, str]) -> bytes:
        address = self.address
        host = "localhost" if address.startswith("unix:") else urlsplit(address).netloc
        target = f"{path}?{urlencode(query)}" if query else path
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "User-Agent: pylae", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join((*lines, "", "")).encode("ascii")

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = self.address
        if address.startswith("unix:"):
            return await asyncio.open_unix_connection(address.removeprefix("unix:"))
        url = urlsplit(address)
        host, port = url.hostname or "", url.port or 0
        secure: dict[str, Any] = {"ssl": self._tls(), "server_hostname": host} if url.scheme == "https" else {}
        failure: OSError | None = None
        for found in await self._addresses(host, port):
            try:
                return await asyncio.open_connection(found, port, **secure)
            except OSError as error:
                failure = error
        raise failure or OSError(0, f"{host} has no address")

    def _tls(self) -> ssl.SSLContext:
        # Anew for each connection, so that replaced files take effect.
        try:
            context = ssl.create_default_context(cafile=self._ca)
            if self._cert and self._key:
                context.load_cert_chain(self._cert, self._key)
        except ssl.SSLError as error:
            raise ApiError(f"cannot be reached: `ca`, `cert` or `key` has no PEM in it ({error.reason})") from None
        except OSError as error:
            raise ApiError(f"cannot be reached: `ca`, `cert` or `key` cannot be read ({error.strerror})") from None
        return context

    async def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a name. No thread that the end of the gateway waits for looks it up."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def settle(addresses: list[str] | OSError) -> None:
            if not found.done():
                found.set_exception(addresses) if isinstance(addresses, OSError) else found.set_result(addresses)

        def look_up() -> None:
            answer: list[str] | OSError
            try:
                infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                answer = list(dict.fromkeys(str(info[4][0]) for info in infos))
            except OSError as error:
                answer = error
            # Whoever gets the answer may ask again before this thread has ended.
            self._asking = None
            # The loop may have ended meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, answer)

        if self._asking is not None and self._asking.is_alive():
            raise OSError(0, "its name is still being looked up")
        self._asking = asking = threading.Thread(target=look_up, name="pylae-registry-name", daemon=True)
        asking.start()
        return await found


class Stream:
    """A reply without an end. It rings when something arrives, and ignores what it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def rings(self, patience: float) -> bool:
        """Waits `patience` seconds at most until something arrives, and returns whether it did.

        Raises ApiError when the connection ends.
        """
        try:
            async with asyncio.timeout(patience):
                heard = await self._reader.read(_PIECE)
        except TimeoutError:
            return False
        except OSError as error:
            raise ApiError(f"has ended the connection ({error.strerror or type(error).__name__})") from None
        if not heard:
            raise ApiError("has ended the connection")
        return True

    def close(self) -> None:
        """Closes the connection."""
        self._writer.transport.abort()


class _Bytes:
    """Bytes in the place of the socket that they came from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _parsed(data: bytes) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(_Bytes(data), method="GET")  # type: ignore[arg-type]  # reads it by makefile
    response.begin()
    return response


def _whole(data: bytes) -> Reply:
    response = _parsed(data)
    return Reply(response.status, response.headers, response.read())


async def _reply(reader: asyncio.StreamReader, most: int, begun: bytes = b"") -> Reply:
    """Reads to the end of the connection or of `Content-Length`: not every server closes when it is asked to."""
    data, end = bytearray(begun), None
    while end is None or len(data) < end:
        if end is None and (head := data.find(b"\r\n\r\n")) >= 0:
            length = _parsed(bytes(data[: head + 4])).length
            end = most + 1 if length is None else head + 4 + length
            continue
        if end is None and len(data) > _LONGEST_HEAD:
            raise ApiError("does not answer as HTTP has it")
        piece = await reader.read(_PIECE)
        if not piece:
            break
        data += piece
        if len(data) > most:
            raise ApiError(f"answers with more than {size(most)}")
    if not data:
        raise ApiError("ends the connection without an answer")
    return _whole(bytes(data))
