from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from pylae.testing import FakeService, Reply
from support.exchanges import ask, gateway
from support.peer import Peer

FRAMED = {"X-Frame-Options": "SAMEORIGIN"}
ROUTES: dict[str, dict[str, Any]] = {
    "/": {},
    "/gone": {"service": "gone", "retries": 0},
    "/set": {"transform": {"response": {"set": FRAMED}}},
    "/added": {"transform": {"response": {"append": FRAMED}}},
    "/removed": {"transform": {"response": {"remove": ["X-Frame-Options", "referrer-policy"]}}},
    "/open": {"security_headers": {"frame_options": False, "hsts": "off", "csp": "default-src 'self'"}},
    "/off": {"method": "GET", "security_headers": False},
}
DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "1; mode=block",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
}


@pytest.fixture
def address(service: FakeService, dead_url: str, tmp_path: Path) -> Iterator[str]:
    configuration = {
        "services": {"one": {"instances": [service.url]}, "gone": {"instances": [dead_url]}},
        "policies": {"security_headers": {"hsts": "always"}},
        "routes": [{"path": path, "service": "one", "auth_required": False, **more} for path, more in ROUTES.items()],
    }
    with gateway(tmp_path, configuration) as running:
        yield running


def sent(address: str, target: str, method: str = "GET") -> dict[str, list[str]]:
    """All lines of the policy's fields in the answer."""
    headers = ask(address, target, method).headers
    return {name: headers.get_all(name) for name in (*DEFAULTS, "Content-Security-Policy") if headers.get_all(name)}


@pytest.mark.parametrize("target", ["/", "/gone", "/nowhere"])
def test_every_answer_has_each_once(address: str, target: str) -> None:
    assert sent(address, target) == {name: [value] for name, value in DEFAULTS.items()}


def test_a_method_that_is_not_allowed_has_them_too(address: str) -> None:
    assert sent(address, "/off", "POST") == {name: [value] for name, value in DEFAULTS.items()}
    assert sent(address, "/off") == {}


def test_what_the_service_says_stays(address: str, service: FakeService) -> None:
    service.answer = Reply(headers=[("x-frame-options", "SAMEORIGIN"), ("Content-Security-Policy", "default-src *")])
    fields = sent(address, "/")
    assert fields["X-Frame-Options"] == ["SAMEORIGIN"]
    assert fields["Content-Security-Policy"] == ["default-src *"]
    assert fields["Referrer-Policy"] == [DEFAULTS["Referrer-Policy"]]


@pytest.mark.parametrize("own", [[], [("X-Frame-Options", "ALLOWALL")]])
def test_what_another_policy_sets_stays(address: str, service: FakeService, own: list[tuple[str, str]]) -> None:
    service.answer = Reply(headers=own)
    assert sent(address, "/set")["X-Frame-Options"] == ["SAMEORIGIN"]
    assert sent(address, "/added")["X-Frame-Options"] == [*(value for _, value in own), "SAMEORIGIN"]


def test_what_another_policy_takes_from_the_service_is_not_there(address: str, service: FakeService) -> None:
    service.answer = Reply(headers=[("X-Frame-Options", "ALLOWALL"), ("Referrer-Policy", "unsafe-url")])
    assert sent(address, "/removed") == {name: [value] for name, value in DEFAULTS.items()}


def test_what_belongs_to_the_connection_of_the_service_is_not_there(address: str, service: FakeService) -> None:
    service.answer = Reply(headers=[("X-Frame-Options", "ALLOWALL"), ("Connection", "X-Frame-Options")])
    assert sent(address, "/")["X-Frame-Options"] == ["DENY"]
    assert sent(address, "/nowhere")["X-Frame-Options"] == ["DENY"]


def test_an_own_answer_behind_one_that_named_fields_of_its_connection(address: str, service: FakeService) -> None:
    service.answer = Reply(headers=[("Connection", "X-Long-Name-Of-A-Field")])
    with Peer.connect(address) as peer:
        for target, status in [("/", 200), ("/nowhere", 404), ("/gone", 502), ("/", 200)]:
            peer.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = peer.read_answer()
            assert (answer.status, answer.all("X-Frame-Options")) == (status, ["DENY"])


def test_each_can_be_changed_or_left_out(address: str) -> None:
    expected = {
        name: [value]
        for name, value in DEFAULTS.items()
        if name not in ("X-Frame-Options", "Strict-Transport-Security")
    }
    assert sent(address, "/open") == {**expected, "Content-Security-Policy": ["default-src 'self'"]}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('{frame_options: "DE\\nNY"}', "visible ASCII"),
        ("{hsts: sometimes}", "auto, always, off"),
        ("{hsts: {max_age: -1s}}", "not a duration"),
        ("{nosnif: true}", "did you mean `nosniff`"),
    ],
)
def test_bad_configuration(tmp_path: Path, settings: str, words: str) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(f"policies:\n  security_headers: {settings}\n")
    with pytest.raises(ConfigError, match=words):
        Gateway.from_file(file).check()
