"""Who is let in to the dashboard, and from where. No browser is needed to see that."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest
from click.testing import CliRunner

from pylae.cli import main
from support.admin import Admin
from support.dashboard import Dashboard
from support.instance import EchoInstance

WEBSOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


@pytest.fixture
def api(admin: Callable[..., Admin], echo: EchoInstance) -> Admin:
    """A gateway."""
    return admin(users=echo)


@pytest.fixture
def http(api: Admin) -> Iterator[httpx.Client]:
    """A client of a dashboard of that gateway. It follows nothing."""
    with Dashboard(api.address) as dashboard, httpx.Client(base_url=dashboard.url, timeout=30, verify=False) as client:
        yield client


def log_in(http: httpx.Client, token: str, origin: str | None = "own") -> httpx.Response:
    """The answer to the form."""
    own = str(http.base_url).rstrip("/")
    fields = {} if origin is None else {"Origin": own if origin == "own" else origin}
    return http.post("/login", data={"token": token}, headers=fields)


def upgrade(http: httpx.Client, origin: str, cookie: str = "") -> int:
    """The status of a WebSocket handshake."""
    host, port = http.base_url.host, http.base_url.port
    lines = (
        f"GET {WEBSOCKET} HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", f"Origin: {origin}",
        f"Cookie: {cookie}", "", "",
    )  # fmt: skip
    with socket.create_connection((host, port or 0), timeout=30) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return int(connection.recv(4096).split()[1])


def test_nothing_is_shown_without_a_session(http: httpx.Client) -> None:
    for path in ("/", "/services", "/_nicegui/anything", "/nowhere"):
        answer = http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert http.post("/logout", headers={"Origin": str(http.base_url).rstrip("/")}).status_code == 401
    assert upgrade(http, str(http.base_url).rstrip("/")) == 403


def test_a_login(http: httpx.Client, api: Admin) -> None:
    assert (refused := log_in(http, "wrong-but-long-enough")).status_code == 401
    assert "set-cookie" not in refused.headers
    answer = log_in(http, api.token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    page = http.get("/")
    assert page.status_code == 200
    assert api.token not in page.text
    nonce = re.search(r"'nonce-([\w-]+)'", page.headers["content-security-policy"])
    assert nonce and "default-src 'none'" in page.headers["content-security-policy"]
    assert page.text.count("<script") == page.text.count(f'<script nonce="{nonce[1]}"') > 0
    assert nonce[1] not in http.get("/").text, "each page has another one"
    own = str(http.base_url).rstrip("/")
    assert http.post("/logout", headers={"Origin": own}).status_code == 303
    assert http.get("/").status_code == 303


@pytest.mark.parametrize("token", ["", "ä", "<script>alert(1)</script>", "x" * 20_000])
def test_what_is_no_token_is_refused(http: httpx.Client, token: str) -> None:
    answer = log_in(http, token)
    assert answer.status_code in (401, 413, 422)
    assert "<script" not in answer.text


def test_other_hosts_and_origins_are_refused(http: httpx.Client, api: Admin) -> None:
    port = http.base_url.port
    for host in (f"rebound.example:{port}", f"127.0.0.1:{(port or 0) + 1}", "rebound.example"):
        assert http.get("/login", headers={"Host": host}).status_code == 403
    assert http.get("/login", headers={"Host": f"localhost:{port}"}).status_code == 200
    for origin in (None, "null", "http://rebound.example", f"http://localhost:{port}"):
        assert log_in(http, api.token, origin).status_code == 403
    cookie = log_in(http, api.token).headers["set-cookie"].partition(";")[0]
    own = str(http.base_url).rstrip("/")
    assert upgrade(http, "http://rebound.example", cookie) == 403
    assert upgrade(http, own, "pylae-dashboard=guessed") == 403
    # It is let in; NiceGUI then finds that no page has made it.
    assert upgrade(http, own, cookie) == 101


def test_an_address_lets_one_browser_in_once(api: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLAE_ADMIN_TOKEN", api.token)
    with Dashboard(api.address, "--link") as dashboard:
        assert dashboard.process.stdout is not None
        link = next(
            found[0] for line in dashboard.process.stdout if (found := re.search(r"http://\S+/enter/\S+", line))
        )
        with httpx.Client(timeout=30, verify=False) as first, httpx.Client(timeout=30, verify=False) as second:
            assert first.get(link).status_code == 303
            assert first.get(dashboard.url).status_code == 200
            assert second.get(link).status_code == 401
            assert second.get(f"{dashboard.url}/enter/guessed").status_code == 401


def test_it_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)
    found = CliRunner().invoke(main, ["dashboard", "127.0.0.1:9"])
    assert found.exit_code == 3
    assert "pip install 'pylae[dashboard]'" in found.output


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = CliRunner().invoke(main, ["dashboard", "127.0.0.1:9", "--port", port])
    assert found.exit_code == 3
    assert f"127.0.0.1:{port}" in found.output and "--port 0" in found.output
