"""Small HTTP servers that speak an API of others: over TCP, TLS or a Unix socket, with answers that wait."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


class ApiServer(ABC):
    """Answers GETs by `answer`, which runs on a thread of its own for each and may wait for `changed`.

    It may be stopped and started again, at the same address.
    """

    def __init__(self, socket_file: Path | None = None, context: ssl.SSLContext | None = None) -> None:
        self._socket_file, self._context = socket_file, context
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()
        self.changed = threading.Condition()
        """Held while the state changes, and notified then."""
        self.stopped = False
        self.asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        """Path, query and fields of each request."""
        self.raw: bytes | None = None
        """What is sent in the place of every answer, head and all."""
        self.failure: tuple[int, str] | None = None
        """Status and text of every answer, if it is to fail."""

    @property
    def address(self) -> str:
        """As settings have it."""
        if self._socket_file:
            return f"unix:{self._socket_file}"
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self._port}"

    @abstractmethod
    def answer(self, request: Request) -> None:
        """Answers a request."""

    def start(self) -> None:
        """Listens."""
        api = self

        class Handler(Request):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                self.api_path, self.query = url.path, parse_qs(url.query, keep_blank_values=True)
                with api.changed:
                    api.asked.append((url.path, self.query, dict(self.headers)))
                    api.changed.notify_all()
                # A gateway that has stopped waiting is gone.
                with contextlib.suppress(OSError):
                    if api.raw is not None:
                        self.wfile.write(api.raw)
                    elif api.failure is not None:
                        self.say(api.failure[1].encode(), status=api.failure[0])
                    else:
                        api.answer(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_UNIX if api._socket_file else socket.AF_INET

            def server_bind(self) -> None:
                if api._socket_file:
                    api._socket_file.unlink(missing_ok=True)
                    self.socket.bind(str(api._socket_file))
                else:
                    super().server_bind()

            def get_request(self) -> tuple[Any, Any]:
                connection, peer = self.socket.accept()
                if api._context:
                    connection = api._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                api._connections.add(connection)
                return connection, peer or ("unix", 0)

            def shutdown_request(self, request: Any) -> None:
                api._connections.discard(request)
                super().shutdown_request(request)

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that ends the connection is none."""

        self.stopped = False
        self._server = Server(("127.0.0.1", self._port), Handler)
        if not self._socket_file:
            self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Ends with all connections."""
        server, self._server = self._server, None
        if server is None:
            return
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        server.shutdown()
        server.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float) -> bool:
        """Waits for a change, while `changed` is held; False once the time is over or the server stops."""
        return self.changed.wait(seconds) and not self.stopped

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self.stop()


class Request(BaseHTTPRequestHandler):
    """A request, and how it is answered."""

    protocol_version = "HTTP/1.1"
    api_path: str
    query: dict[str, list[str]]

    def say(self, body: bytes, status: int = 200, kind: str = "text/plain", **fields: str) -> None:
        """Answers whole, in chunks as servers do that do not know the length when they begin."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        for piece in (body[:10], body[10:]):
            if piece:
                self.chunk(piece)
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, piece: bytes) -> None:
        """Sends a piece of a body."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.flush()

    def say_json(self, value: Any, status: int = 200, **fields: str) -> None:
        """Answers with JSON."""
        self.say(json.dumps(value).encode(), status, "application/json", **fields)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        """Nobody reads it."""
