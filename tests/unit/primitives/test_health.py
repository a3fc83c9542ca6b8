"""Health of instances by checks of its own; by a gateway's: tests/behaviour/test_textbook_components.py."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pylae.primitives import HealthChecker
from pylae.primitives.health import url_of
from pylae.testing import FakeClock, FakeService, Reply


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


def described(service: FakeService) -> dict[str, Any]:
    host, _, port = service.address.partition(":")
    return {"id": "1", "host": host, "port": int(port)}


def test_it_asks_and_remembers(service: FakeService) -> None:
    clock = FakeClock()
    checker = HealthChecker(clock=clock)
    statuses = iter([200, 503, 200])
    service.on("GET", "/health", lambda _: Reply(next(statuses)))
    assert checker.is_healthy(described(service))
    clock.advance(29)
    assert checker.is_healthy(described(service)), "nothing was asked"
    clock.advance(1)
    assert not checker.is_healthy(described(service))
    clock.advance(30)
    assert checker.is_healthy(described(service)), "once is enough"
    assert [(one.method, one.target) for one in service.requests] == [("GET", "/health")] * 3


@pytest.mark.parametrize("status", [204, 301, 404, 500])
def test_only_200_is_healthy(service: FakeService, status: int) -> None:
    service.on("GET", "/health", Reply(status))
    assert not HealthChecker().is_healthy(described(service))


def test_another_path(service: FakeService) -> None:
    service.on("GET", "/health", Reply(500))
    assert HealthChecker(path="/ready?deep=1").is_healthy(described(service))


def test_who_does_not_listen_is_not_healthy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert not HealthChecker().is_healthy({"url": f"http://127.0.0.1:{taken.getsockname()[1]}"})


def test_a_name_that_cannot_be_looked_up() -> None:
    assert not HealthChecker().is_healthy({"host": "a" * 64, "port": 1})


@pytest.mark.parametrize("said", [b"", b"HTTP", b"SSH-2.0-x\r\n", b"x" * 100_000])
def test_who_does_not_answer_in_time_or_something_else(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            # It may go before everything is said or heard.
            with connection, contextlib.suppress(ConnectionError):
                connection.sendall(said)
                while connection.recv(1024):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        port = server.getsockname()[1]
        assert not HealthChecker(timeout=0.2).is_healthy({"host": "127.0.0.1", "port": port})
        thread.join()


@pytest.mark.parametrize(
    ("instance", "url"),
    [
        ({"host": "a", "port": 1}, "http://a:1"),
        ({"host": "::1", "port": 8000}, "http://[::1]:8000"),
        ({"host": "[::1]", "port": 8000}, "http://[::1]:8000"),
        ({"url": "https://a", "host": "b", "port": 1}, "https://a:443"),
    ],
)
def test_where_an_instance_is(instance: dict[str, Any], url: str) -> None:
    assert url_of(instance) == url


@pytest.mark.parametrize("instance", [{}, {"host": "a"}, {"url": "ftp://a"}, {"host": "a b", "port": 1}])
def test_what_is_no_instance(instance: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"instance|URL"):
        HealthChecker().is_healthy(instance)


@pytest.mark.parametrize("path", ["health", "/a b", "/a\r\nX: y", "/ä"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        HealthChecker(path=path)
