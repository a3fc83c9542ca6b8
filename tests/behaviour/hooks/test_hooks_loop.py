"""Where hooks run that do not run on workers: the asyncio loop lives on, and the pool wakes for every call."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pylae import Gateway, Request, Response
from pylae.testing import FakeService, Reply
from support.exchanges import ask
from support.hooked import hooked, running, until

mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="none")


def stop(loop: asyncio.AbstractEventLoop) -> None:
    loop.stop()


def exit_in_a_task(loop: asyncio.AbstractEventLoop) -> None:
    async def task() -> None:
        sys.exit(3)

    kept.append(loop.create_task(task()))


def interrupt_in_a_callback(loop: asyncio.AbstractEventLoop) -> None:
    def callback() -> None:
        raise KeyboardInterrupt

    loop.call_soon(callback)


kept: list[Any] = []


class Parked:
    """A call that waits on the loop while others run."""

    def __init__(self, address: str) -> None:
        self.status: int | None = None
        self._thread = threading.Thread(target=self._ask, args=(address,))
        self._thread.start()

    def _ask(self, address: str) -> None:
        self.status = ask(address, "/parked").status

    def ended(self) -> int | None:
        self._thread.join()
        return self.status


@pytest.mark.parametrize("deed", [stop, exit_in_a_task, interrupt_in_a_callback])
def test_the_loop_goes_on(gateway: Gateway, deed: Callable[[asyncio.AbstractEventLoop], None], caplog: Any) -> None:
    waiting, go_on = threading.Event(), asyncio.Event()

    @gateway.on_request
    async def disturb(request: Request) -> None:
        if request.path == "/parked":
            waiting.set()
            await go_on.wait()
        elif request.path == "/disturb":
            deed(asyncio.get_running_loop())
        elif request.path == "/go":
            go_on.set()
        await asyncio.sleep(0)

    with running(gateway) as address:
        parked = Parked(address)
        assert waiting.wait(10)
        for _ in range(3):
            assert ask(address, "/disturb").status == 200
            assert ask(address, "/").status == 200
        assert ask(address, "/go").status == 200
        assert parked.ended() == 200
    assert sum("the loop continues" in record.message for record in caplog.records) == 3
    kept.clear()


def test_a_broken_loop_is_replaced(gateway: Gateway, caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its loop cannot be broken from Python.
    monkeypatch.setitem(sys.modules, "uvloop", None)
    waiting = threading.Event()

    def broken(_: Any) -> Any:
        raise OSError("bad file descriptor")

    @gateway.on_request
    async def breaks(request: Request) -> None:
        if request.path == "/parked":
            waiting.set()
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        if request.path == "/break":
            # What the loop itself waits with.
            asyncio.get_running_loop()._selector.select = broken  # type: ignore[attr-defined]

    with running(gateway) as address:
        for _ in range(2):
            waiting.clear()
            parked = Parked(address)
            assert waiting.wait(10)
            assert ask(address, "/break").status in (200, 500)
            assert parked.ended() == 500
            assert ask(address, "/").status == 200
    assert "its calls fail, and a new loop starts" in caplog.text
    assert "the asyncio loop of the hooks has ended: " in caplog.text


def test_the_pool_wakes_for_every_call(gateway: Gateway) -> None:
    """Calls that wait for each other come at once, one more than threads are idle."""
    together = [threading.Barrier(1)]

    @gateway.on_request(blocking=True, timeout=20)
    def meet(_: Request) -> None:
        together[0].wait(20)

    with running(gateway) as address:
        host, _, port = address.rpartition(":")
        clients = [socket.create_connection((host, int(port))) for _ in range(16)]
        try:
            for count in range(1, 17):
                together[0] = threading.Barrier(count)
                for client in clients[:count]:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                for client in clients[:count]:
                    client.settimeout(10)
                    assert client.recv(65536).startswith(b"HTTP/1.1 200")
        finally:
            for client in clients:
                client.close()


def test_a_coroutine_that_waits_for_the_response_is_closed_when_the_client_goes() -> None:
    asked, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[str] = []

    def answer(_: Any) -> Reply:
        asked.set()
        go_on.wait(10)
        return Reply()

    async def around(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        mark.set(request.query)
        try:
            return await call_next(request)
        finally:
            seen.append(mark.get())
            ended.set()

    with FakeService(answer) as service:
        gateway = hooked(service.url)
        gateway.add_middleware(around, stage="late")
        with running(gateway) as address:
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port))) as client:
                client.sendall(b"GET /?blue HTTP/1.1\r\nHost: a\r\n\r\n")
                assert asked.wait(10)
            assert ended.wait(10)
            go_on.set()
            until(lambda: gateway.stats()["totals"]["abandoned"] == 1)
    assert seen == ["blue"]


def test_what_a_closed_coroutine_raises_is_logged(caplog: Any) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def answer(_: Any) -> Reply:
        asked.set()
        go_on.wait(10)
        return Reply()

    async def around(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            return await call_next(request)
        finally:
            raise RuntimeError("cannot clean up")

    with FakeService(answer) as service:
        gateway = hooked(service.url)
        gateway.add_middleware(around, stage="late")
        with running(gateway) as address:
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port))) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert asked.wait(10)
            until(lambda: "cannot clean up" in caplog.text)
            go_on.set()
