"""Thousands of requests through hooks of each kind, with all that can go wrong mixed in, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pylae import Gateway, Request, Response, Route, engine
from pylae.hooks import HookTimeout
from pylae.testing import Client, FakeService, RunningGateway
from support.hooked import hooked, running
from support.instance import EchoInstance
from support.peer import Peer, wait_until

BATCH = 50
KINDS = ("worker", "coroutine", "loop", "pool")


def resident() -> int:
    """Resident memory of this process, in bytes."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


def hooks(gateway: Gateway, kind: str) -> None:
    """A request and a response hook of a kind, which do what the query says."""

    def before(request: Request) -> Response | None:
        request.state["seen"] = [request.headers["host"], request.path]
        request.headers["X-Seen"] = request.query
        if request.query == "raise":
            raise ValueError(request)
        return Response.json({"path": request.path}) if request.query == "answer" else None

    def after(request: Request, response: Response) -> None:
        response.headers["X-Seen"] = request.state["seen"][1]
        if request.query == "raise-later":
            raise ValueError(response)

    async def drive(request: Request) -> Response | None:
        return before(request)

    async def wait(request: Request) -> Response | None:
        await asyncio.sleep(10 if request.query == "slow" else 0)
        return before(request)

    async def wait_after(request: Request, response: Response) -> None:
        await asyncio.sleep(0)
        after(request, response)

    first: Any = {"coroutine": drive, "loop": wait}.get(kind, before)
    gateway.on_request(blocking=kind == "pool", timeout="100ms")(first)
    gateway.on_response(blocking=kind == "pool")(wait_after if kind == "loop" else after)


def ask(address: str, queries: list[str], answered: int | None = None) -> None:
    """Sends the requests on one connection and reads so many answers, or all, before it goes away."""
    with Peer.connect(address) as peer:
        peer.send(b"".join(f"GET /a?{query} HTTP/1.1\r\nHost: h.test\r\n\r\n".encode() for query in queries))
        for _ in queries[:answered]:
            peer.read_answer()
        if answered is not None:
            peer.reset()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left(kind: str, echo: EchoInstance, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="pylae")
    gateway = Gateway()
    gateway.add_route(Route(prefix="/", service="one", service_url=echo.url, auth_required=False))
    hooks(gateway, kind)
    mixed = (["fine"] * 6 + ["raise", "raise-later", "answer", "fine"]) * (BATCH // 10)

    def round_(running: RunningGateway) -> None:
        for _ in range(10):
            ask(running.address, mixed)
        if kind == "loop":
            ask(running.address, ["slow", "fine"])
        with contextlib.suppress(ConnectionError):
            ask(running.address, mixed, answered=3)
        running.gateway.apply()

    # What is left is left each time; what was there before this test may be given back, and asked for again, once.
    with RunningGateway(gateway) as running:
        counts = [counted(running, round_, 4) for _ in range(4)]
    grown = [(later[0] - before[0], later[1] - before[1]) for before, later in pairwise(counts)]
    assert min(objects for objects, _ in grown) < 100, grown
    assert min(size for _, size in grown) < 4 * 2**20, grown


def counted(running: RunningGateway, work: Callable[[RunningGateway], None], times: int) -> tuple[int, int]:
    """Objects and bytes after so many rounds."""
    for _ in range(times):
        work(running)
    wait_until(lambda: gc.collect() >= 0 and engine.live_requests() == 0)
    return len(gc.get_objects()), resident()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="from 3.12 on Python collects no garbage while it makes a dict")
def test_a_call_that_is_given_up_while_it_makes_its_state(service: FakeService) -> None:
    """The exchange is over before the dict is there: it must not be kept by the request that it holds."""
    gateway = hooked(service.url)
    answered, over = threading.Event(), threading.Event()
    met: list[str] = []
    called: list[threading.Thread] = []

    def collecting(phase: str, _: object) -> None:
        # Python may collect garbage, and so run any code, where it makes a dict (up to 3.11).
        if phase == "start" and not met and threading.current_thread() is called[0]:
            met.append(phase)
            with contextlib.suppress(HookTimeout):
                answered.wait(10)

    @gateway.on_request(blocking=True, timeout="50ms")
    def keeping(request: Request) -> None:
        called.append(threading.current_thread())
        # None is left that was made before.
        used = [{} for _ in range(200)]
        gc.callbacks.append(collecting)
        before = gc.get_threshold()
        try:
            gc.set_threshold(1)
            request.state["self"] = request
        finally:
            gc.set_threshold(*before)
            gc.callbacks.remove(collecting)
            used.clear()
            over.set()

    with running(gateway) as address:
        assert Client(address).get("/").status == 500
        answered.set()
        assert over.wait(10)
