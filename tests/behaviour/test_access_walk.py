"""Each operation of the admin API with a token of each scope: refused exactly where the scope is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from support.admin import Admin
from support.instance import EchoInstance
from support.running import Configuration

Start = Callable[..., Admin]

CONFIGURATION: Configuration = """
services:
  all:
    circuit_breaker: {}
    discovery: {heartbeat: {}}
  other: {discovery: {heartbeat: {}}}
routes:
  - {name: all, prefix: /, service: all, rate_limit: 100/minute, cache: {ttl: 5m}}
"""

SCOPES = ("read", "operate", "configure", "register:all", "register:other")
GRANTS = {
    "read": {"read"},
    "operate": {"operate", "read"},
    "configure": {"configure", "read"},
    "register:all": {"register:all"},
    "register:other": {"register:other"},
}
"""What each scope allows: itself, and reading for two of them."""

OWN = "127.0.0.1:4711"
"""An instance that is registered before each request that is about one."""

LIMIT = {"route": "all", "name": "default", "ip": "127.0.0.1"}

ARGUMENTS: dict[tuple[str, str], dict[str, Any]] = {
    ("put", "/config"): {"content": "DOCUMENT", "headers": {"If-Match": "*"}},
    ("post", "/config/validate"): {"content": "DOCUMENT"},
    ("post", "/config/diff"): {"content": "DOCUMENT"},
    ("post", "/services/{service}/instances"): {"json": {"url": f"http://{OWN}"}},
    ("post", "/explain"): {"json": {"target": "/orders/7"}},
    ("post", "/limits/look"): {"json": LIMIT},
    ("post", "/limits/reset"): {"json": LIMIT},
    ("post", "/cache/purge"): {"json": {"everything": True}},
    ("post", "/revocations"): {"json": {"user": "nobody"}},
    ("post", "/tokens"): {"json": {"name": "made", "scopes": ["SCOPE"], "expires": "1h"}},
    ("post", "/traces"): {"json": {"seconds": 1}},
    ("put", "/log"): {"json": {"areas": {"upstream": "debug"}, "lasting": "1m"}},
    ("post", "/tokens/{name}/rotate"): {"json": {"expires": "1h"}},
    ("post", "/history/{number}/rollback"): {"headers": {"If-Match": "*"}},
    ("put", "/maintenance"): {"json": {"text": "back soon"}},
    ("put", "/maintenance/services/{name}"): {"json": {"text": "back soon"}},
    ("put", "/maintenance/routes/{name}"): {"json": {"text": "back soon"}},
}
"""Bodies with which a request succeeds. The others need none."""

NOT_HERE = {
    *(("get", "/nodes"), ("get", "/fleet"), ("get", "/rollout"), ("post", "/rollout/cancel")),
    ("get", "/traces/{trace}"),
}
"""What only gateways that share something have, and a trace that nobody made: 404 for those who may ask."""
NO_LINES = {("post", "/config/validate"), ("post", "/config/diff"), ("post", "/limits/look"), ("post", "/explain")}
"""What changes nothing, though it is sent with POST."""
BEATS = {("put", "/services/{service}/instances/{instance}/heartbeat")}
"""What is a line only if it is refused."""


@contextmanager
def client(api: Admin, secret: str) -> Iterator[httpx.Client]:
    """A client with this token."""
    fields = {"Authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=f"http://{api.address}", headers=fields, timeout=30, verify=False) as http:
        yield http


def operations(api: Admin) -> list[tuple[str, str, str]]:
    """Method, path and scope of each operation of the document that needs a token."""
    found = []
    for path, methods in api.get("/openapi.json")["paths"].items():
        for method, operation in methods.items():
            for requirement in operation["security"]:
                (scope,) = requirement["token"]
                found.append((method, path, scope.replace("SERVICE", "all")))
    return found


def prepare(api: Admin, http: httpx.Client, path: str, scope: str) -> None:
    """Makes what a request is about, with the gateway's own token, or with the one that has to be its owner."""
    if path.startswith("/tokens"):
        for one in api.get("/tokens")["tokens"]:
            if one["name"] == "made" and one["state"] == "valid":
                assert api.http.delete("/tokens/made").is_success
    if path.startswith("/tokens/"):
        api.post("/tokens", name="made", scopes=[scope], expires="1h")
    if "{instance}" in path:
        api.http.delete(f"/services/all/instances/{OWN}")
        whose = http if scope == "register:all" else api.http
        assert whose.post("/services/all/instances", json={"url": f"http://{OWN}"}).is_success


def audited(api: Admin) -> list[dict[str, Any]]:
    """All lines of the audit, oldest first."""
    lines: list[dict[str, Any]] = api.get("/audit?most=1000")["lines"]
    return lines[::-1]


def send(http: httpx.Client, method: str, path: str, scope: str, document: str) -> int:
    """Sends a request that succeeds if the scope allows it; returns the status. Of a tail, only the head is read."""
    values = {
        "service": "all",
        "instance": OWN,
        "number": "1",
        "trace": "0" * 32,
        "name": "made" if "/tokens" in path else "all",
    }
    target = re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)
    options = dict(ARGUMENTS.get((method, path), {}))
    if "content" in options:
        options["content"] = document
    if path == "/tokens" and method == "post":
        options["json"] = {**options["json"], "scopes": [scope]}
    with http.stream(method.upper(), target, **options) as answer:
        return answer.status_code


@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_is_refused_exactly_where_its_scope_is_missing(admin: Start, echo: EchoInstance, scope: str) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        secret = api.post("/tokens", name="walker", scopes=[scope], expires="30d")["secret"]
        document = api.http.get("/config").text
        walked = operations(api)
        assert len(walked) > 30
        with client(api, secret) as http:
            for method, path, needed in walked:
                # What is applied last has its own owner of instances again.
                prepare(api, http, path, scope)
                before = {one["id"] for one in audited(api)}
                status = send(http, method, path, scope, document)
                new = [one for one in audited(api) if one["id"] not in before]
                said = (method, path, scope, status, new)
                if needed not in GRANTS[scope]:
                    assert status == 403, said
                elif (method, path) in NOT_HERE:
                    assert status == 404, said
                else:
                    assert 200 <= status < 300, said
                is_change = method not in ("get", "head") and (method, path) not in NO_LINES
                is_line = is_change and ((method, path) not in BEATS or status == 403)
                assert len(new) == is_line, said
                for line in new:
                    assert (line["who"], line["method"], line["path"]) == ("walker", method.upper(), path)
                    assert (line["status"], line["address"]) == (status, "127.0.0.1")
                    assert (line["detail"] or "").startswith(f"this needs the scope `{needed}`") == (status == 403)
        assert secret not in api.http.get("/audit").text
        assert not re.search(r"pylae_[a-z0-9]{12}_", api.http.get("/audit?most=1000").text)


@pytest.mark.parametrize("scope", SCOPES)
def test_the_page_and_the_document_can_be_read_by_those_who_read(admin: Start, echo: EchoInstance, scope: str) -> None:
    with admin(CONFIGURATION, all=echo) as api:
        secret = api.post("/tokens", name="walker", scopes=[scope])["secret"]
        expected = 200 if "read" in GRANTS[scope] else 403
        with client(api, secret) as http:
            assert {http.get(path).status_code for path in ("/", "/openapi.json")} == {expected}
            # Nobody without a scope learns what there is.
            assert http.get("/nothing").status_code == 404
            assert http.get("/live").status_code == 200
