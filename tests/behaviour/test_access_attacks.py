"""Whoever has a token, or a part of one, can do nothing that it does not allow."""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.admin import Admin
from support.instance import EchoInstance
from support.peer import wait_until
from support.running import Process, configure

Start = Callable[..., Admin]

BEATING = "services: {mail: {discovery: {heartbeat: {}}}, other: {discovery: {heartbeat: {}}}}"


@contextmanager
def client(api: Admin, secret: str) -> Iterator[httpx.Client]:
    """A client with this token."""
    fields = {"Authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=f"http://{api.address}", headers=fields, timeout=30, verify=False) as http:
        yield http


def issue(api: Admin, name: str, *scopes: str, **fields: Any) -> str:
    """Makes a token; returns its secret."""
    secret: str = api.post("/tokens", name=name, scopes=list(scopes), **fields)["secret"]
    return secret


def instances(api: Admin, service: str = "mail") -> list[str]:
    """The instances of a service, once the engine has them."""
    return sorted(one["id"] for one in api.get(f"/services/{service}")["instances"])


def register(http: httpx.Client, url: str, service: str = "mail") -> httpx.Response:
    return http.post(f"/services/{service}/instances", json={"url": url})


def beat(http: httpx.Client, instance: str, service: str = "mail") -> int:
    return http.put(f"/services/{service}/instances/{instance}/heartbeat").status_code


def remove(http: httpx.Client, instance: str, service: str = "mail") -> int:
    return http.delete(f"/services/{service}/instances/{instance}").status_code


def audit(api: Admin) -> list[dict[str, Any]]:
    """The lines of the audit, oldest first, without those of the tests' own preparations."""
    lines: list[dict[str, Any]] = api.get("/audit?most=1000")["lines"]
    return [one for one in lines[::-1] if one["who"] != "admin"]


def test_every_token_that_is_none_gets_the_same_answer(
    admin: Start, echo: EchoInstance, caplog: pytest.LogCaptureFixture
) -> None:
    with admin(all=echo) as api:
        revoked, expired, rotated = (issue(api, name, "read") for name in ("gone", "old", "turned"))
        short = issue(api, "short", "read", expires="1s")
        assert api.http.delete("/tokens/gone").is_success
        api.post("/tokens/turned/rotate", overlap=0)
        good = issue(api, "good", "read")
        with client(api, short) as http:
            wait_until(lambda: http.get("/status").status_code == 401)
        forged = [
            *(revoked, short, rotated),
            f"pylae_{'a' * 12}_{'b' * 43}",
            good[:-1],
            good + "x",
            good.upper(),
            f"pylae_{good[6:18]}_{'A' * 43}",
            f"pylae_{expired[6:18]}_{good[19:]}",
            good[19:],
            good[:18],
            "pylae",
            f"{good} {good}",
            f"{api.token}{good}",
        ]
        answers = set()
        for secret in forged:
            with client(api, secret) as http:
                answer = http.get("/status")
                fields = {name: value for name, value in answer.headers.items() if name.lower() != "date"}
                answers.add((answer.status_code, answer.text, tuple(sorted(fields.items()))))
        ((status, _, _),) = answers
        assert status == 401
        with client(api, good) as http:
            assert http.get("/status").status_code == 200
        for why in (
            "no secret of the token gone",
            "no secret of the token turned",
            "the token short has expired",
            "there is no such token",
            "it is no token",
        ):
            assert why in caplog.text, why
        # Nobody finds a token in the log, in the state folder, in the store or in the audit.
        kept = b"".join(
            file.read_bytes() for file in Path(api.running.gateway.config.state or "").rglob("*") if file.is_file()
        )
        seen = caplog.text + api.http.get("/audit?most=1000").text + api.http.get("/tokens").text
        for secret in (revoked, expired, rotated, short, good):
            assert secret[19:] not in seen
            assert secret[19:].encode() not in kept
        assert {one["status"] for one in api.get("/audit")["lines"]} == {200, 201}, (
            "an attempt without a token is no line"
        )


def test_a_register_token_is_for_its_service_at_its_address(admin: Start, echo: EchoInstance) -> None:
    with admin(BEATING, all=echo) as api:
        with client(api, issue(api, "mail", "register:mail")) as http:
            assert register(http, "http://127.0.0.1:7001").status_code == 201
            assert beat(http, "127.0.0.1:7001") == 200
            for url in ("http://10.0.0.9:8000", "http://127.0.0.2:7001", "http://[::1]:7001", "http://localhost:7001"):
                refused = register(http, url)
                assert refused.status_code == 403, url
            assert "by its IP address" in refused.json()["detail"]
            assert register(http, "http://127.0.0.1:7001", "other").status_code == 403
            assert register(http, "http://127.0.0.1:7001", "nothing").status_code == 403
            api.post("/services/mail/instances", url="http://10.0.0.9:8000")
            assert (beat(http, "10.0.0.9:8000"), remove(http, "10.0.0.9:8000")) == (403, 403)
            assert (beat(http, "127.0.0.1:7002"), remove(http, "127.0.0.1:7002")) == (404, 404)
            assert http.get("/services/mail").status_code == 403
            assert http.post("/services/mail/instances/127.0.0.1:7001/drain").status_code == 403
            wait_until(lambda: instances(api) == ["10.0.0.9:8000", "127.0.0.1:7001"])
            assert remove(http, "127.0.0.1:7001") == 204
        found = [(one["method"], one["arguments"].get("url"), one["status"]) for one in audit(api)]
        assert found[0] == ("POST", "http://127.0.0.1:7001", 201)
        assert [status for _, _, status in found] == [201, *[403] * 4, 403, 403, 403, 403, 404, 403, 204]
        # A beat that changes nothing is no line.
        assert [one["method"] for one in audit(api)].count("PUT") == 1


def test_networks_of_a_register_token(admin: Start, echo: EchoInstance) -> None:
    with admin(BEATING, all=echo) as api:
        secret = issue(api, "mail", "register:mail", addresses=["10.0.0.0/8", "fd00::/8", "192.0.2.7"])
        with client(api, secret) as http:
            for url, status in (
                ("http://10.1.2.3:80", 201),
                ("http://[fd00::1]:80", 201),
                ("http://192.0.2.7:80", 201),
                ("http://192.0.2.8:80", 403),
                ("http://127.0.0.1:80", 403),
                ("http://[fe80::1]:80", 403),
                ("http://11.0.0.1:80", 403),
            ):
                assert register(http, url).status_code == status, url
            assert beat(http, "[fd00::1]:80") == 200
            assert remove(http, "[fd00::1]:80") == 204


def test_what_another_one_registered_is_not_beaten_for_nor_removed_nor_registered_again(
    admin: Start, echo: EchoInstance
) -> None:
    with admin(BEATING, all=echo) as api:
        first, second = (issue(api, name, "register:mail") for name in ("first", "second"))
        with client(api, first) as one, client(api, second) as other:
            assert register(one, "http://127.0.0.1:7001").status_code == 201
            assert register(other, "http://127.0.0.1:7001").status_code == 403
            assert (beat(other, "127.0.0.1:7001"), remove(other, "127.0.0.1:7001")) == (403, 403)
            # Nor what was registered with a token for everything.
            api.post("/services/mail/instances", url="http://127.0.0.1:7002")
            assert register(other, "http://127.0.0.1:7002").status_code == 403
            assert (beat(other, "127.0.0.1:7002"), remove(other, "127.0.0.1:7002")) == (403, 403)
            assert api.http.put("/services/mail/instances/127.0.0.1:7001/heartbeat").status_code == 200
            assert beat(one, "127.0.0.1:7001") == 200
            # A rotated token is the same one.
            turned = api.post("/tokens/first/rotate", overlap=0)["secret"]
            with client(api, turned) as again:
                assert beat(again, "127.0.0.1:7001") == 200
                assert beat(one, "127.0.0.1:7001") == 401
            # What a token leaves behind that is no more can be taken over by who may be there.
            assert api.http.delete("/tokens/first").is_success
            assert beat(other, "127.0.0.1:7001") == 404
            assert remove(other, "127.0.0.1:7001") == 403
            assert register(other, "http://127.0.0.1:7001").status_code == 201
            assert beat(other, "127.0.0.1:7001") == 200


@pytest.mark.parametrize("most", [0, 1.5, True, "2"])
def test_a_number_of_instances_that_no_token_can_have(admin: Start, echo: EchoInstance, most: object) -> None:
    with admin(all=echo) as api:
        given = {"name": "mail", "scopes": ["register:all"], "max_instances": most}
        refused = api.http.post("/tokens", json=given)
        assert (refused.status_code, "max_instances" in refused.text) == (422, True)


def test_a_token_registers_no_more_instances_than_it_may(admin: Start, echo: EchoInstance) -> None:
    with admin(BEATING, all=echo) as api:
        secret = issue(api, "mail", "register:mail", "register:other", max_instances=2)
        with client(api, secret) as http:
            assert [register(http, f"http://127.0.0.1:{port}").status_code for port in (1, 2, 3)] == [201, 201, 409]
            # Those that are there can say something else, and make room for others.
            assert register(http, "http://127.0.0.1:2").status_code == 201
            assert remove(http, "127.0.0.1:1") == 204
            assert [register(http, f"http://127.0.0.1:{port}").status_code for port in (3, 4)] == [201, 409]
            # Of each service.
            assert register(http, "http://127.0.0.1:3", "other").status_code == 201


def test_owners_outlive_a_restart(admin: Start, echo: EchoInstance) -> None:
    with admin(BEATING, all=echo) as api:
        first, second = (issue(api, name, "register:mail") for name in ("first", "second"))
        with client(api, first) as http:
            assert register(http, "http://127.0.0.1:7001").status_code == 201
        api.running.stop()
    with admin(BEATING, all=echo) as api, client(api, first) as one, client(api, second) as other:
        assert beat(other, "127.0.0.1:7001") == 403
        assert beat(one, "127.0.0.1:7001") == 200


def test_a_token_gives_no_more_than_it_has(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        operator = issue(api, "operator", "operate")
        with client(api, issue(api, "deploy", "configure", expires="10d")) as http:
            for scopes in (["operate"], ["configure", "register:all"], ["read", "operate"]):
                refused = http.post("/tokens", json={"name": "x", "scopes": scopes, "expires": "1d"})
                assert refused.status_code == 403
                assert "cannot give scopes that it has not" in refused.json()["detail"]
            assert http.post("/tokens", json={"name": "x", "scopes": ["read"], "expires": "11d"}).status_code == 403
            assert http.post("/tokens/operator/rotate", json={}).status_code == 403
            made = http.post("/tokens", json={"name": "x", "scopes": ["read", "configure"], "expires": "1d"})
            assert made.status_code == 201
            assert made.json()["token"]["by"] == "deploy"
            for name, status in (("x", 409), ("admin", 422), ("local", 422), ("a b", 422)):
                given = {"name": name, "scopes": ["read"], "expires": "1d"}
                assert http.post("/tokens", json=given).status_code == status, name
        with client(api, operator) as http:
            assert http.post("/tokens", json={"name": "y", "scopes": ["operate"]}).status_code == 403
            assert http.delete("/tokens/x").status_code == 403
        assert [one["name"] for one in api.get("/tokens")["tokens"]] == ["deploy", "operator", "x"]


def test_a_configuration_does_not_give_its_author_the_token_for_everything(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        document = api.get("/config")
        with client(api, issue(api, "deploy", "configure")) as http:
            own = {"address": "127.0.0.1:0", "token": "a-token-of-my-own"}
            for changed in (own, {"address": "127.0.0.1:0", "hosts": ["evil.test"]}, False):
                refused = http.put("/config", json={**document, "admin": changed}, headers={"If-Match": "*"})
                assert refused.status_code == 403, changed
            without = {name: value for name, value in document.items() if name != "admin"}
            assert http.put("/config", json=without, headers={"If-Match": "*"}).status_code == 403
            assert http.put("/config", json=document, headers={"If-Match": "*"}).status_code == 200
            # Nor does an entry of the history, in which someone else had changed it.
            hosts = {"address": "127.0.0.1:0", "hosts": ["gate.test"]}
            for changed in (hosts, document["admin"]):
                put = api.http.put("/config", json={**document, "admin": changed}, headers={"If-Match": "*"})
                assert put.status_code == 200, put.text
            entries = api.get("/history")["entries"]
            changed_at = next(one["number"] for one in entries[1:] if "admin" in str(one["changes"]))
            rollback = f"/history/{changed_at}/rollback"
            assert http.post(rollback, headers={"If-Match": "*"}).status_code == 403
            assert api.http.post(rollback, headers={"If-Match": "*"}).status_code == 200
        with client(api, "a-token-of-my-own") as http:
            assert http.get("/status").status_code == 401
        assert api.http.put("/config", json={**document, "admin": own}, headers={"If-Match": "*"}).status_code == 200


def test_a_token_that_ends_while_its_request_arrives_changes_nothing(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        secret = issue(api, "deploy", "configure")
        document = api.http.get("/config").content
        host, _, port = api.address.rpartition(":")
        before = api.get("/status")["revision"]
        with socket.create_connection((host, int(port)), timeout=30) as peer:
            head = f"PUT /config HTTP/1.1\r\nHost: {api.address}\r\nAuthorization: Bearer {secret}\r\nIf-Match: *\r\n"
            peer.sendall(f"{head}Content-Length: {len(document)}\r\n\r\n".encode() + document[:10])
            wait_until(lambda: any(one["last_used"] for one in api.get("/tokens")["tokens"]))
            assert api.http.delete("/tokens/deploy").is_success
            peer.sendall(document[10:])
            assert b" 401 " in peer.recv(100)
        assert api.get("/status")["revision"] == before
        assert [(one["path"], one["status"]) for one in audit(api)] == [("/config", 401)]


def test_a_tail_ends_with_its_token(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api, client(api, issue(api, "watcher", "operate")) as http:
        with http.stream("GET", "/exchanges/tail") as tail:
            lines = tail.iter_lines()
            assert next(lines) == ": watching"
            assert api.http.delete("/tokens/watcher").is_success
            # The next exchange is not told.
            api.running.get("/secret")
            assert not [line for line in lines if "exchange" in line]
        assert api.http.get("/status").status_code == 200


def test_a_wrong_scope_is_refused_before_the_body_is_read(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        host, _, port = api.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as peer:
            head = f"PUT /config HTTP/1.1\r\nHost: {api.address}\r\nAuthorization: Bearer {issue(api, 'r', 'read')}\r\n"
            peer.sendall(f"{head}Content-Length: 30000000\r\n\r\n".encode())
            assert b" 403 " in peer.recv(100)


def test_secrets_of_a_body_are_not_in_the_audit(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        document = api.get("/config") | {"auth": {"jwt": {"secret": "a-secret-of-thirty-two-characters!"}}}
        assert api.http.put("/config?reason=because", json=document, headers={"If-Match": "*"}).is_success
        holder = {"route": "all", "name": "x", "headers": {"X-Key": "hush"}}
        assert api.http.post("/limits/reset", json=holder).status_code == 404
        assert api.http.post("/tokens", json={"name": "x", "scopes": ["read"], "secret": "hush"}).status_code == 422
        text = api.http.get("/audit").text
        assert "because" in text
        assert not re.search(r"hush|a-secret-of", text)


def test_each_line_is_in_the_log_if_that_is_wanted(
    admin: Start, echo: EchoInstance, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with admin({"admin": {"address": "127.0.0.1:0", "audit_log": True}}, all=echo) as api:
        api.post("/revocations", user="7")
        (record,) = [one for one in caplog.records if one.name == "pylae.audit"]
        said = json.loads(record.getMessage())
        assert (said["who"], said["path"], said["arguments"]) == ("admin", "/revocations", {"user": "7"})
    caplog.clear()
    with admin(all=echo) as api:
        api.post("/revocations", user="7")
        assert [one for one in caplog.records if one.name == "pylae.audit"] == []


def _open_files(process: Process) -> set[str]:
    return {one.resolve().name for one in Path(f"/proc/{process.process.pid}/fd").iterdir() if one.exists()}


def test_an_idle_gateway_accepts_tokens_without_its_store(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path
) -> None:
    state = tmp_path / "state"

    @contextmanager
    def started() -> Iterator[tuple[Process, httpx.Client]]:
        process = gateway_process({"admin": "127.0.0.1:0", "state": str(state), **configure(all=echo)})
        address = process.said("admin API on").split()[-1]
        with httpx.Client(base_url=f"http://{address}", timeout=30, verify=False) as http:
            yield process, http
        process.stop()

    def bearer(secret: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {secret}"}

    def own() -> dict[str, str]:
        return bearer((state / "admin-token").read_text().strip())

    with started() as (process, http):
        made = http.post("/tokens", json={"name": "ci", "scopes": ["operate"]}, headers=own())
        gone = http.post("/tokens", json={"name": "gone", "scopes": ["read"]}, headers=own())
        assert http.delete("/tokens/gone", headers=own()).is_success
        assert "store.db" in _open_files(process)
    with started() as (process, http):
        assert http.post("/revocations", json={"user": "7"}, headers=bearer(made.json()["secret"])).status_code == 200
        assert http.get("/status", headers=bearer(gone.json()["secret"])).status_code == 401
        assert "store.db" not in _open_files(process)
        # The line is on the disk, and in the store once that is open.
        assert b'"/revocations"' in (state / "audit.jsonl").read_bytes()
        assert http.get("/audit", headers=own()).json()["lines"][0]["path"] == "/revocations"
        assert not (state / "audit.jsonl").exists()


def test_a_backup_that_is_restored_brings_back_no_revoked_token(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    secrets: dict[str, str] = {}

    def serve(act: Callable[[httpx.Client], None]) -> None:
        process = gateway_process({"admin": "127.0.0.1:0", "state": str(state), **configure(all=echo)})
        address = process.said("admin API on").split()[-1]
        fields = {"Authorization": f"Bearer {(state / 'admin-token').read_text().strip()}"}
        with httpx.Client(base_url=f"http://{address}", headers=fields, timeout=30, verify=False) as http:
            act(http)
        process.stop()

    def store(*words: str) -> None:
        command = [sys.executable, "-m", "pylae", "store", *words, "--state", str(state), "--store", "sqlite"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def create(http: httpx.Client, name: str) -> None:
        secrets[name] = http.post("/tokens", json={"name": name, "scopes": ["read"]}).json()["secret"]

    def before(http: httpx.Client) -> None:
        create(http, "revoked")
        create(http, "stays")

    def after(http: httpx.Client) -> None:
        assert http.delete("/tokens/revoked").is_success
        assert http.delete("/tokens/stays").is_success
        create(http, "later")

    def restored(http: httpx.Client) -> None:
        found = {
            name: http.get("/status", headers={"Authorization": f"Bearer {secret}"}).status_code
            for name, secret in secrets.items()
        }
        assert found == {"revoked": 401, "stays": 401, "later": 401}

    def elsewhere(http: httpx.Client) -> None:
        found = http.get("/status", headers={"Authorization": f"Bearer {secrets['stays']}"})
        assert found.status_code == 200

    serve(before)
    store("backup", str(tmp_path / "kept"))
    serve(after)
    store("restore", str(tmp_path / "kept"), "--replace")
    serve(restored)
    # A folder that knows of nothing takes what is restored.
    (state / "tokens.json").unlink()
    store("restore", str(tmp_path / "kept"), "--replace")
    serve(elsewhere)
