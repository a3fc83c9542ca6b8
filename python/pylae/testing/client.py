"""A small client: one request on one connection, no redirects followed, nothing hidden."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from pylae.auth import User
from pylae.testing.headers import Fields, Headers

__all__ = ["Client", "RequestOptions", "Response", "StreamedResponse", "Who"]

PATIENCE = 20.0
"""Seconds after which a client gives up on a connection that says nothing."""

Body = bytes | str | Iterable[bytes]
"""A text is sent as UTF-8; pieces are sent chunked, each by itself."""
_Bytes = bytes | Iterable[bytes] | None
Who = User | Mapping[str, Any] | str | int
"""A user: an id, or the fields of `pylae.auth.User`."""


class RequestOptions(TypedDict, total=False):
    """Options of every request."""

    headers: Fields
    """A mapping, or pairs."""
    body: Body | None
    """Bytes, a text, or an iterable of bytes, which is sent chunked."""
    json: Any
    """A value that is sent as the body, with its Content-Type."""
    token: str | None
    """Sent as `Authorization: Bearer`."""
    user: Who | None
    """Who the token is for, in the gateways of `pylae.testing`."""


@dataclass(frozen=True)
class Response:
    """What a client got."""

    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    def json(self) -> Any:
        """The body, parsed. Raises ValueError if it is not JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class StreamedResponse:
    """A response whose body is still to come: iterate over it to get the pieces as they arrive."""

    status: int
    headers: Headers
    _response: http.client.HTTPResponse

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._response.read1(65536):
            yield piece

    def lines(self) -> Iterator[str]:
        """The body line by line as it arrives, without line ends; for event streams."""
        for line in self._response:
            yield line.decode().rstrip("\r\n")


class Client:
    """Sends requests to `address`, which is `host:port`. Each has a connection of its own.

    Options of every request are those of `RequestOptions`. Requests raise OSError or `http.client.HTTPException` if
    there is no response.
    """

    def __init__(self, address: str, *, timeout: float = PATIENCE, sign: Callable[[Who], str] | None = None) -> None:
        self._target_address, self._timeout, self._sign = address, timeout, sign

    def request(self, method: str, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """One request and its whole response."""
        with self.stream(method, target, **options) as response:
            return Response(response.status, response.headers, b"".join(response))

    @contextmanager
    def stream(
        self,
        method: str,
        target: str = "/",
        *,
        headers: Fields = (),
        body: Body | None = None,
        json: Any = None,
        token: str | None = None,
        user: Who | None = None,
    ) -> Iterator[StreamedResponse]:
        """The same, with the body to be read piece by piece; leaving the block closes the connection."""
        lines = list(Headers(headers).items())
        if user is not None:
            if self._sign is None:
                raise ValueError("this client cannot make tokens; give `token`")
            token = self._sign(user)
        if token is not None:
            lines.append(("Authorization", f"Bearer {token}"))
        connection = http.client.HTTPConnection(self._target_address, timeout=self._timeout)
        try:
            _send(connection, method, target, _with_body(lines, body, json))
            response = connection.getresponse()
            yield StreamedResponse(response.status, Headers(response.getheaders()), response)
        finally:
            connection.close()

    def get(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """GET."""
        return self.request("GET", target, **options)

    def head(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """HEAD."""
        return self.request("HEAD", target, **options)

    def options(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """OPTIONS."""
        return self.request("OPTIONS", target, **options)

    def post(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """POST."""
        return self.request("POST", target, **options)

    def put(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """PUT."""
        return self.request("PUT", target, **options)

    def patch(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """PATCH."""
        return self.request("PATCH", target, **options)

    def delete(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """DELETE."""
        return self.request("DELETE", target, **options)


def _with_body(lines: list[tuple[str, str]], body: Body | None, value: Any) -> tuple[Headers, _Bytes]:
    if value is not None:
        body = json.dumps(value).encode()
        if "Content-Type" not in Headers(lines):
            lines.append(("Content-Type", "application/json"))
    return Headers(lines), body.encode() if isinstance(body, str) else body


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    prepared: tuple[Headers, _Bytes],
) -> None:
    headers, body = prepared
    connection.putrequest(method, target, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is None:
        connection.endheaders()
    elif isinstance(body, bytes):
        if "Content-Length" not in headers:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
    else:
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders(body, encode_chunked=True)
