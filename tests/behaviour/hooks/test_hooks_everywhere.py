"""Hooks over encrypted connections and HTTP/2, across reloads, and beside other processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae import Gateway, Request, Response, Route
from pylae.config.models.config import Listener
from pylae.testing import FakeService, Reply
from support.exchanges import ask
from support.h2client import FramePeer
from support.hooked import running, until
from support.tls import Authority

KINDS = ("worker", "coroutine", "loop", "pool", "around", "body")


def add(gateway: Gateway, kind: str) -> None:
    """A hook of a kind that tells the service and the client of each other."""

    def before(request: Request) -> None:
        request.headers["X-Seen"] = f"{request.method} {request.path} {request.headers['host']}"

    async def coroutine(request: Request) -> None:
        before(request)

    async def loop(request: Request) -> None:
        await asyncio.sleep(0)
        before(request)

    async def around(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        before(request)
        response = await call_next(request)
        response.headers["X-Around"] = str(response.status)
        return response

    async def body(_: Request, __: Response, chunks: Any) -> Any:
        async for chunk in chunks:
            yield chunk.upper()

    if kind == "body":
        gateway.on_response_body(body)
    elif kind == "around":
        gateway.add_middleware(around, stage="late")
    else:
        function: Any = {"coroutine": coroutine, "loop": loop}.get(kind, before)
        gateway.on_request(blocking=kind == "pool")(function)
    gateway.on_response(lambda request, response: response.headers.append("X-Was", request.path))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tls", [False, True])
def test_hooks_over_http2(service: FakeService, tmp_path: Path, kind: str, tls: bool) -> None:
    authority = Authority(tmp_path)
    listener: dict[str, Any] = {"address": "127.0.0.1:0", "http2": True}
    if tls:
        listener["tls"] = authority.issue("gateway", "localhost")
    gateway = Gateway(listeners=[listener], workers=1)
    gateway.add_route(Route(prefix="/", service="shop", service_url=service.url, auth_required=False))
    add(gateway, kind)
    context = None
    if tls:
        context = authority.context()
        context.set_alpn_protocols(["h2"])
    with running(gateway) as address, FramePeer(address, tls=context) as peer:
        # All at once on one connection.
        streams = [peer.request("GET", f"/{number}") for number in range(20)]
        for number, stream in enumerate(streams):
            answer = peer.answer(stream)
            assert (answer.status, answer.get("x-was")) == (200, f"/{number}")
            assert answer.body == (b"HELLO" if kind == "body" else b"hello")
            assert answer.get("x-around") == ("200" if kind == "around" else None)
    if kind != "body":
        seen = sorted(request.headers["X-Seen"] for request in service.requests)
        assert seen == sorted(f"GET /{number} gateway.test" for number in range(20))


def test_a_hook_ends_when_its_stream_is_reset(gateway: Gateway, service: FakeService) -> None:
    begun, ended = threading.Event(), threading.Event()

    @gateway.on_request
    async def wait(_: Request) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with running(_http2(gateway)) as address, FramePeer(address) as peer:
        stream = peer.request()
        assert begun.wait(10)
        peer.connection.reset_stream(stream)
        peer.flush()
        assert ended.wait(10)
    assert service.requests == []


def _http2(gateway: Gateway) -> Gateway:
    listener = Listener(address="127.0.0.1:0", http2=True)
    gateway.builder.take(gateway.builder.with_config(gateway.config.model_copy(update={"listeners": (listener,)})))
    return gateway


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules called `live_…`, which are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("live_")]:
        del sys.modules[name]


PLUGIN = """
import asyncio
from pylae import Plugin

class Stamp(Plugin):
    async def middleware(self, request, call_next):
        {wait}
        response = await call_next(request)
        response.headers["X-Version"] = self.version()
        return response

    def version(self):
        return "{version}"
"""


@pytest.mark.parametrize("wait", ["pass", "await asyncio.sleep(0)"])
def test_an_exchange_ends_with_the_code_that_it_began_with(modules: Path, wait: str) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def answer(request: Any) -> Reply:
        if request.path == "/slow":
            asked.set()
            go_on.wait(20)
        return Reply()

    plugin = modules / "live_stamp.py"
    with FakeService(answer) as service:
        file = modules / "pylae.yaml"
        file.write_text(
            f"listeners: ['127.0.0.1:0']\nworkers: 1\nservices: {{shop: {{instances: ['{service.url}']}}}}\n"
            "routes: [{prefix: /, service: shop, auth_required: false}]\nplugins: [{use: 'live_stamp:Stamp'}]\n"
        )
        plugin.write_text(PLUGIN.format(wait=wait, version="one"))
        gateway = Gateway.from_file(file)
        with running(gateway) as address:
            slow: list[str | None] = []
            thread = threading.Thread(target=lambda: slow.append(ask(address, "/slow").headers["X-Version"]))
            thread.start()
            assert asked.wait(20)
            plugin.write_text(PLUGIN.format(wait=wait, version="two"))
            gateway.reload()
            assert ask(address, "/").headers["X-Version"] == "two"
            go_on.set()
            thread.join()
            assert slow == ["one"]


def in_a_child(number: int) -> int:
    """What a process of a pool computes."""
    return number * 2


def fork_and_exit(_: Request) -> str:
    child = os.fork()
    if child == 0:
        os._exit(7)
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def fork_and_raise(_: Request) -> str:
    """What the child raises stays in the child, which is no second gateway."""
    child = os.fork()
    if child == 0:
        raise RuntimeError("in the child")
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def spawned_pool(_: Request) -> str:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return str(pool.apply(in_a_child, (4,)))


def command(_: Request) -> str:
    return subprocess.run(["/bin/echo", "-n", "out"], capture_output=True, check=True, text=True).stdout


@pytest.mark.parametrize(
    ("deed", "expected"),
    [(fork_and_exit, "7"), (fork_and_raise, "0"), (spawned_pool, "8"), (command, "out")],
)
@pytest.mark.parametrize("kind", ["worker", "loop", "pool"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_processes_beside_the_gateway(
    gateway: Gateway, service: FakeService, kind: str, deed: Callable[[Request], str], expected: str
) -> None:
    def answer(request: Request) -> Response | None:
        return Response(body=deed(request)) if request.query else None

    async def on_the_loop(request: Request) -> Response | None:
        await asyncio.sleep(0)
        return answer(request)

    function: Any = on_the_loop if kind == "loop" else answer
    gateway.on_request(blocking=kind == "pool", timeout=30, budget=None)(function)
    with running(gateway) as address:
        assert ask(address, "/?deed").text == expected
        assert ask(address, "/").body == b"hello"
        # A child that went on as a gateway would be counted there.
        until(lambda: gateway.stats()["totals"]["in_flight"] == 0)
    assert len(service.requests) == 1
