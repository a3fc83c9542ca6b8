"""Who sends the requests of the `auth_…` scenarios, and a server that says so. It is asked once; the rest is memory."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.scenarios import Scenario

SECRET = "a-secret-of-more-than-thirty-two-bytes-for-cookies"  # noqa: S105 (it opens nothing)
"""What session cookies are sealed with."""
_DAY = 24 * 3600


class _Identity(BaseHTTPRequestHandler):
    """Knows one user, by whatever it is asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"", ("Remote-User", "7"))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = {"active": True, "sub": "7", "exp": int(time.time()) + _DAY}
        self._answer(json.dumps(said).encode(), ("Content-Type", "application/json"))

    def _answer(self, body: bytes, field: tuple[str, str]) -> None:
        self.send_response(200)
        self.send_header(*field)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is given)
        """Nothing: it answers as expected, or no request of the bench gets its 200."""


@contextmanager
def identity_server() -> Iterator[int]:
    """The port of the server, for as long as it is needed."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Identity) as server:
        thread = threading.Thread(target=server.serve_forever, name="bench-identity", daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def with_credential(scenario: Scenario) -> Scenario:
    """The scenario with the credential in its requests by which their sender is known."""
    fields = {
        "session": lambda: f"Cookie: bench={_session()}",
        "introspection": lambda: "Authorization: Bearer an-opaque-token-of-the-bench",
        "forward_auth": lambda: "X-Session: 00000001",
    }
    if not scenario.auth:
        return scenario
    return dataclasses.replace(scenario, headers=(*scenario.headers, fields[scenario.auth]()))


def _session() -> str:
    """The cookie of a session that lasts a day, as a login sets it."""
    from pylae._native import Sealer

    now = int(time.time())
    said = {"i": "b" * 22, "u": "7", "e": "ada@shop.example", "r": "user", "b": now, "x": now + _DAY, "n": now + _DAY}
    return Sealer([SECRET.encode()]).seal("session oidc", json.dumps(said).encode())


def auth(kind: str, port: int) -> dict[str, Any]:
    """The `auth` of a configuration in which the credentials of a scenario are known. `port` is the server's."""
    server = f"http://127.0.0.1:{port}"
    settings: dict[str, dict[str, Any]] = {
        "session": {
            "oidc": {
                "issuer": server,
                "client_id": "bench",
                "client_secret": "bench",
                "cookie_secret": SECRET,
                "cookie": "bench",
            }
        },
        "introspection": {"introspection": {"endpoint": server, "client_id": "bench", "cache": "24h"}},
        "forward_auth": {"forward_auth": {"url": server, "key": "header:X-Session", "cache": "24h"}},
    }
    return settings[kind]
