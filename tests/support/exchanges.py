"""A service that answers as a test says, a gateway in front of it, and a client that sees every byte that matters."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from pylae import Gateway

DEADLINE = 20
"""Seconds after which a test gives up on a connection."""


@dataclass
class Request:
    """A request as the service got it."""

    method: str
    target: str
    headers: Message
    body: bytes


@dataclass
class Reply:
    """What the service answers, or what a client got."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = (("Content-Type", "text/plain"),)
    body: bytes = b"hello"
    chunked: bool = False

    def all(self, name: str) -> list[str]:
        """Every value of a field, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of a field that is there at most once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass
class Service:
    """A running service. `answer` may be replaced at any time."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], Reply] = lambda _: Reply()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def serving(answer: Callable[[Request], Reply] | Reply | None = None) -> Iterator[Service]:
    """Runs a service on a port of its own."""
    service = Service()
    if answer is not None:
        service.answer = (lambda _: answer) if isinstance(answer, Reply) else answer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline:
                self.close_connection = True
                return
            if not self.parse_request():
                return
            request = Request(self.command, self.path, self.headers, self._body())
            service.requests.append(request)
            self._send(request, service.answer(request))

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _send(self, request: Request, reply: Reply) -> None:
            head = [f"HTTP/1.1 {reply.status} Reason", *(f"{name}: {value}" for name, value in reply.headers)]
            bodiless = request.method == "HEAD" or reply.status in (204, 304)
            if reply.chunked:
                head.append("Transfer-Encoding: chunked")
            elif not reply.all("Content-Length") and reply.status not in (204, 304):
                head.append(f"Content-Length: {len(reply.body)}")
            body = b"" if bodiless else reply.body
            if reply.chunked and not bodiless:
                body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
            self.wfile.write("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def gateway(folder: Path, configuration: str | Mapping[str, Any]) -> Iterator[str]:
    """Runs a gateway with this configuration, on one worker, and gives its address."""
    with running(folder, configuration) as (_, address):
        yield address


@contextlib.contextmanager
def running(folder: Path, configuration: str | Mapping[str, Any]) -> Iterator[tuple[Gateway, str]]:
    """The same, with the gateway itself."""
    read = yaml.safe_load(configuration) if isinstance(configuration, str) else configuration
    file = folder / "pylae.yaml"
    file.write_text(yaml.safe_dump({"listeners": ["127.0.0.1:0"], "workers": 1, **read}))
    one = Gateway.from_file(file)
    (address,) = one.start()
    try:
        yield one, address
    finally:
        one.stop(drain=False)


def ask(
    address: str,
    target: str = "/",
    method: str = "GET",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes | Iterator[bytes] | None = None,
) -> Reply:
    """One request on a connection of its own. A body that is an iterator is sent chunked."""
    connection = http.client.HTTPConnection(address, timeout=DEADLINE)
    try:
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        has_host = any(name.lower() == "host" for name, _ in pairs)
        connection.putrequest(method, target, skip_host=has_host, skip_accept_encoding=True)
        for name, value in pairs:
            connection.putheader(name, value)
        if body is not None and not isinstance(body, bytes):
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(body, encode_chunked=True)
        else:
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
        response = connection.getresponse()
        return Reply(response.status, response.getheaders(), response.read())
    finally:
        connection.close()
