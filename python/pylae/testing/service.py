"""A fake service: it answers as a test says, and records its requests."""

from __future__ import annotations

import json
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from pylae.testing.headers import Fields, Headers

if TYPE_CHECKING:
    from pylae.settings.fields import RouteFields

__all__ = ["Answer", "FakeService", "Received", "Reply"]

_MOST = 10_000
"""Most requests that a service records."""


@dataclass(frozen=True)
class Received:
    """A request as the service received it."""

    method: str
    target: str
    """Path and query as they were sent."""
    headers: Headers
    body: bytes
    params: Mapping[str, str] = field(default_factory=dict)
    """Values of the path parameters of `FakeService.on`."""

    @property
    def path(self) -> str:
        """The path without the query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        """The query parameters, each with all its values."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def json(self) -> Any:
        """The body, parsed as JSON. Raises ValueError if it is not JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer of a service. A body in pieces is sent chunked, with one chunk for each piece as it arrives."""

    status: int = 200
    headers: Fields = (("Content-Type", "text/plain"),)
    body: bytes | str | Iterable[bytes] = b"hello"
    chunked: bool = False
    """Send a body of one piece chunked too."""
    delay: float = 0.0
    """Seconds to wait before the answer. The end of the service cuts it short."""
    hang_up: bool = False
    """Close the connection without an answer."""

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Fields = ()) -> Self:
        """Returns a reply with a value as JSON."""
        pairs = (("Content-Type", "application/json"), *Headers(headers).items())
        return cls(status, pairs, json.dumps(value).encode())


Answer = Reply | Callable[[Received], Any] | dict[str, Any] | list[Any] | str | bytes | None
"""A `Reply`; a function that returns one for a request; a value to send as JSON; a text or bytes; None for `hello`."""


class FakeService:
    """A running HTTP/1.1 service on a free port of 127.0.0.1.

    `answer` is for all requests for which `on` has no answer. You can replace it at any time. Use the service as a
    context manager, or call `stop`.
    """

    def __init__(self, answer: Answer = None) -> None:
        self.answer: Answer = answer
        self.requests: list[Received] = []
        """The last 10,000 complete requests, in order."""
        self.count = 0
        """Number of complete requests."""
        self._routes: list[tuple[RouteFields, Answer]] = []
        self._router: Any = None
        self._arrived = threading.Condition()
        self._stopped = threading.Event()
        self._open: set[socket.socket] = set()
        self.port: int = self._start()

    def _start(self) -> int:
        """Starts serving and returns the port."""
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="fake-service", daemon=True
        )
        self._thread.start()
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """URL of the service, for the configuration of an instance."""
        return f"http://{self.address}"

    def on(self, method: str, path: str, answer: Answer) -> Self:
        """Sets the answer for a method and a path, which may be a template such as `/orders/{id:int}`. `A|B` is several
        methods.
        """
        from pylae.primitives.router import Router

        self._routes.append(({"name": str(len(self._routes)), "method": method, "path": path}, answer))
        self._router = Router([clauses for clauses, _ in self._routes])
        return self

    def in_turn(self, *answers: Answer) -> Self:
        """Sets the answers for the next requests, one each. The last one is for all requests after that."""
        left, lock = list(answers), threading.Lock()

        def answer(request: Received) -> Reply:
            with lock:
                one = left.pop(0) if len(left) > 1 else left[0]
            return _reply(one, request)

        self.answer = answer
        return self

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Received]:
        """Waits until `count` requests have arrived, and returns the recorded ones. Raises TimeoutError."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self.count >= count, timeout):
                raise TimeoutError(f"only {self.count} of {count} requests arrived within {timeout} s")
            return list(self.requests)

    def stop(self) -> None:
        """Refuses new connections and closes the open ones. A second call does nothing."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._end()

    def _end(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take(self, request: Received) -> Reply:
        """Records a request and returns its answer."""
        answer = self.answer
        if self._router is not None and (found := self._router.find(request.method, request.target)):
            answer = self._routes[int(found.name)][1]
            request = Received(request.method, request.target, request.headers, request.body, found.params)
        self._remember(request)
        try:
            reply = _reply(answer, request)
        except Exception:
            # The test sees the exception in the answer, and in what pytest captures.
            reply = Reply(500, body=traceback.format_exc())
            traceback.print_exc()
        stopped = bool(reply.delay) and self._stopped.wait(reply.delay)
        return Reply(hang_up=True) if stopped else reply

    def _remember(self, request: Received) -> None:
        with self._arrived:
            self.count += 1
            self.requests.append(request)
            del self.requests[:-_MOST]
            self._arrived.notify_all()


def _reply(answer: Any, request: Received) -> Reply:
    if callable(answer):
        answer = answer(request)
    if isinstance(answer, Reply):
        return answer
    if answer is None:
        return Reply()
    return Reply(body=answer) if isinstance(answer, bytes | str) else Reply.json(answer)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, service: FakeService) -> None:
        self.service = service
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.service._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.service._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores connections that a gateway breaks off, and shows what an iterator of pieces raises."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if self.parse_request():
            headers = Headers(self.headers.items())
            received = Received(self.command, self.path, headers, self._body())
            self._send(received.method, self.server.service._take(received))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline() not in (b"\r\n", b"\n", b""):
            pass
        return b"".join(parts)

    def _send(self, method: str, reply: Reply) -> None:
        if reply.hang_up:
            self.close_connection = True
            return
        headers = Headers(reply.headers)
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        whole = body if isinstance(body, bytes) and not reply.chunked else None
        bodiless = reply.status in (204, 304)
        lines = [f"HTTP/1.1 {reply.status} Reason", *(f"{name}: {value}" for name, value in headers.items())]
        if whole is None:
            lines.append("Transfer-Encoding: chunked")
        elif not bodiless and "Content-Length" not in headers:
            lines.append(f"Content-Length: {len(whole)}")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        if bodiless or method == "HEAD":
            self.wfile.write(head)
        elif whole is not None:
            self.wfile.write(head + whole)
        else:
            self._send_pieces(head, (body,) if isinstance(body, bytes) else body)

    def _send_pieces(self, head: bytes, pieces: Iterable[bytes]) -> None:
        self.wfile.write(head)
        for piece in pieces:
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        """Does nothing."""
