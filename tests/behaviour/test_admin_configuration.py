"""The configuration over the admin API: read without secrets, checked, compared, and in force whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pylae.history.entry import Cause
from support.admin import Admin
from support.instance import EchoInstance
from support.running import Process, configure
from support.traffic import Traffic

Start = Callable[..., Admin]

HASH = "$2b$04$Q7s3OYn7yW3jUVFPpQ9dPuSx3bkSbLW7GxUMm0U8rO3aVbmIGLyCq"
SECRET = "a secret that is quite long enough for HS256"
CONFIGURATION = f"""
auth: {{jwt: {{secret: {SECRET}}}, basic: {{users: {{ada: {{password_hash: {HASH}}}}}}}}}
services: {{all: {{sticky: {{secret: also a secret}}}}}}
routes:
  - {{name: one, path: /x, service: all, auth_required: false}}
  - name: two
    path: /two
    service: all
    auth_required: false
    transform: {{request: {{set: {{Authorization: Bearer up}}}}}}
"""
SECRETS = (SECRET, HASH, "also a secret", "Bearer up")


def put(api: Admin, document: Any, revision: str = "*") -> httpx.Response:
    """Applies a configuration."""
    return api.http.put("/config", content=json.dumps(document), headers={"If-Match": revision})


@pytest.mark.parametrize("form", ["/config", "/config?effective=true", "/config/schema", "/openapi.json", "/"])
def test_secrets_are_hidden(admin: Start, echo: EchoInstance, form: str) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        text = api.http.get(form).text
        assert not [secret for secret in SECRETS if secret in text]


def test_what_was_read_can_be_put_back(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        before = api.running.gateway.config
        answer = api.http.get("/config")
        assert api.post("/config/diff", **answer.json())["changes"] == []
        revision = answer.headers["ETag"]
        applied = api.http.put("/config", content=answer.content, headers={"If-Match": revision})
        assert applied.status_code == 200, applied.text
        assert applied.headers["ETag"] == f'"{applied.json()["revision"]}"' != revision
        after = api.running.gateway.config
        assert after.auth == before.auth
        assert after.services == before.services
        assert after.routes == before.routes


def test_a_change_takes_effect_and_drops_nothing(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, all=echo) as api, Traffic(api.running.address) as traffic:
        document = api.get("/config")
        assert api.running.get("/three").status == 404
        for n in range(5):
            document["routes"].append(
                {"name": f"more{n}", "path": f"/more{n}", "service": "all", "auth_required": False}
            )
            assert put(api, document).status_code == 200
            traffic.wait_for(5)
            assert api.running.get(f"/more{n}").status == 200
        assert traffic.failures == []
        assert api.get("/status")["overridden"] is True


def test_of_two_concurrent_changes_to_one_revision_one_wins(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        for n in range(10):
            answer = api.http.get("/config")
            ready = threading.Barrier(4)
            found: list[tuple[int, int]] = []

            def change(who: int, document: Any, revision: str, ready: threading.Barrier, found: Any) -> None:
                ready.wait()
                document = {**document, "limits": {"max_requests": who}}
                found.append((put(api, document, revision).status_code, who))

            threads = [
                threading.Thread(
                    target=change, args=(n * 10 + who + 1, answer.json(), answer.headers["ETag"], ready, found)
                )
                for who in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(status for status, _ in found) == [200, 409, 409, 409]
            (winner,) = (who for status, who in found if status == 200)
            assert api.get("/config")["limits"]["max_requests"] == winner
            assert api.running.gateway.config.limits.max_requests == winner


def test_a_change_is_told_its_own_revision(admin: Start, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not that of another one that comes before the answer, which it would undo then."""
    with admin(CONFIGURATION, all=echo) as api:
        document = api.get("/config")
        runtime = api.running.gateway.runtime
        assert runtime
        apply = runtime.apply_document

        def followed_by_another(text: str, revision: str | None, cause: Cause, *, unlimited: bool) -> Any:
            told = apply(text, revision, cause, unlimited=unlimited)
            apply(json.dumps({**document, "limits": {"max_requests": 8}}))
            return told

        monkeypatch.setattr(runtime, "apply_document", followed_by_another)
        answer = put(api, {**document, "limits": {"max_requests": 7}})
        assert answer.json()["revision"] == answer.headers["ETag"].strip('"')
        monkeypatch.undo()
        assert put(api, document, answer.headers["ETag"]).status_code == 409
        assert api.get("/config")["limits"]["max_requests"] == 8


def test_what_is_read_during_a_change_goes_with_its_revision(
    admin: Start, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a change that is made for it would undo the one that came between."""
    with admin(CONFIGURATION, all=echo) as api:
        before = api.http.get("/config")
        server = api.running.gateway.admin
        assert server
        found: list[httpx.Response] = []
        reading = threading.Thread(target=lambda: found.append(api.http.get("/config")))
        follow = server.follow

        def read_between(settings: Any, token: str) -> None:
            reading.start()
            # It answers now, or when the change is complete.
            reading.join(1)
            follow(settings, token)

        monkeypatch.setattr(server, "follow", read_between)
        after = put(api, {**before.json(), "limits": {"max_requests": 7}}).headers["ETag"]
        reading.join()
        (answer,) = found
        known = {before.headers["ETag"]: None, after: {"max_requests": 7}}
        assert answer.json().get("limits") == known[answer.headers["ETag"]]


def test_a_revision_is_demanded(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        document = api.get("/config")
        assert api.http.put("/config", content=json.dumps(document)).status_code == 428
        assert put(api, document, '"other"').status_code == 409
        assert api.get("/status")["applied"] == 1


def test_an_invalid_change_changes_nothing_and_names_every_problem(admin: Start, echo: EchoInstance) -> None:
    wrong = """
listeners: ["127.0.0.1:0"]
services: {all: {instances: ["ftp://x"]}}
routes:
  - {name: one, path: relative, service: all, auth_required: false}
  - {name: one, path: /x, service: missing, auth_required: false, rate_limit: often}
  - {name: three, pattern: '(?=x)', service: all, auth_required: false}
"""
    with admin(CONFIGURATION, all=echo) as api:
        before = api.http.get("/config")
        verdict = api.http.post("/config/validate", content=wrong).json()
        answer = api.http.put("/config", content=wrong, headers={"If-Match": "*"})
        assert answer.status_code == 422
        assert answer.headers["Content-Type"] == "application/problem+json"
        problems = answer.json()["problems"]
        assert [problem["path"] for problem in problems] == [
            "services.all.instances[0]",
            "routes[0].path",
            "routes[1].rate_limit",
        ]
        assert problems[0]["line"] == 3
        assert {problem["path"] for problem in verdict["problems"]} == {problem["path"] for problem in problems}
        assert verdict["valid"] is False
        again = api.http.get("/config")
        assert (again.content, again.headers["ETag"]) == (before.content, before.headers["ETag"])
        native = (
            wrong.replace("ftp:", "http:").replace("relative", "/r").replace("often", "5").replace("missing", "all")
        )
        native = native.replace("name: one, path: /x", "name: two, path: /x")
        answer = api.http.put("/config", content=native, headers={"If-Match": "*"})
        assert [problem["path"] for problem in answer.json()["problems"]] == ["routes[2].pattern"]


def test_what_the_engine_refuses_changes_nothing(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        document = api.get("/config")
        answer = put(api, {**document, "workers": 2})
        assert answer.status_code == 422
        assert "stays 1 until the gateway is started again" in answer.json()["detail"]
        assert api.get("/config") == document
        assert api.get("/status")["overridden"] is False


def test_a_port_in_use_changes_nothing(admin: Start, echo: EchoInstance, tmp_path: Path) -> None:
    with admin(CONFIGURATION, all=echo) as api, socket.create_server(("127.0.0.1", 0)) as taken:
        before = api.http.get("/config")
        more = [{"path": "/new", "service": "all", "auth_required": False}]
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        changed = {**before.json(), "listeners": ["127.0.0.1:0", address], "routes": more}
        answer = put(api, changed)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
        assert "the port is in use" in answer.json()["detail"]
        assert address in answer.json()["detail"]
        again = api.http.get("/config")
        assert (again.content, again.headers["ETag"]) == (before.content, before.headers["ETag"])
        assert (api.running.get("/x").status, api.running.get("/new").status) == (200, 404)
        assert not (tmp_path / "state" / "applied.json").exists()


def test_a_token_that_cannot_be_used_changes_nothing(admin: Start, echo: EchoInstance, tmp_path: Path) -> None:
    open_to_all = tmp_path / "token"
    own = {"address": "127.0.0.1:0", "references": [f"file:{open_to_all}"]}
    with admin({"admin": own, **yaml.safe_load(CONFIGURATION)}, all=echo) as api:
        before = api.http.get("/config")
        open_to_all.write_text("a token that all can read".replace(" ", "-"))
        open_to_all.chmod(0o644)
        changed = {**before.json(), "admin": {"address": "127.0.0.1:0", "token_file": str(open_to_all)}}
        answer = put(api, changed)
        assert answer.status_code == 422
        assert "other users can read or change" in answer.json()["problems"][0]["message"]
        again = api.http.get("/config")
        assert (again.content, again.headers["ETag"]) == (before.content, before.headers["ETag"])
        open_to_all.chmod(0o600)
        assert put(api, changed).status_code == 200
        assert api.http.get("/config").status_code == 401


def test_what_cannot_be_kept_is_not_put_in_force(admin: Start, echo: EchoInstance, tmp_path: Path) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        before = api.http.get("/config")
        changed = {**before.json(), "routes": [{"path": "/new", "service": "all", "auth_required": False}]}
        # Nothing can be put in the place of a folder, which shows when the engine has the configuration already.
        in_the_way = tmp_path / "state" / "applied.json"
        in_the_way.mkdir()
        answer = put(api, changed)
        assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
        assert "is a directory; nothing was changed" in answer.json()["detail"]
        again = api.http.get("/config")
        assert (again.content, again.headers["ETag"]) == (before.content, before.headers["ETag"])
        assert (api.running.get("/x").status, api.running.get("/new").status) == (200, 404)
        assert [file.name for file in in_the_way.parent.iterdir() if "applied" in file.name] == ["applied.json"]
        in_the_way.rmdir()
        assert put(api, changed, before.headers["ETag"]).status_code == 200
        assert (api.running.get("/x").status, api.running.get("/new").status) == (404, 200)


@pytest.mark.parametrize("body", [b"", b"- a", b"{", b"\xff", b"a: {b: c", b'{"a": 1} {"b": 2}'])
def test_what_is_no_document(admin: Start, echo: EchoInstance, body: bytes) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        answer = api.http.put("/config", content=body, headers={"If-Match": "*"})
        assert answer.status_code in (400, 422)
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_differences_are_told_by_name(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        document = api.get("/config")
        document["routes"].reverse()
        assert api.post("/config/diff", **document)["changes"] == []
        document["routes"][0]["timeout"] = "5s"
        document["auth"]["jwt"] = {"secret": "another secret that is long enough"}
        changes = {change["path"]: change for change in api.post("/config/diff", **document)["changes"]}
        assert changes["routes.two.timeout"] == {"path": "routes.two.timeout", "before": 30, "after": 5}
        (path,) = (path for path in changes if path.startswith("auth.jwt"))
        assert "secret" not in str(changes[path]["before"])
        assert changes[path]["before"] != changes[path]["after"]


def test_a_hidden_secret_cannot_be_put_where_it_could_be_read(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        document = api.get("/config")
        (mark,) = document["auth"]["jwt"][0]["secret"]
        document["routes"].append(
            {"name": "leak", "path": "/leak", "auth_required": False, "static_response": {"body": mark}}
        )
        answer = put(api, document)
        assert answer.status_code == 422
        assert answer.json()["problems"][0]["path"] == "routes[2].static_response.body"
        document["routes"].pop()
        document["auth"]["jwt"][0]["secret"] = "(hidden:000000000000000000000000)"
        assert "matches no known secret" in put(api, document).json()["problems"][0]["message"]


def test_references_come_from_the_file_only(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)
    monkeypatch.setenv("OTHER", "not for everyone")
    started = gateway_process(
        {
            "admin": "127.0.0.1:0",
            "state": str(tmp_path / "state"),
            "auth": {"jwt": {"secret": "${JWT_SECRET}"}},
            "routes": [{"name": "one", "path": "/one", "service": "all", "auth_required": False}],
        },
        all=echo,
    )
    with over_http(started, tmp_path) as http:
        read = http.get("/config").json()
        assert read["auth"]["jwt"]["secret"] == "${JWT_SECRET}"
        assert SECRET not in http.get("/config?effective=true").text
        assert http.get("/config?effective=true").json()["auth"]["jwt"][0]["secret"] == ["${JWT_SECRET}"]
        for stolen in ("${OTHER}", "${file:/etc/passwd}", "${OTHER:-x}", "\\u0024{OTHER}"):
            text = json.dumps(
                {**read, "routes": [{"path": "/x", "static_response": {"body": "@"}, "auth_required": False}]}
            )
            answer = http.put("/config", content=text.replace("@", stolen), headers={"If-Match": "*"})
            assert answer.status_code == 422, stolen
            assert "is allowed only where the configuration has it" in answer.json()["problems"][0]["message"]
        assert http.put("/config", json=read, headers={"If-Match": "*"}).status_code == 200


def test_other_code_than_the_file_names_is_not_even_imported(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        for strange in ({"hooks": [{"on_request": "antigravity:geohash"}]}, {"plugins": [{"use": "antigravity:x"}]}):
            for method, path in (("POST", "/config/validate"), ("POST", "/config/diff"), ("PUT", "/config")):
                answer = api.http.request(
                    method, path, json={**api.get("/config"), **strange}, headers={"If-Match": "*"}
                )
                (problem,) = answer.json()["problems"]
                assert "is allowed only if the configuration names it already" in problem["message"]
        assert "antigravity" not in sys.modules


def over_http(process: Process, folder: Path) -> httpx.Client:
    """A client of the admin API of a gateway whose state is in `folder`."""
    address = process.read_until("admin API on").split()[-1]
    token = (folder / "state" / "admin-token").read_text().strip()
    return httpx.Client(
        base_url=f"http://{address}", headers={"Authorization": f"Bearer {token}"}, timeout=30, verify=False
    )


def start(gateway_process: Callable[..., Process], echo: EchoInstance, folder: Path) -> tuple[Process, httpx.Client]:
    started = gateway_process({"admin": "127.0.0.1:0", "state": str(folder / "state")}, all=echo)
    return started, over_http(started, folder)


def test_what_was_applied_outlives_a_restart_until_the_file_changes(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path
) -> None:
    started, http = start(gateway_process, echo, tmp_path)
    with http:
        document = http.get("/config").json()
        changed = {**document, "limits": {"max_requests": 77}}
        assert http.put("/config", json=changed, headers={"If-Match": "*"}).status_code == 200
    (tmp_path / "state" / "applied.json").stat()
    started.signal(signal.SIGKILL)
    started.wait()
    again = Process(yaml.safe_load(started.file.read_text()), started.file.parent)
    try:
        with over_http(again, tmp_path) as http:
            assert http.get("/config").json()["limits"] == {"max_requests": 77}
            assert http.get("/status").json()["overridden"] is True
            again.apply(
                {"limits": {"max_requests": 88}, "admin": "127.0.0.1:0", "state": str(tmp_path / "state")}, all=echo
            )
            assert http.get("/config").json()["limits"] == {"max_requests": 88}
            assert http.put("/config", json=changed, headers={"If-Match": "*"}).status_code == 200
            assert http.post("/config/reload").status_code == 200
            assert http.get("/config").json()["limits"] == {"max_requests": 88}
            assert not (tmp_path / "state" / "applied.json").exists()
    finally:
        again.stop()


def test_what_a_killed_gateway_had_under_way_is_swept_at_the_start(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path
) -> None:
    """It may hold secrets, and nobody would ever look for it."""
    home = Path(os.environ["XDG_STATE_HOME"]) / "pylae"
    left = [
        tmp_path / "state" / ".applied.json.0123456789abcdef",
        tmp_path / "state" / ".registered.json.0123456789abcdef",
        tmp_path / "token" / ".admin.0123456789abcdef",
        home / ".jwt-secret.0123456789abcdef",
    ]
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a secret")
        file.chmod(0o600)
    admin = {"address": "127.0.0.1:0", "token_file": str(tmp_path / "token" / "admin")}
    started = gateway_process({"admin": admin, "state": str(tmp_path / "state")}, all=echo)
    started.read_until("admin API on")
    assert [file for file in left if file.exists()] == []


def test_a_file_that_changed_while_nothing_ran_counts(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path
) -> None:
    started, http = start(gateway_process, echo, tmp_path)
    with http:
        changed = {**http.get("/config").json(), "limits": {"max_requests": 77}}
        assert http.put("/config", json=changed, headers={"If-Match": "*"}).status_code == 200
    started.signal(signal.SIGTERM)
    assert started.wait() == 0
    config = configure(
        {"admin": "127.0.0.1:0", "state": str(tmp_path / "state"), "limits": {"max_requests": 5}}, all=echo
    )
    again = Process(config, started.file.parent)
    try:
        with over_http(again, tmp_path) as http:
            assert http.get("/config").json()["limits"] == {"max_requests": 5}
            assert http.get("/status").json()["overridden"] is False
    finally:
        again.stop()


def test_killed_during_an_apply_it_goes_on_with_the_old_or_the_new(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path
) -> None:
    """The two halves of the configuration agree after every kill, whenever it comes."""
    started = gateway_process({"admin": "127.0.0.1:0", "state": str(tmp_path / "state")}, all=echo)
    config = yaml.safe_load(started.file.read_text())
    http, last = over_http(started, tmp_path), 0
    for round_ in range(6):
        applied = round_ * 1000
        document = http.get("/config").json()
        # Later in each round, so that the kill meets every part of an apply.
        killer = threading.Timer(0.02 + 0.015 * round_, started.process.kill)
        killer.start()
        with contextlib.suppress(httpx.TransportError):
            while True:
                n = applied + 1
                routes = [{"name": f"n{n}", "path": "/n", "auth_required": False, "service": "all"}]
                changed = {**document, "limits": {"max_requests": n}, "routes": routes}
                assert http.put("/config", json=changed, headers={"If-Match": "*"}).status_code == 200
                applied = n
        http.close()
        killer.join()
        started.wait()
        started.stop()
        started = Process(config, started.file.parent)
        http = over_http(started, tmp_path)
        found = http.get("/config").json()
        number = found.get("limits", {}).get("max_requests", 0)
        assert found["routes"][0]["name"] == (f"n{number}" if number else "all")
        # What was answered for is there; what was under way may be.
        assert number in ({applied, applied + 1} if applied > round_ * 1000 else {last, applied + 1})
        last = number
    http.close()
    started.stop()
