"""Nobody gets past the door of the admin API without its token, from a foreign page or under a foreign name."""

from __future__ import annotations

import base64
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pylae import ConfigError, EngineError, Gateway
from pylae.admin import guard
from support.admin import Admin
from support.instance import EchoInstance
from support.peer import Peer, raw
from support.running import Process, Running, configure

Start = Callable[..., Admin]

PROBES = ("/live", "/ready")
"""What tells a status only (`test_admin_probes.py`)."""


def operations(admin: Admin) -> list[tuple[str, str]]:
    """Every method and path of the OpenAPI document, with values for the parameters, and some that are not there."""
    paths: dict[str, Any] = admin.get("/openapi.json")["paths"]
    found = [(method.upper(), re.sub(r"\{\w+\}", "x", path)) for path, methods in paths.items() for method in methods]
    assert len(found) > 15
    return [*found, ("GET", "/"), ("GET", "/openapi.json"), ("GET", "/nothing"), ("OPTIONS", "/config"), ("TRACE", "/")]


def test_no_request_without_the_token_passes_on_any_path(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        before = api.get("/config")
        wrong = [
            {},
            {"Authorization": "Bearer"},
            {"Authorization": f"Bearer {api.token}x"},
            {"Authorization": f"Bearer {api.token[:-1]}"},
            {"Authorization": f"Token {api.token}"},
            {"Authorization": f"Basic {base64.b64encode(b'admin:admin').decode()}"},
            {"Authorization": f"Basic {api.token}"},
            {"Authorization": "Basic ====", "X-Token": api.token},
            {"Authorization": api.token},
            {"Cookie": f"token={api.token}"},
        ]
        stranger = httpx.Client(base_url=f"http://{api.address}", verify=False, timeout=30)
        for method, path in operations(api):
            for fields in wrong if path not in PROBES else ():
                answer = stranger.request(method, f"{path}?token={api.token}", headers=fields)
                assert answer.status_code == 401, (method, path, fields)
                assert answer.headers["Content-Type"] == "application/problem+json"
                assert "Bearer" in answer.headers["WWW-Authenticate"]
                assert api.token not in answer.text
        stranger.close()
        assert api.get("/config") == before


def test_two_credentials_are_none(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        line = f"Authorization: Bearer {api.token}\r\n"
        head = f"GET /status HTTP/1.1\r\nHost: {api.address}\r\n"
        assert raw(api.address, f"{head}{line}\r\n".encode(), 1)[0].status == 200
        assert raw(api.address, f"{head}{line}{line}\r\n".encode(), 1)[0].status == 401


def test_the_token_as_password_lets_browsers_in(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api, httpx.Client(auth=("anybody", api.token), verify=False) as browser:
        page = browser.get(f"http://{api.address}/")
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")
        assert "<code>/config</code>" in page.text
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:9901", "gate.example", "127.9.9.9:80"]
)
def test_hosts_that_are_answered_for(admin: Start, echo: EchoInstance, host: str) -> None:
    with admin("admin: {address: '127.0.0.1:0', hosts: [Gate.example]}", all=echo) as api:
        assert api.http.get("/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9901",
        "127.0.0.1.evil.example",
        "192.0.2.1",
        "localhost.evil.example",
        "[::2]",
        "a b",
    ],
)
def test_other_hosts_are_refused_even_with_the_token(admin: Start, echo: EchoInstance, host: str) -> None:
    """DNS rebinding: a page of evil.example whose name was made to point here."""
    with admin(all=echo) as api:
        answer = api.http.get("/status", headers={"Host": host})
        assert answer.status_code in (400, 403)
        assert "revision" not in answer.text


def test_pages_of_other_origins_are_refused_even_with_the_token(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        own = f"http://{api.address}"
        for fields in ({"Origin": own}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
            assert api.http.post("/cache/purge", json={"everything": True}, headers=fields).status_code == 200
        for fields in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": f"http://{api.address}0"},
            {"Origin": "http://127.0.0.1"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": own, "Sec-Fetch-Site": "cross-site"},
        ):
            answer = api.http.post("/cache/purge", json={"everything": True}, headers=fields)
            assert answer.status_code == 403, fields
            assert "Access-Control-Allow-Origin" not in answer.headers


def test_websockets_are_refused(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        answer = api.http.get("/status", headers={**upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})
        assert answer.status_code != 101


def test_nothing_of_it_is_reachable_on_a_port_of_the_data_plane(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        routed = "routes: [{path: /only, service: all, auth_required: false}]"
        api.running.apply({"routes": [], **configure(routed, all=echo)})
        for method, path in operations(api):
            answer = api.http.request(method, f"{api.running.url}{path}")
            assert answer.status_code == 404 or path == "/", (method, path, answer.text)
            assert "revision" not in answer.text


def test_an_instance_cannot_be_the_admin_api() -> None:
    for url in ("http://127.0.0.1:9901", "http://localhost:9901", "http://[::1]:9901", "http://0.0.0.0:9901"):
        config = configure("admin: 127.0.0.1:9901", all=[url])
        with pytest.raises(ConfigError, match="is the admin API"):
            Gateway(**config).check()
    config = configure("admin: 127.0.0.1:9901", all=["http://127.0.0.1:9902", "http://192.0.2.1:9901"])
    assert Gateway(**config).check() == []


def test_the_generated_token_is_for_its_owner_only(admin: Start, echo: EchoInstance, tmp_path: Path) -> None:
    with admin(all=echo) as api:
        file = tmp_path / "state" / "admin-token"
        assert file.read_text() == f"{api.token}\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert len(api.token) >= 32
        api.running.stop()
    with admin(all=echo) as again:
        assert again.token == api.token
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="other users can read or change"):
        admin(all=echo)


@pytest.mark.parametrize("left", ["", "half", "\0" * 40])
def test_a_token_that_a_crash_has_spoilt_is_replaced(
    admin: Start, echo: EchoInstance, tmp_path: Path, caplog: pytest.LogCaptureFixture, left: str
) -> None:
    with admin(all=echo) as api:
        first = api.token
        api.running.stop()
    file = tmp_path / "state" / "admin-token"
    file.write_text(left)
    with admin(all=echo) as again:
        assert len(again.token) >= 32
        assert again.token != first
        assert again.http.get("/status").status_code == 200
    assert "generating a new one" in caplog.text


def test_the_token_is_in_no_answer_and_no_log(
    admin: Start, echo: EchoInstance, caplog: pytest.LogCaptureFixture
) -> None:
    token = "0123456789abcdef-configured"
    with admin({"admin": {"address": "127.0.0.1:0", "token": token}}, all=echo) as api:
        assert api.token == token
        for method, path in operations(api):
            if method == "GET" and path not in ("/exchanges/tail", "/traces/watch"):
                assert token not in api.http.get(path).text
        assert token not in api.http.get("/config?effective=true").text
        api.http.get("/", headers={"Authorization": "Bearer wrong-but-secret"})
    assert token not in caplog.text
    assert "wrong-but-secret" not in caplog.text
    assert "with a wrong token, from 127.0.0.1" in caplog.text


def test_a_new_token_takes_effect_at_once(admin: Start, echo: EchoInstance) -> None:
    with admin({"admin": {"address": "127.0.0.1:0", "token": "the-first-of-two-tokens"}}, all=echo) as api:
        second = configure({"admin": {"address": "127.0.0.1:0", "token": "the-second-of-two-tokens"}}, all=echo)
        state = api.running.gateway.config.state
        api.running.gateway.apply(Gateway(**second, state=state))
        assert api.http.get("/status").status_code == 401
        fields = {"Authorization": "Bearer the-second-of-two-tokens"}
        assert api.http.get("/status", headers=fields).status_code == 200


def test_a_unix_socket_is_for_its_owner_only(admin: Start, echo: EchoInstance, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    left_behind = socket.socket(socket.AF_UNIX)
    left_behind.bind(str(path))
    left_behind.close()
    with admin({"admin": f"unix:{path}"}, all=echo) as api:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path), verify=False), headers=api.credential) as client:
            assert client.get("http://any.name/status").status_code == 200
            assert client.get("http://any.name/status", headers={"Authorization": "x"}).status_code == 401
            assert client.get("http://any.name/", headers={"Origin": "http://evil.example"}).status_code == 403
        with pytest.raises(EngineError, match="in use"):
            admin({"admin": f"unix:{path}"}, all=echo)
        api.running.stop()
        assert not path.exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("0.0.0.0:9901", "loopback"),
        ("192.0.2.1:9901", "loopback"),
        ("unix:relative", "must be absolute"),
        ("unix:/" + "x" * 200, "must be absolute"),
        ("gate.example:9901", "an IP address"),
        ({"token": "short"}, "16 to 512"),
        ({"token": "with a blank in the middle"}, "16 to 512"),
        ({"token": "0123456789abcdef", "token_file": "x"}, "only one of them"),
        ({"hosts": ["http://x"]}, "is not a host name"),
    ],
)
def test_settings_that_are_refused(settings: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Gateway(admin=settings)


def test_other_addresses_need_tls() -> None:
    config = Gateway(admin={"address": "0.0.0.0:9901", "tls": "auto"}).config
    assert config.admin
    assert config.admin.address == "0.0.0.0:9901"


def test_bodies_are_bounded(admin: Start, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_BODY", 1000)
    with admin(all=echo) as api:
        assert api.http.post("/config/validate", content=b"#" * 1000).status_code == 200
        assert api.http.post("/config/validate", content=b"#" * 1001).status_code == 413
        fields = {"Content-Type": "application/json"}
        answer = api.http.post("/limits/look", content=(b"#" * 600 for _ in range(2)), headers=fields)
        assert answer.status_code == 413


def test_an_address_in_use_is_an_error_where_it_was_configured(
    gateway: Callable[..., Running],
    echo: EchoInstance,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EngineError, match="the admin API cannot listen"):
            gateway({"admin": address, "state": str(tmp_path)}, all=echo)
        monkeypatch.delenv("PYLAE_ADMIN")
        monkeypatch.setattr("pylae.config.models.admin.DEFAULT_ADDRESS", address)
        monkeypatch.setattr("pylae.admin.server.default_admin", lambda: Gateway(admin=address).config.admin)
        running = gateway({"state": str(tmp_path)}, all=echo)
        assert running.gateway.admin is None
        assert "the gateway runs without it" in caplog.text
        assert running.get("/").status == 200


def test_the_environment_decides_where_nothing_is_said(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYLAE_ADMIN", "127.0.0.1:0")
    running = gateway_process({"state": str(tmp_path)}, all=echo)
    address = running.read_until("admin API on").split()[-1]
    with Peer.connect(address) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert peer.read_answer().status == 401


def test_a_method_that_is_not_there_is_told_those_that_are(admin: Start, echo: EchoInstance) -> None:
    """405 names every method that would be answered, whichever functions answer them."""
    with admin(all=echo) as api:
        paths: dict[str, Any] = api.get("/openapi.json")["paths"]
        several = [path for path, methods in paths.items() if len(methods) > 1]
        assert several
        for path, methods in [*paths.items(), ("/", ["get"]), ("/openapi.json", ["get", "head"])]:
            known = {method.upper() for method in methods}
            target = re.sub(r"\{\w+\}", "x", path)
            for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} - known:
                answer = api.http.request(method, target)
                assert (answer.status_code, answer.headers.get("Allow")) == (405, ", ".join(sorted(known))), (
                    method,
                    path,
                )
        # Where there is nothing, no method would do.
        answer = api.http.post("/nothing")
        assert (answer.status_code, "Allow" in answer.headers) == (404, False)
