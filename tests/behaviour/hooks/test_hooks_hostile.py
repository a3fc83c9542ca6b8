"""Hooks that do what they must not: the gateway answers, logs and lives."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from pylae import Gateway, Request, Response, engine
from pylae.testing import FakeService
from support.exchanges import ask
from support.hooked import calls, running, until
from support.peer import Peer


def raises(_: Request) -> None:
    raise RuntimeError("no good")


def returns_a_text(_: Request) -> Any:
    return "text"


def returns_a_number(_: Request) -> Any:
    return 200


def returns_a_coroutine(request: Request) -> Any:
    async def inner() -> None:
        request.method  # noqa: B018

    return inner()


def sets_a_line_break(request: Request) -> None:
    request.headers["X-A"] = "a\r\nX-Evil: 1"


def exits(_: Request) -> None:
    sys.exit(3)


def interrupts(_: Request) -> None:
    raise KeyboardInterrupt


def recurses(request: Request) -> None:
    recurses(request)


def raises_strangely(_: Request) -> None:
    class StrangeError(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    raise StrangeError


def stops(_: Request) -> None:
    raise StopIteration


def closes(_: Request) -> None:
    raise GeneratorExit


def runs_out(_: Request) -> None:
    raise MemoryError


def forks(_: Request) -> None:
    if os.fork() == 0:
        # Comes back in a child: it must not go on as a second gateway.
        return
    raise RuntimeError("the parent")


HOSTILE = (
    raises,
    returns_a_text,
    returns_a_number,
    returns_a_coroutine,
    sets_a_line_break,
    exits,
    interrupts,
    recurses,
    raises_strangely,
    stops,
    closes,
    runs_out,
)


def _of_kind(kind: str, hook: Callable[[Request], Any]) -> Any:
    async def driven(request: Request) -> Any:
        return hook(request)

    async def waiting(request: Request) -> Any:
        await asyncio.sleep(0)
        return hook(request)

    async def around(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Any:
        await call_next(request)
        return hook(request)

    return {"worker": hook, "pool": hook, "driven": driven, "waiting": waiting, "around": around}[kind]


@pytest.mark.parametrize("kind", ["worker", "driven", "waiting", "pool", "around"])
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_hostile_hook(
    gateway: Gateway, service: FakeService, kind: str, on_error: str, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = iter(HOSTILE)
    current = [raises]

    def hostile(request: Request) -> Any:
        return current[0](request)

    gateway.add_middleware(_of_kind(kind, hostile), routes="orders", on_error=on_error, blocking=kind == "pool")
    with running(gateway) as address:
        for hook in hooks:
            current[0] = hook
            caplog.clear()
            reply = ask(address, "/orders/1", headers={"X-Request-ID": f"id-{hook.__name__}"})
            assert reply.status == (500 if on_error == "fail" else 200), hook
            if on_error == "fail":
                problem = reply.json()
                assert problem["type"] == "urn:pylae:error:hook_error"
                # The client learns nothing of the inside.
                assert "Traceback" not in reply.text and "no good" not in reply.text
            until(lambda hook=hook: f"id-{hook.__name__}" in caplog.text)
            assert "on route orders failed" in caplog.text
            assert ask(address, "/").status == 200
    assert all("X-Evil" not in request.headers for request in service.requests)


def test_a_traceback_is_logged(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    gateway.on_request(raises)
    with running(gateway) as address:
        ask(address, "/orders/1", headers={"X-Request-ID": "abc"})
        until(lambda: "no good" in caplog.text)
    assert "test_hooks_hostile.raises on route orders failed, request abc: Traceback" in caplog.text
    assert 'raise RuntimeError("no good")' in caplog.text


def test_a_failed_hook_is_shown_to_response_hooks(gateway: Gateway) -> None:
    gateway.on_request(raises)

    @gateway.on_response
    def sign(_: Request, response: Response) -> None:
        response.headers["X-Was"] = str(response.status)

    with running(gateway) as address:
        reply = ask(address, "/")
        assert (reply.status, reply.headers["X-Was"]) == (500, "500")


@pytest.mark.parametrize("kind", ["worker", "waiting", "pool"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_hook_that_forks(gateway: Gateway, kind: str) -> None:
    gateway.add_middleware(_of_kind(kind, forks), blocking=kind == "pool", on_error="skip", stage="late")
    with running(gateway) as address:
        for _ in range(3):
            assert ask(address, "/").body == b"hello"
        until(_has_reaped(3))


def _has_reaped(count: int) -> Callable[[], bool]:
    reaped: list[int] = []

    def reap() -> bool:
        with suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                reaped.append(pid)
        return len(reaped) >= count

    return reap


def test_a_hook_that_catches_its_interruption(gateway: Gateway) -> None:
    caught: list[BaseException] = []

    @gateway.on_request(timeout="50ms")
    def stubborn(_: Request) -> None:
        while len(caught) < 2:
            try:
                while True:
                    pass
            except BaseException as error:
                caught.append(type(error)())

    with running(gateway) as address:
        assert ask(address, "/").status == 200
    assert len(caught) == 2


def test_a_thread_that_uses_the_request_while_its_hook_runs(gateway: Gateway, service: FakeService) -> None:
    stop = threading.Event()
    seen: list[str] = []
    threads: list[threading.Thread] = []

    def use(request: Request) -> None:
        while not stop.is_set():
            with suppress(Exception):
                request.headers["X-Thread"] = "1"
                seen.append(request.path)

    @gateway.on_request
    def share(request: Request) -> None:
        threads.append(threading.Thread(target=use, args=(request,)))
        threads[-1].start()
        before = len(seen)
        until(lambda: len(seen) > before + 5)

    with running(gateway) as address:
        for _ in range(20):
            assert ask(address, "/orders/1").status == 200
        stop.set()
        # Each comes out of what it does with a request that is over.
        until(lambda: not any(thread.is_alive() for thread in threads))
    assert len(service.requests) == 20


KINDS = ("worker", "driven", "waiting", "pool", "around")


def _mixed(kind: str) -> Any:
    """A hook that now and then fails, answers itself or is late."""
    count = 0

    def mixed(request: Request) -> Any:
        nonlocal count
        count += 1
        request.state["self"] = request
        request.headers["X-Count"] = str(count)
        if count % 7 == 0:
            raise RuntimeError("now and then")
        if count % 11 == 0:
            return Response.json({"count": count}, status=201)
        if count % 97 == 0:
            time.sleep(0.06)
        return None

    async def waits(request: Request) -> Any:
        await asyncio.sleep(60 if request.query == "slow" else 0)
        return mixed(request)

    return waits if kind == "waiting" else _of_kind(kind, mixed)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_behind(
    gateway: Gateway, service: FakeService, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exchanges with failures, timeouts, clients that go and reloads mixed in: no memory grows, nothing is left."""
    function, asked = _mixed(kind), 0
    gateway.add_middleware(
        function, blocking=kind == "pool", timeout="50ms", budget=None, on_error="skip", stage="late"
    )
    with running(gateway) as address:

        def run(times: int) -> None:
            nonlocal asked
            asked += times
            with Peer.connect(address) as client:
                for index in range(times):
                    client.send(b"GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert client.read_answer().status in (200, 201)
                    client.forget()
                    if index % 100 == 0:
                        service.requests.clear()
                        gateway.apply()
                        with Peer.connect(address) as leaving:
                            leaving.send(b"GET /?slow HTTP/1.1\r\nHost: a\r\n\r\n")
            until(lambda: gateway.stats()["totals"]["in_flight"] == 0)
            service.requests.clear()

        def memory() -> int:
            until(lambda: gc.collect() >= 0 and engine.live_requests() == 0)
            return tracemalloc.get_traced_memory()[0]

        # What pytest keeps of the log would grow.
        monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
        run(300)
        tracemalloc.start()
        try:
            run(100)
            for _ in range(3):
                before = memory()
                run(500)
                grown = memory() - before
                # A request that was kept would be a hundred bytes and more. Once, it may be something else: caches
                # breathe, and other threads of the tests have memory too.
                if grown < 40_000:
                    break
            else:
                pytest.fail(f"{grown} bytes more")
        finally:
            tracemalloc.stop()
        figures = calls(gateway, "orders")[function.__name__]
        # A call that is late or has no place may not have begun.
        assert figures["calls"] + figures["timeouts"] + figures["refused"] >= asked, figures
