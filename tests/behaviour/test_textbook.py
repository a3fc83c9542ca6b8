"""The program that people know from the textbook runs as it stands, host names and port apart."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROGRAM = r"""
import logging
logging.basicConfig(level="INFO")

from pylae import Gateway, Route

gateway = Gateway(listeners=["127.0.0.1:0"])
gateway.add_route(Route(pattern=r"^/api/users/(\d+)$", method="GET", service_name="user-service",
                        service_url="http://ORIGIN", auth_required=True, rate_limit=100))
gateway.add_route(Route(pattern=r"^/api/orders.*$", method="GET|POST|PUT|DELETE", service_name="order-service",
                        service_url="http://ORIGIN", rate_limit=50, timeout=30, retry_count=3, circuit_breaker=True))
gateway.run()
"""


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.command} {self.path}".encode()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(url: str, method: str, token: str = "") -> tuple[int, str]:
    fields = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, method=method, data=b"{}" if method == "POST" else None, headers=fields)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def test_it_runs_and_routes(tmp_path: Path, origin: str) -> None:
    program = tmp_path / "gateway.py"
    program.write_text(PROGRAM.replace("ORIGIN", origin))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XDG_STATE_HOME": str(tmp_path / "state")}
    for name in ("PYLAE_JWT_SECRET", "JWT_SECRET"):
        environ.pop(name, None)
    with subprocess.Popen([sys.executable, program], stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stderr is not None
        said = ""
        while not (listening := re.search(r"listening on (\S+)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        gateway = listening[1]
        try:
            # What requires authentication is closed; whoever started the program can make a token, and nobody else.
            assert ask(f"{gateway}/api/users/42", "GET")[0] == 401
            secret = tmp_path / "state" / "pylae" / "jwt-secret"
            assert secret.stat().st_mode & 0o777 == 0o600
            command = [sys.executable, "-m", "pylae", "token", program, "--user", "42"]
            token = subprocess.run(command, capture_output=True, text=True, env=environ, check=True).stdout.strip()
            assert ask(f"{gateway}/api/users/42", "GET", token) == (200, "GET /api/users/42")
            assert ask(f"{gateway}/api/users/42", "POST", token)[0] == 405
            assert ask(f"{gateway}/api/users/x", "GET", token)[0] == 404
            assert ask(f"{gateway}/api/orders", "POST", token) == (200, "POST /api/orders")
            assert ask(f"{gateway}/api/orders/7?a=b", "GET", token) == (200, "GET /api/orders/7?a=b")
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.communicate(timeout=20)[1]
        assert process.returncode == 0, rest
        assert f"the gateway accepts tokens that are signed with the secret in {secret}; `pylae token" in said + rest
        assert secret.read_text().strip() not in said + rest
