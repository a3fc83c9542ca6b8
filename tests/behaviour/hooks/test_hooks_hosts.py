"""Hook hosts that are killed, hang, leak or go mad, and those of configurations that come and go."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from pylae.testing import FakeService
from support.exchanges import ask
from support.exposition import promtool
from support.hooked import calls, running, until
from support.hosted import hosted
from support.running import Process


def hosts_of(gateway: Gateway) -> list[dict[str, Any]]:
    hosts = gateway.runtime.hosts
    return hosts.listed() if hosts else []


def restarts(gateway: Gateway) -> dict[str, int]:
    hosts = gateway.runtime.hosts
    return hosts.restarts if hosts else {}


@contextmanager
def asking(address: str, target: str = "/", **headers: str) -> Iterator[Callable[[], int]]:
    """Asks on a thread, and gives what waits for the status."""
    answers: list[int] = []
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    thread = threading.Thread(target=lambda: answers.append(ask(address, target, headers=named).status))
    thread.start()

    def status() -> int:
        thread.join()
        return answers[0]

    yield status
    thread.join()


@pytest.mark.parametrize(("on_error", "status"), [("fail", 500), ("skip", 200)])
def test_a_host_that_is_killed_loses_its_calls_only(
    service: FakeService, tmp_path: Path, on_error: str, status: int
) -> None:
    pause = {"on_request": "@pause", "on_error": on_error, "timeout": "60s"}
    gateway = hosted(service.url, 2, pause, {"on_request": "@count", "on_error": on_error})
    held = tmp_path / "held"
    with running(gateway) as address, asking(address, X_Until=str(held)) as first:
        until(lambda: sum(host["in_flight"] for host in hosts_of(gateway)) == 1)
        (busy,) = [host for host in hosts_of(gateway) if host["in_flight"]]
        with asking(address, X_Until=str(held)) as second:
            until(lambda: sum(host["in_flight"] for host in hosts_of(gateway)) == 2)
            os.kill(busy["process"], signal.SIGKILL)
            # The last hook answers, so a lost call that is skipped goes to the service.
            assert first() == status
            assert len(service.requests) == (status == 200)
            others = {ask(address).json()["process"] for _ in range(3)}
            assert busy["process"] not in others
            held.touch()
            assert second() == 200
        until(lambda: len([host for host in hosts_of(gateway) if host["state"] == "warm"]) == 2)
        assert restarts(gateway) == {"crashed": 1}
        until(lambda: len({ask(address).json()["process"] for _ in range(4)}) == 2)


def test_hosts_share_the_calls(service: FakeService) -> None:
    with running(gateway := hosted(service.url, 2, "count")) as address:
        seen = [ask(address).json() for _ in range(10)]
        assert sorted(one["calls"] for one in seen) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
        assert {one["process"] for one in seen} == {host["process"] for host in hosts_of(gateway)}
        assert os.getpid() not in {one["process"] for one in seen}


@pytest.mark.parametrize(("name", "reasons"), [("hold", {"hung", "stuck"})])
def test_a_host_that_does_not_answer_is_replaced(service: FakeService, name: str, reasons: set[str]) -> None:
    gateway = hosted(service.url, 1, {"on_request": f"@{name}", "timeout": "100ms"}, "count")
    with running(gateway) as address:
        (before,) = hosts_of(gateway)
        assert ask(address, headers={f"X-{name}": "1"}).status in (500, 503)
        until(
            lambda: any(host["process"] != before["process"] and host["state"] == "warm" for host in hosts_of(gateway))
        )
        until(lambda: ask(address).status == 200)
        assert ask(address).json()["process"] != before["process"]
        assert set(restarts(gateway)) <= reasons


@pytest.mark.parametrize(
    ("settings", "hook", "reason"),
    [({"max_requests": 3}, "count", "requests"), ({"max_memory": "200MB"}, "grow", "memory")],
)
def test_hosts_are_replaced_without_a_lost_call(
    service: FakeService, settings: dict[str, Any], hook: str, reason: str
) -> None:
    with running(gateway := hosted(service.url, 1, hook, "count", hooks=settings)) as address:
        first = ask(address).json() if hook == "count" else None
        (before,) = hosts_of(gateway)
        statuses = set()
        until(lambda: statuses.add(ask(address).status) or restarts(gateway).get(reason))
        until(lambda: all(host["process"] != before["process"] for host in hosts_of(gateway)))
        assert statuses == {200}
        assert ask(address).json() != first


@pytest.mark.parametrize("byte", [255, 1, 7, 0])
def test_a_mad_host_breaks_its_own_calls_only(service: FakeService, byte: int) -> None:
    gateway = hosted(service.url, 1, "scribble", "count", {"on_response": "@brand"})
    with running(gateway) as address:
        (before,) = hosts_of(gateway)
        with asking(address, X_Scribble=str(byte)) as status:
            # What it has written may look as if it were asleep: then somebody has to end it. Positions of 0 are right
            # again if the gateway writes its next message before they are looked at.
            any(ask(address).status != 200 or restarts(gateway) for _ in range(50))
            with suppress(ProcessLookupError):
                os.kill(before["process"], signal.SIGKILL)
            assert status() in (200, 500)
        until(lambda: ask(address).status == 200)
        assert ask(address).json()["process"] != before["process"]


def test_a_full_host_refuses(service: FakeService, tmp_path: Path) -> None:
    pause = {"on_request": "@pause", "timeout": "60s"}
    gateway = hosted(service.url, 1, pause, hooks={"max_calls": 1})
    held = tmp_path / "held"
    with running(gateway) as address, asking(address, X_Until=str(held)) as first:
        until(lambda: sum(host["in_flight"] for host in hosts_of(gateway)) == 1)
        refused = ask(address)
        assert (refused.status, refused.json()["type"]) == (503, "urn:pylae:error:hook_stuck")
        assert calls(gateway)["hosted:pause"]["refused"] == 1
        held.touch()
        assert first() == 200


def test_a_client_that_leaves_cancels_its_call(service: FakeService, tmp_path: Path) -> None:
    gateway = hosted(service.url, 1, {"on_request": "@pause", "timeout": "60s"})
    with running(gateway) as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(f"GET / HTTP/1.1\r\nHost: a\r\nX-Until: {tmp_path / 'never'}\r\n\r\n".encode())
            until(lambda: sum(host["in_flight"] for host in hosts_of(gateway)) == 1)
        until(lambda: sum(host["in_flight"] for host in hosts_of(gateway)) == 0)
        assert ask(address).status == 200


def test_a_reload_lets_calls_finish(service: FakeService, tmp_path: Path) -> None:
    held = tmp_path / "held"
    pause = {"on_request": "@pause", "timeout": "60s"}
    gateway = hosted(service.url, 1, pause, "count")
    with running(gateway) as address, asking(address, X_Until=str(held)) as first:
        until(lambda: sum(host["in_flight"] for host in hosts_of(gateway)) == 1)
        (before,) = hosts_of(gateway)
        gateway.apply(hosted(service.url, 1, "count"))
        (after,) = hosts_of(gateway)
        assert ask(address).json() == {"process": after["process"], "calls": 1}
        assert after["process"] != before["process"]
        assert Path(f"/proc/{before['process']}").exists()
        held.touch()
        assert first() == 200
        until(lambda: not Path(f"/proc/{before['process']}").exists())
        gateway.apply(hosted(service.url, 0, "count"))
        assert ask(address).json()["process"] == os.getpid()
        until(lambda: not Path(f"/proc/{after['process']}").exists())


def test_hosts_that_cannot_load_the_hooks_are_refused(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have loaded a program that is no longer there.
    monkeypatch.delitem(sys.modules, "pylae_program", raising=False)
    gateway = hosted(service.url, 1, "count")

    @gateway.on_request
    def inside(_: object) -> None:
        """A host cannot import it."""

    with pytest.raises(ConfigError, match="inside cannot be found by a hook host"):
        gateway.start()
    with running(gateway := hosted(service.url, 1, "count")) as address:
        (before,) = hosts_of(gateway)
        other = hosted(service.url, 1, "count")
        other.on_request(lambda _: None)
        with pytest.raises(ConfigError, match="cannot be found by a hook host"):
            gateway.apply(other)
        assert ask(address).json()["process"] == before["process"]


def test_the_metrics_of_hosts(service: FakeService) -> None:
    with running(gateway := hosted(service.url, 2, "count")) as address:
        for _ in range(4):
            ask(address)
        until(lambda: sum(host["calls"] for host in hosts_of(gateway)) == 4)
        until(lambda: calls(gateway)["hosted:count"]["calls"] == 4)
        page = gateway.metrics()
        assert page.count("\npylae_hook_host_memory_bytes{") == 2
        assert 'pylae_hook_host_calls_total{host="0"} 2' in page
        assert 'pylae_hook_host_restarts_total{reason="crashed"} 0' in page
        promtool("check", "metrics", text=page)


PROGRAM = """
import os
from pylae import Gateway, Response, Route
from elsewhere import made_elsewhere

gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, admin=False, hooks={{"processes": 2}}, state={state!r})
gateway.add_route(Route(name="all", prefix="/", service_url={url!r}, auth_required=False))


def make(name):
    def hook(request):
        if request.path == "/" + name:
            return Response(f"{{name}} {{os.getpid()}}")

    return hook


gateway.on_request(make("one"))
gateway.on_request(make("two"))
gateway.on_request(made_elsewhere("three"))


@gateway.on_request
def plain(request):
    request.headers["X-Process"] = str(os.getpid())


if __name__ == "__main__":
    gateway.run()
"""


ELSEWHERE = """
from pylae import Response


def made_elsewhere(name):
    return lambda request: Response(name) if request.path == "/" + name else None
"""


@pytest.mark.parametrize("command", [("-m", "pylae", "run"), ()])
def test_a_program_with_hosts(service: FakeService, tmp_path: Path, command: tuple[str, ...]) -> None:
    program = tmp_path / "gateway.py"
    program.write_text(PROGRAM.format(url=service.url, state=str(tmp_path / "state")))
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    process = Process({}, tmp_path, *command, str(program))
    try:
        assert ask(process.address, "/three").body == b"three"
        one, two = ask(process.address, "/one").body.split(), ask(process.address, "/two").body.split()
        assert (one[0], two[0]) == (b"one", b"two")
        assert int(one[1]) != process.process.pid
        ask(process.address, "/")
        assert int(service.requests[-1].headers["X-Process"]) in (int(one[1]), int(two[1]))
        process.process.kill()
        process.process.wait()
        until(lambda: not Path(f"/proc/{int(one[1])}").exists() and not Path(f"/proc/{int(two[1])}").exists())
    finally:
        process.stop()


def test_logs_of_a_lost_host(service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    with running(gateway := hosted(service.url, 1, "count")) as address, caplog.at_level(logging.INFO, "pylae.hooks"):
        (host,) = hosts_of(gateway)
        os.kill(host["process"], signal.SIGKILL)
        until(lambda: restarts(gateway))
        until(lambda: ask(address).status == 200)
    (record,) = [record for record in caplog.records if "hook host 0" in record.getMessage()]
    assert record.getMessage() == f"hook host 0 (process {host['process']}) has ended; another one takes its place"


def test_what_a_host_says_last_is_heard(service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    with running(hosted(service.url, 1, "fail_slowly")) as address:
        assert ask(address, "/").status == 500
    assert any("secret of the hook" in record.getMessage() for record in caplog.records)
