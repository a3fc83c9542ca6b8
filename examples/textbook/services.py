"""The services behind `textbook.py`, each a process: `python services.py user-service [PORT]`.

A service says its address in the first line of its output and ends when its input does.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

Answer = tuple[int, dict[str, Any]]

served = count(1)


def users(method: str, path: str, body: Any, headers: Message) -> Answer:
    """Registers users and tells about them."""
    if method == "POST":
        return 201, {"id": "8", "email": body["email"]}
    return 200, {"id": path.rpartition("/")[2], "asked_by": headers.get("X-User-ID")}


def orders(method: str, path: str, body: Any, headers: Message) -> Answer:
    """Orders; `served` shows whether the service was asked at all."""
    return 200, {"method": method, "path": path, "user": headers.get("X-User-ID"), "served": next(served), "got": body}


def payments(method: str, path: str, body: Any, _headers: Message) -> Answer:
    """Payments, and one address at which it always fails."""
    if path == "/api/payments/broken":
        return 500, {"error": "the bank does not answer", "served": next(served)}
    return (201 if method == "POST" else 200), {"payment": body}


def notifications(_method: str, _path: str, _body: Any, headers: Message) -> Answer:
    """What there is to tell a user."""
    return 200, {"for": headers.get("X-User-ID"), "role": headers.get("X-User-Role"), "notifications": []}


SERVICES: dict[str, Callable[[str, str, Any, Message], Answer]] = {
    "user-service": users,
    "order-service": orders,
    "payment-service": payments,
    "notification-service": notifications,
}


def serve(name: str, port: int = 0) -> None:
    """Serves until the input ends."""
    answer = SERVICES[name]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                status, value = answer(self.command, self.path, json.loads(raw or b"null"), self.headers)
            except (ValueError, KeyError, TypeError):
                status, value = 400, {"error": "this cannot be read"}
            if self.path == "/health":
                status, value = 200, {"status": "healthy"}
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 (the names are those of http.server)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1], *map(int, sys.argv[2:]))
