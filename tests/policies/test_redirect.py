from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pylae import ConfigError, Gateway
from pylae.testing import FakeService
from support.exchanges import ask, gateway
from support.peer import raw
from support.running import Running
from support.tls import Authority, secure

CONFIGURATION = r"""
policies: {security_headers: true}
routes:
  - {path: "/v1/users/{id}", auth_required: false, redirect: "/v2/users/{id}"}
  - {path: /form, method: POST, auth_required: false, redirect: {to: "/done?from=form", status: 303}}
  - prefix: /site
    auth_required: false
    redirect: {to: "https://www.example.org{path}", status: 301, keep_query: false}
  - {prefix: /secure, auth_required: false, redirect: {to: "https://{host}{path}", status: 307, insecure_only: true}}
  - {prefix: /port, auth_required: false, redirect: "https://{host}:8443{path}?from={host}"}
  - {prefix: /told, auth_required: false, redirect: "/here?from={host}"}
  - {pattern: "^/go(?P<rest>.*)$", auth_required: false, redirect: "{path}x"}
  - {pattern: "^/out(?P<rest>.*)$", auth_required: false, redirect: "/{rest}"}
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with gateway(tmp_path, CONFIGURATION) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "target", "status", "location"),
    [
        ("GET", "/v1/users/7", 308, "/v2/users/7"),
        ("PUT", "/v1/users/7?a=b&c", 308, "/v2/users/7?a=b&c"),
        ("HEAD", "/v1/users/a%20b", 308, "/v2/users/a%20b"),
        ("POST", "/form?x=1", 303, "/done?from=form&x=1"),
        ("GET", "/site/a/../b?x=1", 301, "https://www.example.org/site/b"),
        ("GET", "/secure/a?x", 307, "https://api.example.org:8080/secure/a?x"),
        ("GET", "/port/a", 308, "https://api.example.org:8443/port/a?from=api.example.org:8080"),
        ("GET", "/go", 308, "/gox"),
        # Never a host of the sender's choice.
        ("GET", "/out/evil.example", 308, "/evil.example"),
        ("GET", "/out//evil.example", 308, "/evil.example"),
    ],
)
def test_redirect(address: str, method: str, target: str, status: int, location: str) -> None:
    reply = ask(address, target, method, {"Host": "api.example.org:8080"})
    assert (reply.status, reply.headers.get("Location"), reply.body) == (status, location, b"")
    assert reply.headers.get("X-Frame-Options") == "DENY"


def test_a_request_that_names_no_host_is_not_led_to_one(address: str) -> None:
    """HTTP/1.0 needs no Host field (RFC 9112 section 3.2)."""
    for target in ("/secure/a", "/port/a"):
        (answer,) = raw(address, f"GET {target} HTTP/1.0\r\n\r\n".encode())
        assert (answer.status, answer.one("Location")) == (400, None)
        assert b"urn:pylae:error:host_missing" in answer.body
    for target, location in [("/told", "/here?from="), ("/site/a", "https://www.example.org/site/a")]:
        (answer,) = raw(address, f"GET {target} HTTP/1.0\r\n\r\n".encode())
        assert answer.one("Location") == location


def test_insecure_only(tmp_path: Path, service: FakeService) -> None:
    """On all listeners; who uses TLS already is let through to the service."""
    authority = Authority(tmp_path)
    secure_listener = {"address": "127.0.0.2:0", "tls": authority.issue("gateway", "gateway.test")}
    redirect = {"to": "https://{host}{path}", "insecure_only": True}
    configuration = {
        "listeners": ["127.0.0.1:0", secure_listener],
        "services": {"one": {"instances": [service.url]}},
        "routes": [{"prefix": "/", "service": "one", "auth_required": False, "redirect": redirect}],
    }
    one = Running({"workers": 1, **configuration})
    try:
        reply = ask(one.address, "/a?b=c", headers={"Host": "gateway.test"})
        assert (reply.status, reply.headers.get("Location")) == (308, "https://gateway.test/a?b=c")
        assert service.count == 0
        with secure(one.addresses[1], authority.context()) as peer:
            peer.send(b"GET /a?b=c HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
            answer = peer.read_answer()
        assert (answer.status, answer.body) == (200, b"hello")
        assert [request.target for request in service.requests] == ["/a?b=c"]
    finally:
        one.stop()


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ("path: /a, redirect: www.example.org", "must start with"),
        ("path: /a, redirect: 'https://{id}/'", "not captured"),
        ("path: '/{id}', redirect: 'https://{id}/'", "cannot be in the host"),
        ("path: '/{id}', redirect: '/x/{di}'", "there are `{host}`, `{path}`, `{id}`"),
        ("path: /a, redirect: {to: /b, status: 200}", "status"),
        ("path: /a, redirect: {status: 301}", "to"),
        ('path: /a, redirect: "/b\\r\\nX: y"', "no spaces"),
    ],
)
def test_bad_configuration(tmp_path: Path, route: str, words: str) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(f"routes:\n  - {{{route}, auth_required: false}}\n")
    with pytest.raises(ConfigError, match=words):
        Gateway.from_file(file).check()


def test_a_route_that_does_not_answer_needs_a_service(tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text("routes:\n  - {path: /a, redirect: false, auth_required: false}\n")
    with pytest.raises(ConfigError, match="needs `service`"):
        Gateway.from_file(file)
