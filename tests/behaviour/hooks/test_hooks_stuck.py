"""Hooks that do not return: in a call that waits, and in C code that keeps the interpreter's lock."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.instance import EchoInstance
from support.peer import Message, Peer, accepts, raw, wait_until
from support.running import Process

Start = Callable[..., Process]

HOOKS = """
import ctypes, os, socket, time

BOTH_ENDS = socket.socketpair()
C_CODE = ctypes.PyDLL(None)

def waits(request):
    if request.path == "/stuck":
        BOTH_ENDS[0].recv(1)

def keeps(request):
    # A call by `PyDLL` keeps the interpreter's lock.
    if request.path == "/stuck":
        C_CODE.sleep(3600)

def keeps_for_a_while(request):
    if request.path == "/stuck":
        C_CODE.sleep(2)

def returns(request):
    request.headers["X-Hook"] = "called"
"""
KINDS = ["waits", "keeps"]
TOKEN = "a-token-of-the-test"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def start(gateway_process: Start, echo: EchoInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts a gateway with the hook `kind` on /stuck, `returns` on /hooked, and none elsewhere."""
    (tmp_path / "stuck_hooks.py").write_text(HOOKS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def begin(kind: str, *, workers: int = 2, options: str = "", **limits: str) -> Process:
        return gateway_process(
            {
                "workers": workers,
                "admin": {"address": "127.0.0.1:0", "token": TOKEN},
                "limits": {"drain_timeout": "500ms", **limits},
                "hooks": [
                    {"on_request": f"stuck_hooks:{kind}", "routes": "stuck", **json.loads(options or "{}")},
                    {"on_request": "stuck_hooks:returns", "routes": "hooked", "timeout": "300ms"},
                ],
                "routes": [
                    {"name": "stuck", "path": "/stuck", "service": "all"},
                    {"name": "hooked", "path": "/hooked", "service": "all"},
                    {"name": "plain", "prefix": "/", "service": "all"},
                ],
            },
            all=echo,
        )

    return begin


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def send_stuck(running: Process, clients: ExitStack) -> Peer:
    """A request that a worker is stuck in from now on."""
    client = clients.enter_context(running.connect())
    client.send(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
    return client


def get(running: Process, path: str = "/") -> Message:
    return raw(running.address, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 1)[0]


def admin_of(running: Process) -> str:
    """The address of its admin API."""
    return running.read_until("admin API on").split()[-1]


def ask(address: str, path: str, token: str = TOKEN) -> tuple[int, Any]:
    """Status and document of an answer of the admin API."""
    fields = f"Host: localhost\r\nAuthorization: Bearer {token}\r\n" if token else "Host: localhost\r\n"
    (answer,) = raw(address, f"GET {path} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n".encode())
    return answer.status, json.loads(answer.body)


def problem(answer: Message) -> str:
    """The code of an error."""
    return str(json.loads(answer.body)["type"]).removeprefix("urn:pylae:error:")


def stop(running: Process, *numbers: signal.Signals) -> tuple[int, float]:
    """Sends the signals and waits for the end. Exit code and seconds."""
    began = time.monotonic()
    for number in numbers:
        running.signal(number)
    return running.wait(), time.monotonic() - began


@pytest.mark.parametrize("kind", KINDS)
def test_other_routes_are_served_and_a_stop_ends_the_process(start: Start, clients: ExitStack, kind: str) -> None:
    running = start(kind)
    send_stuck(running, clients)
    running.read_until("does not come back: hook stuck_hooks:" + kind)
    for _ in range(50):
        assert get(running).status == 200
    code, seconds = stop(running, signal.SIGTERM)
    assert code == 1
    # The contract: two seconds after the drain. A bound, not a measurement.
    assert seconds < 0.5 + 2 + 2
    running.read_until(f"ended though hook stuck_hooks:{kind} on route stuck")


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_signal_ends_it_at_once(start: Start, clients: ExitStack, kind: str) -> None:
    running = start(kind, drain_timeout="1h")
    send_stuck(running, clients)
    running.read_until("does not come back")
    running.signal(signal.SIGTERM)
    # Two signals at the same moment would be one.
    wait_until(lambda: not accepts(running.address))
    assert stop(running, signal.SIGTERM)[0] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_all_workers_stuck(start: Start, clients: ExitStack, kind: str) -> None:
    running = start(kind, workers=1)
    send_stuck(running, clients)
    running.read_until("does not come back")
    assert stop(running, signal.SIGTERM)[0] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_health_names_the_hook_while_the_gateway_is_live(start: Start, clients: ExitStack, kind: str) -> None:
    running = start(kind)
    admin = admin_of(running)
    send_stuck(running, clients)
    running.read_until("does not come back")

    def named() -> bool:
        status, health = ask(admin, "/health")
        return status == 200 and any(f"hook stuck_hooks:{kind} " in reason for reason in health["reasons"])

    wait_until(named)
    assert ask(admin, "/health")[1]["status"] == "degraded"
    assert ask(admin, "/live", "") == (200, {"status": "live"})
    assert ask(admin, "/ready", "") == (200, {"status": "ready"})
    # Nobody else is told.
    for token in ("", "another-token-than-that"):
        status, document = ask(admin, "/health", token)
        assert status in (401, 503) and f"stuck_hooks:{kind}" not in str(document)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gateway_whose_workers_are_all_stuck_is_not_live(start: Start, clients: ExitStack, kind: str) -> None:
    running = start(kind, workers=1)
    admin = admin_of(running)
    send_stuck(running, clients)
    wait_until(lambda: ask(admin, "/live", "") == (503, {"status": "stuck"}))
    assert ask(admin, "/ready", "")[0] == 503


@pytest.mark.parametrize("kind", KINDS)
def test_the_worker_is_replaced_and_the_hook_gets_no_other(start: Start, clients: ExitStack, kind: str) -> None:
    running = start(kind, workers=1, stuck_timeout="1s")
    first = send_stuck(running, clients)
    running.read_until("is given up after 1.0 s: hook stuck_hooks:" + kind)
    running.read_until("another thread is worker 0")
    assert first.at_end()
    assert get(running).status == 200
    # The hook runs on the pool by now, so the worker is not stuck again.
    second = send_stuck(running, clients)
    assert get(running).status == 200
    assert second.read_answer().status in (500, 503)
    assert get(running).status == 200


def test_hooks_wait_for_the_lock_no_longer_than_they_may(start: Start, clients: ExitStack) -> None:
    running = start("keeps")
    send_stuck(running, clients)
    running.read_until("the interpreter's lock is not released: hook stuck_hooks:keeps on route stuck")
    answer = get(running, "/hooked")
    assert (answer.status, problem(answer)) == (503, "hook_stuck")
    # Nor do they keep the worker meanwhile.
    waiting = [clients.enter_context(running.connect()) for _ in range(20)]
    for client in waiting:
        client.send(b"GET /hooked HTTP/1.1\r\nHost: a\r\n\r\n")
    assert get(running).status == 200
    assert [client.read_answer().status for client in waiting] == [503] * 20
    running.read_until("hook stuck_hooks:returns on route hooked is not called")


def test_hooks_are_called_again_once_the_lock_is_released(start: Start, clients: ExitStack) -> None:
    running = start("keeps_for_a_while")
    client = send_stuck(running, clients)
    running.read_until("lock is not released")
    running.read_until("Python code runs again")
    answer = get(running, "/hooked")
    assert answer.status == 200
    assert client.read_answer().status == 200


def test_a_hook_that_waits_keeps_no_other_from_being_called(start: Start, clients: ExitStack) -> None:
    running = start("waits")
    send_stuck(running, clients)
    running.read_until("does not come back")
    assert [get(running, "/hooked").status for _ in range(20)] == [200] * 20


def test_threads_of_the_pool_that_are_stuck_are_replaced(start: Start, clients: ExitStack) -> None:
    running = start("waits", options='{"blocking": true, "timeout": "50ms"}')
    # More than the pool has threads, one after the other: the hook itself gets a few.
    answers = [send_stuck(running, clients).read_answer() for _ in range(30)]
    assert {answer.status for answer in answers} == {500, 503}
    assert problem(answers[-1]) == "hook_stuck"
    assert get(running, "/hooked").status == 200
    assert stop(running, signal.SIGTERM)[0] == 0
