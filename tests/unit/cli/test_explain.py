"""`pylae explain`: how the native answer is asked for and told. What it says is tested where it is made."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pylae import engine

Document = dict[str, Any]

ROUTED: Document = {
    "route": {"index": 0, "name": "get-user", "params": {"1": "42"}},
    "outcome": "route",
    "detail": "",
    "early": [],
    "considered": [
        {"route": "orders", "verdict": "path"},
        {"route": "get-user", "verdict": "chosen"},
    ],
    "canonical_path": "/api/users/42",
    "judged_path": "/api/users/42",
    "policies": [{"name": "security_headers", "decision": "set 4 fields of the response"}],
    "service": {
        "name": "users",
        "balancer": "weighted_round_robin",
        "how": "in turn by weight",
        "instances": ["http://127.0.0.1:9001", {"url": "http://127.0.0.1:9002", "weight": 2}],
    },
    "upstream_path": "/api/users/42",
    "upstream_host": "shop.example:81",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Document]:
    """Answers as the native side would, and keeps what it was asked."""
    requests: list[Document] = []

    def explain(plan: str, request: str) -> Document:
        assert len(json.loads(plan)["routes"]) == 2
        requests.append(json.loads(request))
        return json.loads(json.dumps(ROUTED))  # type: ignore[no-any-return]

    monkeypatch.setattr(engine, "explain", explain)
    return requests


def answer_with(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    monkeypatch.setattr(engine, "explain", lambda *_: {**ROUTED, **changes})


def test_a_request_that_is_routed(pylae, shop: Path, asked: list[Document]) -> None:
    result = pylae("explain", shop, "get", "/api/../api/users/42?x=1")
    assert result.exit_code == 0, result.output
    lines = [line.rstrip() for line in result.output.splitlines()]
    assert lines[:9] == [
        "GET /api/../api/users/42?x=1 from 127.0.0.1",
        "  canonical path: /api/users/42",
        "  goes to a route",
        "",
        f"Route get-user  {shop}:9",
        r"  pattern ^/api/users/(\d+)$, GET",
        "  1 = 42",
        "",
        "Considered",
    ]
    assert lines[9].split(None, 1) == ["get-user", r"takes it              pattern ^/api/users/(\d+)$, GET"]
    assert lines[10].split(None, 1) == [
        "orders",
        "rejected by its path  prefix /api/orders, GET|POST, host shop.example",
    ]
    assert f"  security_headers  {shop}:18" in lines
    assert "    would: set 4 fields of the response" in lines
    assert any(line.split() == ["frame_options", "DENY", "default"] for line in lines)
    assert lines[-6:] == [
        f"Service users  {shop}:3",
        "  weighted_round_robin: in turn by weight",
        "  - http://127.0.0.1:9001",
        "  - http://127.0.0.1:9002 (weight 2)",
        "  sends GET /api/users/42 to the host shop.example:81",
        "  waits 30 s for the head of the answer (default); retries: 3 (default)",
    ]
    target = "/api/../api/users/42?x=1"
    assert asked == [{"method": "GET", "target": target, "headers": [], "client": "127.0.0.1", "secure": False}]


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("https://shop.example/a?b#c", "shop.example", "/a?b"),
        ("HTTP://me@shop.example:81", "shop.example:81", "/"),
        ("http://shop.example?b", "shop.example", "/?b"),
    ],
)
def test_a_whole_address_gives_the_host(
    pylae, shop: Path, asked: list[Document], url: str, host: str, target: str
) -> None:
    assert pylae("explain", shop, "GET", url, "-H", "X-A: b: c", "--client", "::1").exit_code == 0
    fields = [["Host", host], ["X-A", "b: c"]]
    secure = url.startswith("https:")
    assert asked == [{"method": "GET", "target": target, "headers": fields, "client": "::1", "secure": secure}]


@pytest.mark.usefixtures("asked")
def test_settings_tell_where_they_come_from(pylae, shop: Path) -> None:
    shop.write_text(
        shop.read_text().replace(
            "security_headers: {}", 'security_headers:\n    frame_options: SAMEORIGIN\n    csp: "x"'
        )
    )
    lines = [line.split() for line in pylae("explain", shop, "GET", "/").output.splitlines()]
    assert ["frame_options", "SAMEORIGIN", f"{shop}:19"] in lines
    assert ["csp", "x", f"{shop}:20"] in lines
    assert ["nosniff", "true", "default"] in lines


ALL_KINDS = """\
auth: {jwt: {secret: "0123456789012345678901234567890123456789"}}
services: {users: {instances: ["http://127.0.0.1:9"]}}
routes:
  - name: all-kinds
    path: /a
    service: users
    timeout: 5s
    permissions: x
    cache: true
    rate_limit: 100
    validation: {json_body: true}
    static_response: hello
    cors: "*"
hooks: [{on_request: "explained_hooks:check", timeout: 1s}]
policies: {security_headers: true, compression: {min_size: 1024}}
"""
PROGRAM = """\
from pylae import Gateway, Route
import explained_hooks
gateway = Gateway(
    auth={"jwt": {"secret": "0123456789012345678901234567890123456789"}},
    policies={"security_headers": {}, "compression": {"min_size": 1024}},
    services={"users": {"instances": ["http://127.0.0.1:9"]}},
)
gateway.add_route(Route(
    name="all-kinds", path="/a", service="users", timeout=5, permissions="x", cache=True, rate_limit=100,
    validation={"json_body": True}, static_response="hello", cors="*",
))
gateway.on_request(timeout="1s")(explained_hooks.check)
"""


@pytest.mark.parametrize("form", ["yaml", "py"])
def test_what_was_not_written_is_a_default(pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    (tmp_path / "explained_hooks.py").write_text("def check(request): ...\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "explained_hooks", raising=False)
    file = tmp_path / f"gateway.{form}"
    file.write_text(ALL_KINDS if form == "yaml" else PROGRAM)
    document = json.loads(pylae("explain", file, "GET", "/a", "--json").stdout)
    written = {
        f"{policy['name']}.{setting['name']}"
        for policy in document["policies"]
        for setting in policy["settings"]
        if setting["from"] != "default"
    }
    assert written == {
        "authorization.permissions",
        "compression.min_size",
        "cors.origins",
        "rate_limit.limits[0].limit",
        "rate_limit.limits[0].per",
        "static_response.body",
        *(f"hooks.calls[0].{fact}" for fact in ("hook", "name", "on", "run", "error_body", "timeout")),
    }
    assert set(document["route"]["defaults"]) == {"idle_timeout", "deadline", "retries"}
    assert document["service"]["defaults"] == ["load_balancer"]
    (hooks,) = [policy for policy in document["policies"] if policy["name"] == "hooks"]
    place = next(setting["from"] for setting in hooks["settings"] if setting["name"] == "calls[0].timeout")
    assert place == f"{file}:{12 if form == 'py' else 14}"
    lines = pylae("explain", file, "GET", "/a").stdout.splitlines()
    assert "  round_robin (default): would pick http://127.0.0.1:9 now" in lines
    assert lines[-1] == "  waits 5 s for the head of the answer; retries: 3 (default)"


def test_a_program_has_lines_too(pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gateway.py"
    program.write_text(
        "from pylae import Gateway, Route\n"
        "gateway = Gateway()\n"
        "gateway.add_route(Route(name='get-user', path='/u', service_url='http://127.0.0.1:9', security_headers={}))\n"
        "gateway.run()\n"
    )
    service = {"name": "127.0.0.1:9", "balancer": "round_robin", "how": "the only one", "instances": []}
    answer_with(monkeypatch, considered=[{"route": "get-user", "verdict": "chosen"}], service=service)
    lines = [line.rstrip() for line in pylae("explain", program, "GET", "/u").output.splitlines()]
    assert f"Route get-user  {program}:3" in lines
    assert f"  security_headers  {program}:3" in lines
    assert ["hsts.max_age", "31536000", "default"] in [line.split() for line in lines]
    assert f"Service 127.0.0.1:9  {program}:3" in lines


@pytest.mark.usefixtures("asked")
def test_json(pylae, shop: Path) -> None:
    result = pylae("explain", shop, "GET", "/api/users/42", "--json")
    document = json.loads(result.output)
    assert document["request"]["method"] == "GET"
    assert document["route"]["place"] == f"{shop}:9"
    assert document["service"]["place"] == f"{shop}:3"
    policy = document["policies"][0]
    assert policy["decision"] == "set 4 fields of the response"
    assert {"name": "nosniff", "value": True, "from": "default"} in policy["settings"]


@pytest.mark.parametrize(
    ("outcome", "words"), [("not_found", "404"), ("method_not_allowed", "405"), ("bad_request", "400")]
)
def test_a_request_that_no_route_takes(
    pylae, shop: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, words: str
) -> None:
    verdicts = [{"route": "get-user", "verdict": "method"}, {"route": "orders", "verdict": "header:X-Tenant"}]
    answer_with(
        monkeypatch, route=None, service=None, policies=[], outcome=outcome, detail="because", considered=verdicts
    )
    result = pylae("explain", shop, "PATCH", "/api/users/42")
    assert result.exit_code == 0
    assert f"  {words}: " in result.output and "(because)" in result.output
    assert "rejected by its method" in result.output
    assert "rejected by its header X-Tenant" in result.output
    assert "Service" not in result.output and "Policies" not in result.output


def test_many_routes_are_cut_short(pylae, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    considered = [{"route": "orders", "verdict": "path"}] * 30
    routes = "".join(f"  - {{name: r{n}, path: /r/{n}, service: users, auth_required: false}}\n" for n in range(30))
    shop.write_text(shop.read_text().replace("policies:\n", f"{routes}policies:\n"))
    considered = [{"route": f"r{n}", "verdict": "path"} for n in range(30)] + ROUTED["considered"]
    answer_with(monkeypatch, considered=considered)
    assert "… and 21 more rejected by their path (--all lists them)" in pylae("explain", shop, "GET", "/").output
    everything = pylae("explain", shop, "GET", "/", "--all").output
    assert "more rejected" not in everything and " r29 " in everything


ROUTES = """
routes:
  - {name: files, prefix: /files, service_url: "http://127.0.0.1:9001", auth_required: false}
  - {name: keys, pattern: '^/files/.*[.]key$', service_url: "http://127.0.0.1:9001", auth_required: false}
  - {name: late, pattern: '^/files/', service_url: "http://127.0.0.1:9001", auth_required: false, priority: -1}
"""


def test_what_decided_between_routes(pylae, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(ROUTES)
    output = pylae("explain", file, "GET", "/files;v=1/x/../a.key").output
    lines = [line.strip() for line in output.splitlines()]
    assert lines[1:3] == [
        "canonical path: /files;v=1/a.key",
        "path for routing and policies: /files/a.key",
    ]
    start = lines.index("Considered")
    said = {name: words for name, _, words in (line.partition(" ") for line in lines[start + 1 : start + 4])}
    assert said["keys"].strip().startswith("takes it ")
    assert said["files"].strip().startswith("also matches, but its path is less specific")
    assert said["late"].strip().startswith("also matches, but has a lower priority")
    considered = json.loads(pylae("explain", file, "GET", "/files/a.key", "--json").output)["considered"]
    assert {entry["route"]: (entry["verdict"], entry["by"]) for entry in considered} == {
        "keys": ("chosen", None),
        "files": ("shadowed", "path"),
        "late": ("shadowed", "priority"),
    }
    assert any(line.startswith("sends GET /files;v=1/a.key") for line in lines)


def test_a_websocket_route(pylae, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(
        "routes: [{name: live, prefix: /, service_url: 'http://127.0.0.1:9001', websocket: true, auth_required: false}]"
    )
    fields = ["-H", "Host: a", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket"]
    asked = [*fields, "-H", "Sec-WebSocket-Version: 13"]
    assert "WebSocket: allowed, but not asked for" in pylae("explain", file, "GET", "/x").output
    assert "WebSocket: refused with 426" in pylae("explain", file, "GET", "/x", *fields).output
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    assert "WebSocket: a handshake" in pylae("explain", file, "GET", "/x", *asked, "-H", key).output


SECRETS = """
listeners: ["127.0.0.1:8080"]
services: {s: {instances: ["http://127.0.0.1:9001"]}}
routes:
  - path: /a
    service: s
    auth_required: false
    transform:
      request:
        set: {Authorization: "Bearer ${TOKEN}", X-Plain: "${PLAIN}-x", X-Secret: s3cret-written-out}
    cors: {origins: ["${ORIGIN}"]}
    cache: {ttl: "${TTL}", tags: ["${TAG}", plain]}
  - {path: /a, service: s, auth_required: false, headers: {X-Gate: "${GATE}", X-Token: s3cret-too}}
  - {path: /b, auth_required: false, redirect: "https://b.test/?key=${KEY}"}
"""


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_what_comes_from_elsewhere_and_credentials_are_not_shown(
    pylae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    names = {"GATE", "TOKEN", "PLAIN", "TAG", "KEY"}
    values = {name: f"s3cret-{name.lower()}" for name in names} | {"ORIGIN": "https://s3cret.test", "TTL": "77"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "pylae.yaml"
    file.write_text(SECRETS)
    told = pylae("explain", file, "GET", "/a", *form)
    redirected = pylae("explain", file, "GET", "/b", *form)
    for result in (told, redirected):
        assert result.exit_code == 0, result.output
        assert "s3cret" not in result.output
    for shown in ("Bearer ${TOKEN}", "${PLAIN}-x", "(hidden)", "${ORIGIN}", "${TAG}", "plain", "77"):
        assert shown in told.output
    assert "https://b.test/?key=${KEY}" in redirected.output
