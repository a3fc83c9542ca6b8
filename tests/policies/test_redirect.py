from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pylae import ConfigError, Gateway
from support.exchanges import ask, gateway

CONFIGURATION = r"""
policies: {security_headers: true}
routes:
  - {path: "/v1/users/{id}", auth_required: false, redirect: "/v2/users/{id}"}
  - {path: /form, method: POST, auth_required: false, redirect: {to: "/done?from=form", status: 303}}
  - prefix: /site
    auth_required: false
    redirect: {to: "https://www.example.org{path}", status: 301, keep_query: false}
  - {prefix: /secure, auth_required: false, redirect: {to: "https://{host}{path}", status: 307, insecure_only: true}}
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


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ("path: /a, redirect: www.example.org", "must start with"),
        ("path: /a, redirect: 'https://{id}/'", "not captured"),
        ("path: '/{id}', redirect: 'https://{id}/'", "cannot stand in the host"),
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
