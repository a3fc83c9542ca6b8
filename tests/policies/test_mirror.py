from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from pylae.testing import FakeService, Received, Reply
from support.exchanges import DEADLINE, ask, running
from support.peer import wait_until


class Shadow:
    """The service that gets the copies, and a way to wait for one."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self._arrived = threading.Semaphore(0)

    def __call__(self, request: Received) -> Reply:
        self.requests.append(request)
        self._arrived.release()
        return Reply(500, body=b"nobody sees this")

    def wait(self) -> Received:
        """The next copy."""
        assert self._arrived.acquire(timeout=DEADLINE)
        return self.requests[-1]


@pytest.fixture
def shadow() -> Shadow:
    return Shadow()


Start = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path, service: FakeService, shadow: Shadow) -> Iterator[Start]:
    with FakeService(shadow) as copies:

        def begin(**mirror: Any) -> Any:
            configuration = {
                "services": {"one": {"instances": [service.url]}, "shadow": {"instances": [copies.url]}},
                "policies": {"mirror": {"service": "shadow", **mirror}, "ip_access": {"deny": "10.0.0.0/8"}},
                "trusted_proxies": ["127.0.0.1"],
                "routes": [
                    {"prefix": "/", "service": "one", "auth_required": False},
                    {"path": "/off", "service": "one", "auth_required": False, "mirror": False},
                    {"path": "/own", "auth_required": False, "static_response": "x"},
                ],
            }
            return running(tmp_path, configuration)

        yield begin


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("body", [b"", b"hello", b"x" * 60_000, b"x" * 200_000])
def test_a_copy_is_sent(start: Start, service: FakeService, shadow: Shadow, body: bytes, chunked: bool) -> None:
    with start(max_body="1MB") as (_, address):
        sent = iter([body[:100], body[100:]]) if chunked and len(body) > 100 else body
        fields = {"X-Any": "1", "Authorization": "Bearer x", "traceparent": "00-any"}
        assert ask(address, "/a?b=1", "POST", fields, sent).body == b"hello"
        copy, original = shadow.wait(), service.requests[0]
    assert (copy.method, copy.target, copy.body) == ("POST", "/a?b=1", body)
    same = ("X-Any", "Authorization", "X-Request-ID", "X-Forwarded-For", "traceparent")
    assert [copy.headers[name] for name in same] == [original.headers[name] for name in same]


def test_what_is_not_forwarded_is_not_copied(start: Start, shadow: Shadow) -> None:
    with start() as (gateway, address):
        assert ask(address, "/", headers={"X-Forwarded-For": "10.0.0.1"}).status == 403
        assert ask(address, "/own").status == 200
        assert ask(address, "/off").status == 200
        assert gateway.stats()["totals"]["mirrored"] == 0
        assert ask(address, "/last").status == 200
        assert shadow.wait().target == "/last"
    assert len(shadow.requests) == 1


def test_what_is_too_much_is_not_copied(start: Start, shadow: Shadow) -> None:
    with start(max_body=100) as (gateway, address):
        assert ask(address, "/long", "POST", body=b"x" * 101).status == 200
        assert ask(address, "/short", "POST", body=b"x" * 100).status == 200
        assert shadow.wait().target == "/short"
        totals = gateway.stats()["totals"]
    assert (totals["mirrored"], totals["mirrors_dropped"]) == (1, 1)


def test_a_share_of_nothing(start: Start, shadow: Shadow) -> None:
    with start(share=0) as (gateway, address):
        assert ask(address).status == 200
        totals = gateway.stats()["totals"]
    assert (totals["mirrored"], totals["mirrors_dropped"]) == (0, 0)
    assert shadow.requests == []


def test_a_shadow_that_hangs_delays_nobody_and_is_bounded(tmp_path: Path, service: FakeService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        configuration = {
            "services": {"one": {"instances": [service.url]}, "shadow": {"instances": [url]}},
            "routes": [
                {
                    "path": "/",
                    "service": "one",
                    "auth_required": False,
                    "mirror": {"service": "shadow", "max_in_flight": 3, "timeout": "1h"},
                }
            ],
        }
        with running(tmp_path, configuration) as (gateway, address):
            for _ in range(10):
                assert ask(address).status == 200

            def copies() -> tuple[int, int]:
                totals = gateway.stats()["totals"]
                return totals["mirrored"], totals["mirrors_dropped"]

            # A copy is begun when its exchange is over, which is behind the answer.
            wait_until(lambda: sum(copies()) == 10)
            assert copies() == (3, 7)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{service: shdow}", "there is no service"),
        ("{share: 0.5}", "service"),
        ("{service: one, share: 2}", "share"),
        ("{service: one, max_body: 1GB}", "max_body"),
    ],
)
def test_bad_configuration(tmp_path: Path, settings: str, words: str) -> None:
    file = tmp_path / "pylae.yaml"
    route = f"{{path: /a, service: one, auth_required: false, mirror: {settings}}}"
    file.write_text(f"services: {{one: {{instances: ['http://a']}}}}\nroutes:\n  - {route}\n")
    with pytest.raises(ConfigError, match=words) as caught:
        Gateway.from_file(file).check()
    assert caught.value.problems[0].line == 3
