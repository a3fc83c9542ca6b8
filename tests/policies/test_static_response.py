from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pylae import ConfigError, Gateway
from support.exchanges import ask, gateway

CONFIGURATION = r"""
policies: {security_headers: true, cors: true}
routes:
  - {path: /robots.txt, auth_required: false, static_response: "User-agent: *\n"}
  - prefix: /old
    auth_required: false
    static_response: {status: 410, body: {error: ended}, headers: {Cache-Control: max-age=60}}
  - {path: /empty, auth_required: false, static_response: {status: 204}}
  - {path: /page, auth_required: false, static_response: {body: "<p>", content_type: text/html}}
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with gateway(tmp_path, CONFIGURATION) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "status", "content_type", "body"),
    [
        ("GET", "/robots.txt", 200, "text/plain; charset=utf-8", b"User-agent: *\n"),
        ("POST", "/old/x", 410, "application/json", b'{"error": "ended"}'),
        ("GET", "/empty", 204, None, b""),
        ("GET", "/page", 200, "text/html", b"<p>"),
        ("HEAD", "/page", 200, "text/html", b""),
    ],
)
def test_answer(address: str, method: str, path: str, status: int, content_type: str | None, body: bytes) -> None:
    reply = ask(address, path, method, {"Origin": "https://a.example"})
    assert (reply.status, reply.headers.get("Content-Type"), reply.body) == (status, content_type, body)
    assert reply.headers.get("X-Frame-Options") == "DENY"
    assert reply.headers.get("Access-Control-Allow-Origin") == "*"
    if path == "/old/x":
        assert reply.headers.get("Cache-Control") == "max-age=60"
    if method == "HEAD":
        assert reply.headers.get("Content-Length") == "3"


def test_a_body_that_is_sent_does_not_disturb_the_connection(address: str) -> None:
    assert ask(address, "/robots.txt", "POST", body=b"x" * 1000).status == 200


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{status: 199}", "200"),
        ("{status: 204, body: x}", "has no body"),
        ("{headers: {Content-Length: '5'}}", "frames the message"),
        ("{headers: {'X Y': a}}", "must be a name"),
        ('{headers: {X-Y: "a\\r\\nb"}}', "visible ASCII"),
        ('{content_type: "a\\nb"}', "visible ASCII"),
    ],
)
def test_bad_configuration(tmp_path: Path, settings: str, words: str) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(f"routes:\n  - {{path: /a, auth_required: false, static_response: {settings}}}\n")
    with pytest.raises(ConfigError, match=words):
        Gateway.from_file(file).check()
