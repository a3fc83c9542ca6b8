"""What stands in front of the provider: it counts, and can be late, gone, or lie."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from support.peer import PATIENCE

ENDPOINTS = {
    "/.well-known/openid-configuration": "discovery",
    "/auth": "authorization",
    "/jwks": "jwks",
    "/me": "userinfo",
    "/request": "par",
    "/session/end": "end_session",
    "/token": "token",
    "/token/introspection": "introspection",
    "/token/revocation": "revocation",
}
_OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "x-client-certificate"}


@dataclass(frozen=True)
class Call:
    """A request that has come."""

    endpoint: str
    """One of the values of `ENDPOINTS`, or `other`: pages between the first redirect and the last."""
    method: str
    target: str
    fields: dict[str, str]
    """By names in lower case."""
    body: bytes

    @property
    def sent(self) -> dict[str, str]:
        """Parameters of the query and of a form."""
        pairs = parse_qsl(urlsplit(self.target).query, keep_blank_values=True)
        if self.fields.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            pairs += parse_qsl(self.body.decode(), keep_blank_values=True)
        return dict(pairs)


@dataclass(frozen=True)
class Answer:
    """What the provider has said."""

    status: int
    fields: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    body: bytes = b""

    @property
    def json(self) -> dict[str, Any]:
        """Its body."""
        value: dict[str, Any] = json.loads(self.body)
        return value

    def saying(self, **changed: Any) -> Answer:
        """The same with other members of its body. None leaves one out."""
        members = {name: value for name, value in {**self.json, **changed}.items() if value is not None}
        return replace(self, body=json.dumps(members).encode())

    def to(self, change: Callable[[str], str]) -> Answer:
        """The same redirect to another place."""
        return replace(self, fields=tuple((n, change(v) if n.lower() == "location" else v) for n, v in self.fields))


Change = Callable[[Call, Answer], Answer | None]
"""What becomes of an answer; None ends the connection without one."""


@dataclass
class _Held:
    arrived: int = 0
    released: bool = False


@dataclass
class Front:
    """Listens for a provider and passes on to `port` of this machine what comes."""

    host: str
    context: ssl.SSLContext | None = None
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    """All that has come, the first one first."""
    changes: dict[str, Change] = field(default_factory=dict)
    """By endpoint, what becomes of answers."""
    is_down: bool = False

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        self._held: dict[str, _Held] = {}
        self._connections: set[socket.socket] = set()
        self._server = _Server(self)
        self.address = f"{self.host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The origin."""
        return f"{'https' if self.context else 'http'}://{self.address}"

    @contextlib.contextmanager
    def held(self, endpoint: str) -> Iterator[Callable[[int], None]]:
        """Answers of an endpoint wait until the block ends. Gives a function that waits until so many do."""
        held = self._held[endpoint] = _Held()

        def wait(count: int) -> None:
            with self.changed:
                assert self.changed.wait_for(lambda: held.arrived >= count, PATIENCE), f"{held.arrived} have come"

        try:
            yield wait
        finally:
            with self.changed:
                del self._held[endpoint]
                held.released = True
                self.changed.notify_all()

    def cut(self) -> None:
        """Ends all connections."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Listens no more."""
        self._server.shutdown()
        with self.changed:
            for held in self._held.values():
                held.released = True
            self.changed.notify_all()
        self.cut()
        self._thread.join()
        self._server.server_close()

    def answer(self, call: Call, certificate: str | None) -> Answer | None:
        """Asks the provider, and does to its answer what was asked for."""
        with self.changed:
            self.calls.append(call)
            self.changed.notify_all()
        fields = {name: value for name, value in call.fields.items() if name not in _OF_A_CONNECTION}
        fields["x-forwarded-proto"] = "https" if self.context else "http"
        if certificate:
            fields["x-client-certificate"] = quote(certificate)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(call.method, call.target, call.body, fields)
            got = connection.getresponse()
            kept = tuple((name, value) for name, value in got.getheaders() if name.lower() not in _OF_A_CONNECTION)
            answer: Answer | None = Answer(got.status, kept, got.read())
        finally:
            connection.close()
        if answer and (change := self.changes.get(call.endpoint)):
            answer = change(call, answer)
        with self.changed:
            if held := self._held.get(call.endpoint):
                held.arrived += 1
                self.changed.notify_all()
                self.changed.wait_for(lambda: held.released)
        return None if self.is_down else answer


class _Server(ThreadingHTTPServer):
    block_on_close = True
    daemon_threads = False

    def __init__(self, front: Front) -> None:
        self.front = front
        super().__init__((front.host, 0), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, peer = self.socket.accept()
        if self.front.context:
            connection = self.front.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.front._connections.add(connection)
        return connection, peer

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 (its signature there)
        return not self.front.is_down

    def shutdown_request(self, request: Any) -> None:
        self.front._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ends the connection is none."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fields = {name.lower(): value for name, value in self.headers.items()}
        endpoint = ENDPOINTS.get(urlsplit(self.path).path, "other")
        call = Call(endpoint, self.command, self.path, fields, body)
        answer = self.server.front.answer(call, self._certificate())
        if answer is None:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = _pass_on  # noqa: N815 (their names there)

    def _certificate(self) -> str | None:
        shown = self.connection.getpeercert(True) if isinstance(self.connection, ssl.SSLSocket) else None
        return ssl.DER_cert_to_PEM_cert(shown) if shown else None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        """Nobody reads it."""
