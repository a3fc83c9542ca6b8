from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from pylae.testing import FakeService, Reply, Response
from support.exchanges import ask, gateway

APP = "https://app.example.org"


@pytest.fixture
def address(service: FakeService, dead_url: str, tmp_path: Path) -> Iterator[str]:
    configuration: dict[str, Any] = {
        "services": {"one": {"instances": [service.url]}, "gone": {"instances": [dead_url]}},
        "policies": {
            "security_headers": {},
            "cors": {
                "origins": [APP, "https://*.example.com", "http://localhost:3000"],
                "methods": ["GET", "PUT"],
                "headers": ["Authorization", "X-Token"],
                "expose": ["X-Request-ID"],
                "credentials": True,
                "max_age": "10m",
            },
        },
        "routes": [
            {"path": "/items", "method": "GET|PUT|DELETE", "service": "one", "auth_required": False},
            {"path": "/open", "method": "GET|POST", "service": "one", "auth_required": False, "cors": True},
            {"path": "/plain", "method": "GET", "service": "one", "auth_required": False, "cors": False},
            {"path": "/own", "service": "one", "auth_required": False, "cors": False},
            {"path": "/gone", "method": "GET", "service": "gone", "retries": 0, "auth_required": False},
            {"path": "/small", "method": "POST", "service": "one", "auth_required": False},
        ],
        "limits": {"max_body": 100},
    }
    with gateway(tmp_path, configuration) as running:
        yield running


def preflight(address: str, path: str, origin: str, method: str, headers: str | None = None) -> Response:
    sent = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers is not None:
        sent["Access-Control-Request-Headers"] = headers
    return ask(address, path, "OPTIONS", sent)


def cors_fields(reply: Response) -> dict[str, str]:
    return {name.lower(): value for name, value in reply.headers.items() if name.lower().startswith("access-control-")}


def varies(reply: Response) -> set[str]:
    return {name.strip().lower() for line in reply.headers.get_all("Vary") for name in line.split(",")}


def test_a_preflight_is_answered_without_the_service(address: str, service: FakeService) -> None:
    reply = preflight(address, "/items", APP, "PUT", "authorization, x-token")
    assert (reply.status, reply.body) == (204, b"")
    assert cors_fields(reply) == {
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "Authorization, X-Token",
        "access-control-expose-headers": "X-Request-ID",
        "access-control-max-age": "600",
    }
    assert varies(reply) == {"origin", "access-control-request-method", "access-control-request-headers"}
    assert service.requests == []


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        ("https://evil.example", "GET", None),
        (APP, "DELETE", None),
        (APP, "PUT", "x-other"),
        (APP, "PUT", "x token"),
        (APP, "PUT", ", ".join(["x-token"] * 100)),
    ],
)
def test_a_preflight_is_refused(
    address: str, service: FakeService, origin: str, method: str, headers: str | None
) -> None:
    reply = preflight(address, "/items", origin, method, headers)
    assert reply.status == 403
    assert reply.json()["type"] == "urn:pylae:error:cors_refused"
    assert "origin" in varies(reply)
    assert "access-control-allow-methods" not in cors_fields(reply)
    assert (reply.headers.get("Access-Control-Allow-Origin") is None) == (origin != APP)
    assert service.requests == []


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (APP, True),
        ("http://localhost:3000", True),
        ("https://a.example.com", True),
        ("https://a.b.example.com", True),
        ("https://example.com", False),
        ("https://.example.com", False),
        ("https://evil.example/x.example.com", False),
        ("https://user@a.example.com", False),
        ("http://a.example.com", False),
        ("https://a.example.com:8443", False),
        ("https://app.example.org.evil.example", False),
        ("https://evilapp.example.org", False),
        ("http://app.example.org", False),
        ("null", False),
        ("*", False),
    ],
)
def test_origins(address: str, origin: str, allowed: bool) -> None:
    reply = ask(address, "/items", headers={"Origin": origin})
    # The request is served in any case; only pages of allowed origins can read the answer.
    assert (reply.status, reply.body) == (200, b"hello")
    assert reply.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
    assert reply.headers.get("Access-Control-Allow-Credentials") == ("true" if allowed else None)
    assert reply.headers.get("Access-Control-Expose-Headers") == ("X-Request-ID" if allowed else None)
    assert "origin" in varies(reply)


def test_two_origins_are_none(address: str) -> None:
    reply = ask(address, "/items", headers=[("Origin", APP), ("Origin", APP)])
    assert cors_fields(reply) == {}


def test_without_an_origin_the_answer_still_varies_by_it(address: str) -> None:
    reply = ask(address, "/items")
    assert cors_fields(reply) == {}
    assert varies(reply) == {"origin"}


def test_what_the_instance_says_is_replaced(address: str, service: FakeService) -> None:
    theirs = [
        ("Access-Control-Allow-Origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("Access-Control-Expose-Headers", "X-Secret"),
        ("Access-Control-Max-Age", "1"),
        ("Vary", "Accept, origin"),
    ]
    service.answer = lambda _: Reply(headers=theirs)
    assert cors_fields(ask(address, "/items")) == {}
    reply = ask(address, "/items", headers={"Origin": APP})
    assert cors_fields(reply) == {
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "X-Request-ID",
    }
    assert reply.headers.get_all("Vary") == ["Accept, origin"]


def test_any_origin_without_credentials(address: str) -> None:
    reply = ask(address, "/open", headers={"Origin": "https://any.example"})
    assert cors_fields(reply) == {"access-control-allow-origin": "*"}
    assert reply.headers.get_all("Vary") == []
    asked = preflight(address, "/open", "https://any.example", "POST", "authorization,x-any")
    assert asked.status == 204
    assert asked.headers.get("Access-Control-Allow-Methods") == "POST"
    assert asked.headers.get("Access-Control-Allow-Headers") == "authorization, x-any"
    assert asked.headers.get("Access-Control-Allow-Origin") == "*"
    assert asked.headers.get("Access-Control-Max-Age") == "86400"


@pytest.mark.parametrize(("path", "status"), [("/gone", 502), ("/small", 413)])
def test_errors_stay_readable(address: str, path: str, status: int) -> None:
    body = b"x" * 101 if path == "/small" else None
    reply = ask(address, path, "POST" if body else "GET", {"Origin": APP}, body)
    assert reply.status == status
    assert reply.headers.get("Access-Control-Allow-Origin") == APP


@pytest.mark.parametrize(("path", "method", "status"), [("/nowhere", "GET", 404), ("/items", "POST", 405)])
def test_refusals_without_a_route_stay_readable(address: str, path: str, method: str, status: int) -> None:
    reply = ask(address, path, method, {"Origin": APP})
    assert reply.status == status
    assert reply.headers.get("Access-Control-Allow-Origin") == APP
    assert reply.headers.get("X-Content-Type-Options") == "nosniff"
    assert "access-control-allow-origin" not in cors_fields(ask(address, path, method, {"Origin": "https://b.example"}))


def test_a_route_without_the_policy_has_no_preflights(address: str, service: FakeService) -> None:
    reply = preflight(address, "/plain", APP, "GET")
    assert reply.status == 405
    assert reply.headers.get("Allow") == "GET, HEAD"
    assert service.requests == []


def test_a_route_without_the_policy_may_take_them_as_requests(address: str, service: FakeService) -> None:
    assert preflight(address, "/own", APP, "GET").status == 200
    assert [request.method for request in service.requests] == ["OPTIONS"]


@pytest.mark.parametrize("sent", [{}, {"Origin": APP}, {"Access-Control-Request-Method": "GET"}])
def test_other_options_are_no_preflights(address: str, sent: dict[str, str]) -> None:
    assert ask(address, "/items", "OPTIONS", sent).status == 405


def test_a_preflight_for_a_method_that_no_route_takes(address: str) -> None:
    assert preflight(address, "/items", APP, "PATCH").status == 405


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{credentials: true}", "credentials cannot be allowed for every origin"),
        ("{origins: ['https://a.example'], credentials: true, expose: '*'}", "browsers ignore"),
        ("{origins: []}", "at least 1"),
        ("{origins: 'null'}", "sandboxed"),
        ("{origins: app.example.org}", "not an origin"),
        ("{origins: 'https://app.example.org/'}", "not an origin"),
        ("{origins: 'https://app.*.org'}", "not an origin"),
        ("{methods: 'GET POST'}", "must be a name"),
        ("{max_age: -1}", "negative"),
        ("{orgins: '*'}", "origins"),
    ],
)
def test_bad_configuration(tmp_path: Path, settings: str, words: str) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(f"policies:\n  cors: {settings}\n")
    with pytest.raises(ConfigError, match=words):
        Gateway.from_file(file).check()
