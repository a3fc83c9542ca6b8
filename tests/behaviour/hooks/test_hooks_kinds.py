"""Hooks of every kind: where they run, what they may wait for, and how long."""

from __future__ import annotations

import asyncio
import contextvars
import http.client
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pylae import Gateway, HookError, Request, Response
from pylae.testing import FakeService, Reply
from support.exchanges import ask
from support.hooked import calls, hooked, running, until

CallNext = Callable[[Request], Awaitable[Response]]
tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


def test_an_async_hook_that_does_not_wait_runs_on_the_worker(gateway: Gateway, service: FakeService) -> None:
    threads: list[str] = []

    @gateway.on_request
    async def mark(request: Request) -> None:
        threads.append(threading.current_thread().name)
        request.headers["X-Async"] = "1"

    @gateway.on_response
    async def mark_too(_: Request, response: Response) -> None:
        response.headers["X-Async"] = "2"

    with running(gateway) as address:
        assert ask(address, "/").headers.get("X-Async") == "2"
        assert {one["run"] for one in calls(gateway).values()} == {"coroutine"}
    assert service.requests[0].headers["X-Async"] == "1"
    assert "pylae-hooks" not in threads


def test_an_async_hook_that_waits_runs_on_the_loop(gateway: Gateway, service: FakeService) -> None:
    threads: list[str] = []

    @gateway.on_request
    async def wait(request: Request) -> Response | None:
        await asyncio.sleep(0.001)
        threads.append(threading.current_thread().name)
        request.headers["X-Seen"] = request.path
        request.path = "/v2"
        if request.query == "stop":
            return Response("no", 403)
        return None

    @gateway.on_response
    async def wait_too(request: Request, response: Response) -> None:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        response.headers["X-Status"] = f"{response.status} {request.route}"
        response.status = 203

    with running(gateway) as address:
        reply = ask(address, "/orders/1")
        assert (reply.status, reply.headers.get("X-Status"), reply.body) == (203, "200 orders", b"hello")
        reply = ask(address, "/orders/1?stop")
        assert (reply.status, reply.headers.get("X-Status"), reply.body) == (203, "403 orders", b"no")
        assert {one["run"] for one in calls(gateway).values()} == {"loop"}
    (request,) = service.requests
    assert (request.target, request.headers["X-Seen"]) == ("/v2", "/orders/1")
    assert set(threads) == {"pylae-hooks"}


def test_a_coroutine_that_is_suspended_on_the_worker_goes_on_on_the_loop(
    gateway: Gateway, service: FakeService
) -> None:
    threads: list[str] = []

    @gateway.on_request(waits=False)
    async def sometimes(request: Request) -> None:
        threads.append(threading.current_thread().name)
        if request.query:
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
        threads.append(threading.current_thread().name)
        request.headers["X-Done"] = request.query or "-"

    with running(gateway) as address:
        assert ask(address, "/a").status == 200
        assert ask(address, "/b?1").status == 200
    assert [request.headers["X-Done"] for request in service.requests] == ["-", "1"]
    assert threads[0] == threads[1] == threads[2]
    assert threads[3] == "pylae-hooks"


def test_a_blocking_hook_runs_on_the_pool(gateway: Gateway, service: FakeService) -> None:
    both = threading.Barrier(2)
    threads: set[str] = set()

    @gateway.on_request(blocking=True)
    def block(request: Request) -> Response | None:
        both.wait(10)
        threads.add(threading.current_thread().name)
        request.headers["X-Blocked"] = request.params["id"]
        return None

    with running(gateway) as address:
        asking = [threading.Thread(target=ask, args=(address, f"/orders/{index}")) for index in range(2)]
        for one in asking:
            one.start()
        for one in asking:
            one.join()
    assert sorted(request.headers["X-Blocked"] for request in service.requests) == ["0", "1"]
    assert len(threads) == 2


@pytest.mark.parametrize("kind", ["worker", "coroutine", "loop", "pool"])
def test_context_variables_belong_to_the_exchange(gateway: Gateway, kind: str) -> None:
    seen: list[str] = []

    def before(request: Request) -> None:
        seen.append(tenant.get())
        tenant.set(request.query)

    async def before_async(request: Request) -> None:
        before(request)

    async def before_waiting(request: Request) -> None:
        await asyncio.sleep(0)
        before(request)

    def after(*_: Any) -> None:
        seen.append(tenant.get())

    function: Any = {"coroutine": before_async, "loop": before_waiting}.get(kind, before)
    gateway.on_request(blocking=kind == "pool")(function)
    gateway.on_response(after)
    with running(gateway) as address:
        ask(address, "/a?blue")
        ask(address, "/a?red")
        assert [one["run"] for one in calls(gateway).values() if "before" in one["hook"]] == [kind]
    assert seen == ["nobody", "blue", "nobody", "red"]


async def around(request: Request, call_next: CallNext) -> Response:
    request.headers["X-In"] = "in"
    response = await call_next(request)
    response.headers["X-Out"] = f"out {response.status} {request.route}"
    return response


async def around_waiting(request: Request, call_next: CallNext) -> Response:
    await asyncio.sleep(0)
    request.headers["X-In"] = "in"
    response = await call_next(request)
    await asyncio.sleep(0)
    response.headers["X-Out"] = f"out {response.status} {request.route}"
    return response


def around_sync(request: Request, call_next: Callable[[Request], Response]) -> Response:
    request.headers["X-In"] = "in"
    response = call_next(request)
    response.headers["X-Out"] = f"out {response.status} {request.route}"
    return response


@pytest.mark.parametrize("middleware", [around, around_waiting, around_sync])
def test_call_next(gateway: Gateway, service: FakeService, middleware: Any) -> None:
    gateway.add_middleware(middleware, stage="late")
    with running(gateway) as address:
        assert ask(address, "/orders/1").headers.get("X-Out") == "out 200 orders"
        kind = {"around": "coroutine", "around_waiting": "loop", "around_sync": "pool"}[middleware.__name__]
        assert calls(gateway)[middleware.__name__]["run"] == kind
    assert service.requests[0].headers["X-In"] == "in"


def test_a_driven_middleware_may_wait_after_all(gateway: Gateway, service: FakeService) -> None:
    async def pause(seconds: float) -> None:
        await asyncio.sleep(seconds)

    @gateway.on_request(waits=False)
    async def first(_: Request) -> None:
        await pause(0)

    async def bare(request: Request, call_next: CallNext) -> Response:
        await pause(0)
        response = await call_next(request)
        await pause(0)
        response.headers["X-Bare"] = request.path
        return response

    gateway.add_middleware(bare, waits=False, stage="late")
    with running(gateway) as address:
        assert ask(address, "/orders/1").headers.get("X-Bare") == "/orders/1"
    assert len(service.requests) == 1


def test_middlewares_wrap_each_other(gateway: Gateway) -> None:
    order: list[str] = []

    def wrap(name: str, kind: str) -> Any:
        async def wait(request: Request, call_next: CallNext) -> Response:
            order.append(f"in {name}")
            await asyncio.sleep(0)
            response = await call_next(request)
            order.append(f"out {name}")
            return response

        async def drive(request: Request, call_next: CallNext) -> Response:
            order.append(f"in {name}")
            response = await call_next(request)
            order.append(f"out {name}")
            return response

        def block(request: Request, call_next: Callable[[Request], Response]) -> Response:
            order.append(f"in {name}")
            response = call_next(request)
            order.append(f"out {name}")
            return response

        return {"wait": wait, "drive": drive, "block": block}[kind]

    for name, kind in enumerate(("drive", "wait", "block", "drive", "block", "wait")):
        gateway.add_middleware(wrap(str(name), kind))
    with running(gateway) as address:
        assert ask(address, "/").status == 200
    assert order == [f"in {index}" for index in range(6)] + [f"out {index}" for index in reversed(range(6))]


def test_a_middleware_may_answer_itself_or_instead(gateway: Gateway, service: FakeService) -> None:
    @gateway.add_middleware
    async def cut(request: Request, call_next: CallNext) -> Response | None:
        if request.path == "/cut":
            return Response("cut", 402)
        if request.path == "/pass":
            return None
        response = await call_next(request)
        return Response.json({"was": response.status}, status=201)

    with running(gateway) as address:
        assert ask(address, "/cut").body == b"cut"
        assert ask(address, "/pass").body == b"hello"
        assert ask(address, "/x").json() == {"was": 200}
    assert [request.target for request in service.requests] == ["/pass", "/x"]


@pytest.mark.parametrize("kind", ["drive", "wait", "block"])
def test_call_next_is_called_once(gateway: Gateway, kind: str) -> None:
    errors: list[str] = []

    async def drive(request: Request, call_next: CallNext) -> None:
        await call_next(request)
        try:
            await call_next(request)
        except HookError as error:
            errors.append(str(error))

    async def wait(request: Request, call_next: CallNext) -> None:
        await asyncio.sleep(0)
        await drive(request, call_next)

    def block(request: Request, call_next: Callable[[Request], Response]) -> None:
        call_next(request)
        try:
            call_next(request)
        except HookError as error:
            errors.append(str(error))

    gateway.add_middleware({"drive": drive, "wait": wait, "block": block}[kind], stage="late")
    with running(gateway) as address:
        assert ask(address, "/").status == 200
    assert len(errors) == 1


# The interrupt may meet a callback of the garbage collector, which Hypothesis has, and is raised again then.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*gc_callback:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["worker", "coroutine", "loop", "pool", "around"])
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_hook_that_takes_too_long(
    gateway: Gateway, service: FakeService, kind: str, on_error: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []

    def spin() -> None:
        while True:
            pass

    def worker(_: Request) -> None:
        try:
            spin()
        finally:
            ended.append("worker")

    async def coroutine(_: Request) -> None:
        try:
            spin()
        finally:
            ended.append("coroutine")

    async def loop(_: Request) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("loop")

    async def after(request: Request, call_next: CallNext) -> None:
        await call_next(request)
        await loop(request)

    function: Any = {"worker": worker, "pool": worker, "coroutine": coroutine, "loop": loop, "around": after}[kind]
    # On the loop long enough to begin on a busy machine: a call that has not begun in time is refused.
    timeout = "200ms" if kind in ("loop", "around") else "50ms"
    gateway.add_middleware(function, timeout=timeout, on_error=on_error, blocking=kind == "pool", stage="late")
    with running(gateway) as address:
        assert ask(address, "/").status == (500 if on_error == "fail" else 200)
        until(lambda: ended)
        assert calls(gateway)[function.__name__]["timeouts"] >= 1
        # Whoever comes next is served, by the same worker.
        assert ask(address, "/").status == (500 if on_error == "fail" else 200)
    until(lambda: len(ended) == 2)
    assert len(service.requests) == (2 if on_error == "skip" or kind == "around" else 0)
    assert function.__name__ in caplog.text


def test_a_hook_over_its_budget_is_moved_off_the_worker(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    pause = threading.Event()

    @gateway.on_request(budget="1ms")
    def slow(_: Request) -> None:
        pause.wait(0.005)

    @gateway.on_request(budget="1ms", waits=False)
    async def slow_too(_: Request) -> None:
        pause.wait(0.005)

    @gateway.on_request(budget=None)
    def slow_as_agreed(_: Request) -> None:
        pause.wait(0.005)

    with running(gateway) as address:
        for _ in range(8):
            assert ask(address, "/orders/1").status == 200
        found = calls(gateway, "orders")
        assert (found["slow"]["run"], found["slow_too"]["run"], found["slow_as_agreed"]["run"]) == (
            "pool",
            "loop",
            "worker",
        )
        for name, demoted in (("slow", 1), ("slow_too", 1), ("slow_as_agreed", 0)):
            assert f'pylae_hook_demoted{{route="orders",hook="{found[name]["hook"]}"}} {demoted}\n' in gateway.metrics()
        assert ask(address, "/orders/1").status == 200
        until(lambda: "runs on the pool" in caplog.text and "runs on the asyncio loop" in caplog.text)


def test_a_hook_ends_when_its_client_goes(gateway: Gateway, service: FakeService) -> None:
    begun, ended = threading.Event(), threading.Event()

    @gateway.on_request
    async def wait(_: Request) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with running(gateway) as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert begun.wait(10)
        assert ended.wait(10)
        until(lambda: gateway.stats()["totals"]["abandoned"] == 1)
    assert service.requests == []


@pytest.mark.parametrize("middleware", [around, around_waiting, around_sync])
def test_middlewares_end_when_the_client_goes(middleware: Any) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def answer(_: Any) -> Reply:
        asked.set()
        go_on.wait(10)
        return Reply()

    with FakeService(answer) as service:
        gateway = hooked(service.url)
        gateway.add_middleware(middleware, stage="late")
        with running(gateway) as address:
            host, _, port = address.rpartition(":")
            client = http.client.HTTPConnection(host, int(port))
            client.request("GET", "/")
            assert asked.wait(10)
            client.close()
            until(lambda: gateway.stats()["totals"]["abandoned"] == 1)
            go_on.set()


def test_too_many_calls_fail_at_once(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """The pool has 16 threads and a queue of 1024; 1041 requests are one too many."""
    go_on, taken = threading.Event(), threading.Semaphore(0)

    @gateway.on_request(blocking=True, timeout=60)
    def block(_: Request) -> None:
        taken.release()
        go_on.wait(30)

    with running(gateway) as address:
        host, _, port = address.rpartition(":")
        clients = [socket.create_connection((host, int(port))) for _ in range(16 + 1024)]
        try:
            for number, client in enumerate(clients):
                if number == 16:
                    # Each thread has its call before the queue is filled.
                    assert all(taken.acquire(timeout=10) for _ in range(16))
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            until(lambda: gateway.stats()["totals"]["in_flight"] == len(clients))
            until(lambda: ask(address, "/").status == 500)
            go_on.set()
            assert clients[-1].recv(12) == b"HTTP/1.1 200"
        finally:
            for client in clients:
                client.close()
    assert "too many calls" in caplog.text


def test_what_cannot_be_a_hook(gateway: Gateway) -> None:
    async def generator(_: Request) -> Any:
        yield 1

    async def coroutine(_: Request) -> None: ...

    def nothing() -> None: ...

    def three(_: Any, __: Any, ___: Any) -> None: ...

    for function, options in (
        (generator, {}),
        (coroutine, {"blocking": True}),
        (nothing, {}),
        (three, {}),
        ("text", {}),
        (len, {"timeout": "soon"}),
        (len, {"unknown": 1}),
        (len, {"on_error": "ignore"}),
    ):
        with pytest.raises(HookError):
            gateway.on_request(**options)(function)


def test_the_switch_interval_is_short_while_there_are_hooks(gateway: Gateway) -> None:
    import sys

    gateway.on_request(lambda _: None)
    before = sys.getswitchinterval()
    try:
        with running(gateway):
            assert sys.getswitchinterval() <= 0.0005
    finally:
        sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pylae")
