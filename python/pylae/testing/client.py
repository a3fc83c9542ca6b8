"""A small HTTP client: one request per connection, without redirects."""

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
"""Seconds after which a client gives up on a silent connection."""

Body = bytes | str | Iterable[bytes]
"""A text is sent as UTF-8. An iterable is sent chunked, with one chunk for each piece."""
_Bytes = bytes | Iterable[bytes] | None
Who = User | Mapping[str, Any] | str | int
"""A user: an id, or the fields of `pylae.auth.User`."""


class RequestOptions(TypedDict, total=False):
    """Options of all requests."""

    headers: Fields
    """Header fields: a mapping, or pairs."""
    body: Body | None
    """Request body: bytes, a text, or an iterable of bytes, which is sent chunked."""
    json: Any
    """A value to send as JSON, with its Content-Type."""
    token: str | None
    """Token to send as `Authorization: Bearer`."""
    user: Who | None
    """User to make a token for, with gateways of `pylae.testing`."""


@dataclass(frozen=True)
class Response:
    """A response as the client got it."""

    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        """The body, decoded as UTF-8."""
        return self.body.decode()

    def json(self) -> Any:
        """The body, parsed as JSON. Raises ValueError if it is not JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class StreamedResponse:
    """A response whose body is still arriving. Iterate over it to get the pieces."""

    status: int
    headers: Headers
    _response: http.client.HTTPResponse

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._response.read1(65536):
            yield piece

    def lines(self) -> Iterator[str]:
        """Yields the lines of the body as they arrive, without line ends. For event streams."""
        for line in self._response:
            yield line.decode().rstrip("\r\n")


class Client:
    """Sends requests to `address`, which is `host:port`. Each request has its own connection.

    The options of all requests are those of `RequestOptions`. Requests raise OSError or `http.client.HTTPException` if
    they get no response.
    """

    def __init__(self, address: str, *, timeout: float = PATIENCE, sign: Callable[[Who], str] | None = None) -> None:
        self._target_address, self._timeout, self._sign = address, timeout, sign

    def request(self, method: str, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """Sends a request and returns the complete response."""
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
        """Sends a request and returns a response whose body is still arriving. Leaving the `with` block closes the
        connection.
        """
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
        """Sends a GET request."""
        return self.request("GET", target, **options)

    def head(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """Sends a HEAD request."""
        return self.request("HEAD", target, **options)

    def options(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """Sends an OPTIONS request."""
        return self.request("OPTIONS", target, **options)

    def post(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """Sends a POST request."""
        return self.request("POST", target, **options)

    def put(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """Sends a PUT request."""
        return self.request("PUT", target, **options)

    def patch(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """Sends a PATCH request."""
        return self.request("PATCH", target, **options)

    def delete(self, target: str = "/", **options: Unpack[RequestOptions]) -> Response:
        """Sends a DELETE request."""
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
