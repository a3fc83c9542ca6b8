"""The verbs that talk to a running gateway, called as people call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from pylae.cli import main
from support.admin import Admin
from support.instance import EchoInstance, RawInstance
from support.peer import wait_until
from support.running import Process, configure
from support.tokens import SECRET, bearer, token

Start = Callable[..., Admin]
Pylae = Callable[..., Result]


@pytest.fixture
def pylae(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pylae]:
    """Calls the command in an empty directory, with what the last `admin=…` was told of in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYLAE_ADMIN")

    def run(*arguments: str, admin: Admin | None = None) -> Result:
        environment = {"PYLAE_ADMIN": admin.address, "PYLAE_ADMIN_TOKEN": admin.token} if admin else {}
        return CliRunner().invoke(main, arguments, env=environment)

    yield run


def test_status(admin: Start, echo: EchoInstance, dead_url: str, pylae: Pylae) -> None:
    with admin("services: {all: {circuit_breaker: true}, empty: {discovery: {heartbeat: {}}}}", all=echo) as api:
        told = pylae("status", admin=api)
        assert told.exit_code == 0, told.output
        first, *rest = told.stdout.splitlines()
        assert first == f"healthy  listening on {api.running.address}, process {os.getpid()}"
        assert any(line.split() == ["all", echo.url, "static", "up", "0", "0", "0", "closed"] for line in rest)
        assert any(line.split() == ["empty"] for line in rest)
    with admin("services: {all: {retry_budget: {ratio: 0, min_per_second: 0}}}", all=dead_url) as api:
        api.running.get("/")
        wait_until(lambda: api.http.get("/health").status_code == 503)
        told = pylae("status", admin=api)
        assert told.exit_code == 1
        assert told.stdout.startswith("unhealthy")
        assert "were errors (5xx)" in told.output


def test_reload_from_the_configuration_at_hand(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path, pylae: Pylae
) -> None:
    """What is asked is found by the file, or by the directory that it is in."""
    socket = tmp_path / "admin.sock"
    config = configure({"admin": f"unix:{socket}", "state": str(tmp_path / "state")}, all=echo)
    running = gateway_process(config)
    running.read_until("admin API on")
    wait_until(lambda: pylae("status", "-c", str(running.file)).exit_code == 0)
    told = pylae("reload", "-c", str(running.file))
    assert (told.exit_code, told.stdout.startswith("ok applied revision ")) == (0, True), told.output
    running.file.write_text(yaml.safe_dump({**config, "routes": [{"path": "relative"}, {"prefix": 5}]}))
    told = pylae("reload", "-c", str(running.file))
    assert told.exit_code == 1
    config["listeners"] = ["127.0.0.1:0"]
    running.write(config)
    folder = Path(running.file).parent
    found = subprocess.run(
        [sys.executable, "-m", "pylae", "status"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert found.stdout.startswith("healthy"), found.stderr


def test_problems_are_all_printed(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path, pylae: Pylae
) -> None:
    config = configure({"admin": "127.0.0.1:0", "state": str(tmp_path / "state")}, all=echo)
    running = gateway_process(config)
    address = running.read_until("admin API on").split()[-1]
    running.write({**config, "limits": {"max_head": 1, "max_fields": 0}})
    told = pylae("reload", "--admin", address, "--token-file", str(tmp_path / "state" / "admin-token"))
    assert told.exit_code == 1
    assert "limits.max_head: " in told.output
    assert "limits.max_fields: " in told.output


def test_drain(admin: Start, pylae: Pylae) -> None:
    with RawInstance() as one, admin(all=one) as api:
        with api.running.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            peer = one.accept()
            peer.read_request()
            told = pylae("drain", "all", one.url, admin=api)
            assert told.stdout == f"{one.address} gets no new requests; 1 request in progress\n"
            told = pylae("drain", "all", one.address, "--wait", "0.1", admin=api)
            assert (told.exit_code, "still has 1 request in progress" in told.output) == (3, True)
        told = pylae("drain", "all", one.address, "--wait", "20", admin=api)
        assert (told.exit_code, "0 requests in progress" in told.output) == (0, True)
        assert api.running.get("/").status == 503
        assert pylae("drain", "all", one.address, "--undo", admin=api).exit_code == 0
        assert api.get("/services/all")["instances"][0]["state"] == "up"
        told = pylae("drain", "all", "nowhere:1", admin=api)
        assert (told.exit_code, "no instance with this address" in told.output) == (3, True)


def test_purge(admin: Start, pylae: Pylae) -> None:
    cached = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok"
    route = "routes: [{name: r, prefix: /, service: all, auth_required: false, cache: true}]"
    with RawInstance(cached) as one, admin(route, all=one) as api:
        for arguments in (["--prefix", "/"], ["--url", "/x"], ["--service", "all"], ["--all"]):
            api.running.get("/x")
            assert pylae("purge", *arguments, admin=api).stdout == "1 response removed\n"
        assert pylae("purge", "--tag", "t", admin=api).stdout == "0 responses removed\n"
        assert pylae("purge", admin=api).exit_code == 2
        assert pylae("purge", "--all", "--tag", "x", admin=api).exit_code == 2


def test_revoke(admin: Start, echo: EchoInstance, pylae: Pylae) -> None:
    with admin({"auth": {"jwt": {"secret": SECRET}}}, all=echo) as api:
        field = bearer(token(jti="a", iat=int(time.time())))
        assert pylae("revoke", "--jti", "b", "--ttl", "12h", admin=api).stdout == "revoked\n"
        assert api.running.get("/", field).status == 200
        assert pylae("revoke", "--user", "7", admin=api).stdout == "revoked\n"
        assert api.running.get("/", field).status == 401
        assert pylae("revoke", admin=api).exit_code == 2
        assert pylae("revoke", "--user", "7", "--jti", "a", admin=api).exit_code == 2
        wrong = pylae("revoke", "--user", "7", "--ttl", "soon", admin=api)
        assert wrong.exit_code != 0
        assert "ttl" in wrong.output


@pytest.mark.parametrize("as_json", [True, False])
def test_tail(admin: Start, echo: EchoInstance, as_json: bool) -> None:
    routes = "routes: [{name: a, path: /a, service: all}, {name: b, path: /b, service: all}]"
    with admin(routes, all=echo) as api:
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                api.running.get("/b")
                api.running.get("/a?x=1&token=hush")
                api.running.get("/none")

        asking = threading.Thread(target=ask)
        asking.start()
        environment = {**os.environ, "PYLAE_ADMIN": api.address, "PYLAE_ADMIN_TOKEN": api.token}
        arguments = [sys.executable, "-m", "pylae", "tail", "--route", "a", *(["--json"] if as_json else [])]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as tail:
            assert tail.stdout
            lines = [tail.stdout.readline() for _ in range(5)]
            ended.set()
            asking.join()
            api.running.stop()
            # Whoever does not take its lines would hold it up.
            tail.communicate(timeout=20)
            assert tail.returncode == 0, "it ends with the gateway"
        for line in lines:
            if as_json:
                assert json.loads(line)["route"] == "a"
            else:
                assert "GET /a?x=1&token=***  a → all → http://127.0.0.1:" in line
                assert "  200  " in line


def test_top(admin: Start, echo: EchoInstance, pylae: Pylae) -> None:
    with admin("services: {all: {circuit_breaker: true}}", all=echo) as api:
        for _ in range(4):
            api.running.get("/")
        wait_until(lambda: api.get("/metrics/summary")["requests"] == 4)
        told = pylae("top", admin=api)
        assert told.exit_code == 0, told.output
        assert told.stdout.startswith("healthy  ")
        assert "SERVICE" in told.output
        (row,) = (line for line in told.stdout.splitlines() if line.startswith("all "))
        assert "0.0%" in row
        assert "1/1" in row
        assert row.endswith("closed")


def test_what_is_missing_is_said(admin: Start, echo: EchoInstance, tmp_path: Path, pylae: Pylae) -> None:
    told = pylae("status")
    assert (told.exit_code, "no gateway of this directory is running" in told.output) == (3, True)
    for text in ("admin: false\nservices: {}\n", "admin: 127.0.0.1:1\nstate: state\n"):
        (tmp_path / "pylae.yaml").write_text(text)
        assert "no gateway is running with pylae.yaml" in pylae("status").output
    assert "there is no token" in pylae("status", "--admin", "127.0.0.1:1").output
    assert (
        "the port of the admin API"
        in pylae("status", "-c", str(tmp_path / "pylae.yaml"), "--admin", "127.0.0.1:0").output
    )
    with admin(all=echo) as api:
        (tmp_path / "wrong").write_text("w" * 40)
        told = pylae("status", "--admin", api.address, "--token-file", str(tmp_path / "wrong"))
        assert (told.exit_code, "the token is wrong, or not valid any more" in told.output) == (3, True)
        api.running.stop()
        told = pylae("status", admin=api)
        assert (told.exit_code, "is the gateway running?" in told.output) == (3, True)


def test_apply_to_a_gateway_that_is_alone(admin: Start, echo: EchoInstance, pylae: Pylae, tmp_path: Path) -> None:
    with admin(all=echo) as api:
        document = configure({"admin": {"address": "127.0.0.1:0"}}, all=echo)
        document["routes"][0]["prefix"] = "/applied"
        (tmp_path / "shop.yaml").write_text(yaml.safe_dump({**document, "state": str(tmp_path / "state")}))
        told = pylae("apply", "shop.yaml", "--wait", "--reason", "a try", admin=api)
        assert told.exit_code == 0, told.output
        assert told.stdout == f"ok applied revision {api.get('/status')['revision']}\n"
        assert api.running.get("/applied/x").status == 200
        assert api.get("/history")["entries"][0]["reason"] == "a try"
        # What is wrong is in the file that was given, and not in that of the gateway.
        (tmp_path / "shop.yaml").write_text("routes: []\nlimits: {max_bodi: 1}\n")
        told = pylae("apply", "shop.yaml", admin=api)
        assert told.exit_code == 1
        assert told.stderr.startswith("shop.yaml:2:10: limits.max_bodi: unknown key")
        assert pylae("apply", admin=api).exit_code == 2
        assert pylae("apply", "shop.yaml", "--cancel", admin=api).exit_code == 2
        alone = pylae("apply", "--cancel", admin=api)
        assert alone.exit_code == 3 and "this gateway has no shared store" in alone.output
        assert pylae("nodes", admin=api).exit_code == 3


def test_apply_sends_what_a_file_includes(admin: Start, echo: EchoInstance, pylae: Pylae, tmp_path: Path) -> None:
    with admin(all=echo) as api:
        document = configure({"admin": {"address": "127.0.0.1:0"}, "state": str(tmp_path / "state")}, all=echo)
        routes = document.pop("routes")
        (tmp_path / "routes.yaml").write_text(yaml.safe_dump({"routes": [{**routes[0], "prefix": "/included"}]}))
        (tmp_path / "shop.yaml").write_text(yaml.safe_dump({"include": "routes.yaml", **document}))
        told = pylae("apply", "shop.yaml", admin=api)
        assert told.exit_code == 0, told.output
        assert api.running.get("/included/x").status == 200
