"""What hooks may raise and return, on either side of an exchange, and what they must not wait for."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.responses import JSONResponse

from pylae import Gateway, HookError, Request, Response, Route, engine
from pylae.testing import FakeService, RunningGateway
from support.peer import wait_until

KINDS = ("worker", "coroutine", "loop", "pool")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Rootless(BaseException):
    """What a careless `except Exception` lets through."""


def recurse() -> None:
    recurse()


def stop_iteration() -> None:
    raise StopIteration("enough")


def throw(kind: Callable[..., BaseException], *arguments: Any) -> Callable[[], None]:
    def fault() -> None:
        raise kind(*arguments)

    return fault


FAULTS: dict[str, Callable[[], Any]] = {
    "exception": throw(ValueError, "broken"),
    "unprintable": throw(UnprintableError),
    "huge": throw(ValueError, "x" * 10_000_000),
    "base exception": throw(Rootless),
    "sys.exit": throw(SystemExit, 3),
    "Ctrl-C": throw(KeyboardInterrupt),
    "generator exit": throw(GeneratorExit),
    "stop iteration": stop_iteration,
    "cancelled": throw(asyncio.CancelledError),
    "memory": throw(MemoryError),
    "group": throw(BaseExceptionGroup, "many", [SystemExit(1), ValueError("x")]),
    "recursion": recurse,
    "a number": lambda: 7,
    "a text": lambda: "hello",
    "a class": lambda: Response,
    "a status": lambda: Response() and 200,
    "a tuple": lambda: (200, "hello"),
    "an exception as a value": lambda: ValueError("returned"),
}


def of_kind(kind: str, fault: Callable[[], Any]) -> dict[str, Any]:
    def sync(*_: Any) -> Any:
        return fault()

    async def coroutine(*_: Any) -> Any:
        return fault()

    async def loop(*_: Any) -> Any:
        await asyncio.sleep(0)
        return fault()

    function: Any = {"worker": sync, "pool": sync, "coroutine": coroutine, "loop": loop}[kind]
    return {"function": function, "blocking": kind == "pool"}


@pytest.fixture
def service(pylae_service: Callable[..., FakeService]) -> FakeService:
    return pylae_service("from the service")


@pytest.fixture
def mine(service: FakeService) -> Gateway:
    gateway = Gateway()
    for name in ("hooked", "free"):
        gateway.add_route(
            Route(name=name, path=f"/{name}", service="one", service_url=service.url, auth_required=False)
        )
    return gateway


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    gc.collect()
    assert engine.live_requests() == 0


def hook(gateway: Gateway, on: str, kind: str, fault: Callable[[], Any], **options: Any) -> None:
    made = of_kind(kind, fault)
    register = gateway.on_request if on == "request" else gateway.on_response
    register(routes="hooked", blocking=made["blocking"], **options)(made["function"])


@pytest.mark.parametrize("on", ["request", "response"])
@pytest.mark.parametrize("kind", KINDS)
def test_faults(mine: Gateway, kind: str, on: str, caplog: pytest.LogCaptureFixture) -> None:
    current = [FAULTS["exception"]]
    hook(mine, on, kind, lambda: current[0]())
    with RunningGateway(mine) as gateway:
        for name, fault in FAULTS.items():
            caplog.clear()
            current[0] = fault
            response = gateway.get("/hooked", headers={"X-Request-ID": f"id-{len(name)}"})
            assert response.status == 500, name
            assert response.headers["Content-Type"] == "application/problem+json"
            for secret in ("broken", "Traceback", "test_hooks", "enough", "hello"):
                assert secret not in response.text
            assert gateway.get("/free").text == "from the service"
            wait_until(lambda name=name: f"id-{len(name)}" in caplog.text)
            assert max(len(record.getMessage()) for record in caplog.records) < 100_000


async def never_awaited() -> None:
    """A coroutine that a hook has forgotten to await."""


JSON = "return `Response.json(…)` to answer with it, or None to go on"
RETURNED: dict[str, tuple[Callable[[Request], Any], str]] = {
    "a dict": (lambda _: {"s3cret": "s3cret"}, f"returned a dict: {JSON}"),
    "a list": (lambda _: ["s3cret"], f"returned a list: {JSON}"),
    "a text": (lambda _: "s3cret", "returned a str: return `Response(body=…)` to answer with it, or None to go on"),
    "bytes": (lambda _: b"s3cret", "returned a bytes: return `Response(body=…)` to answer with it"),
    "body and status": (
        lambda _: ({"s3cret": 1}, 201),
        "returned a tuple (dict, int): return `Response.json(…, status=…)` to answer with them, or None to go on",
    ),
    "a truth value": (lambda _: True, "returned a bool: return a Response to answer, or None to go on"),
    "the class": (lambda _: Response, "returned a type: return a Response to answer"),
    "another's response": (
        lambda _: JSONResponse({"s3cret": 1}),
        "returned a starlette.responses.JSONResponse, which is not `pylae.Response`: return",
    ),
    "a coroutine": (lambda _: never_awaited(), "returned a coroutine: `await` is missing"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_says_what_a_hook_has_returned_and_what_it_should(
    mine: Gateway, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    current = [RETURNED["a dict"][0]]
    function: Any = {
        "worker": lambda request: current[0](request),
        "pool": lambda request: current[0](request),
    }.get(kind)
    if function is None:

        async def function(request: Request) -> Any:
            if kind == "loop":
                await asyncio.sleep(0)
            return current[0](request)

    mine.on_request(routes="hooked", blocking=kind == "pool")(function)
    with RunningGateway(mine) as gateway:
        for name, (returned, words) in RETURNED.items():
            caplog.clear()
            current[0] = returned
            response = gateway.get("/hooked")
            assert response.status == 500, name
            assert "s3cret" not in response.text
            wait_until(lambda: "hook_failed" in [getattr(record, "event", "") for record in caplog.records])
            assert words in caplog.text, name
            assert "Traceback" not in caplog.text
            # What is returned may be anybody's data.
            assert "s3cret" not in caplog.text


def test_a_request_used_by_many_threads_at_any_time(mine: Gateway) -> None:
    kept: list[Request] = []
    over = threading.Event()
    surprises: list[BaseException] = []

    def use(request: Request, number: int) -> None:
        match number:
            case 0:
                assert request.path
            case 1:
                request.headers.items()
            case 2:
                request.headers["X-A"] = "b"
            case 3:
                request.state["a"] = request.params
            case _:
                request.query = "a=b"

    def abuse() -> None:
        while not over.is_set():
            for request in kept[-3:]:
                for number in range(5):
                    try:
                        use(request, number)
                    except HookError:
                        pass
                    except Exception as error:
                        surprises.append(error)

    @mine.on_request(routes="hooked")
    def keep(request: Request) -> None:
        kept.append(request)
        del kept[:-10]

    @mine.on_response(routes="hooked")
    async def look(request: Request, response: Response) -> None:
        await asyncio.sleep(0)
        response.headers["X-Seen"] = request.headers.get("host", "")

    threads = [threading.Thread(target=abuse) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with RunningGateway(mine) as gateway:
            assert {gateway.get("/hooked").status for _ in range(200)} == {200}
    finally:
        over.set()
        for thread in threads:
            thread.join()
    kept.clear()
    assert surprises == []


def test_one_response_for_everybody(mine: Gateway) -> None:
    shared = Response.json({"a": 1}, headers={"X-Shared": "1"})

    @mine.on_request(routes="hooked")
    def answer(_: Request) -> Response:
        return shared

    @mine.on_response(routes="hooked")
    def change(_: Request, response: Response) -> None:
        response.headers.append("X-Own", "1")
        response.body = b"changed"

    with RunningGateway(mine) as gateway:
        for _ in range(3):
            response = gateway.get("/hooked")
            assert (response.headers.get_all("X-Own"), response.body) == (["1"], b"changed")
    assert shared.body == b'{"a": 1}'


@pytest.mark.parametrize("what", ["apply", "stop"])
@pytest.mark.parametrize("kind", ["worker", "coroutine"])
def test_a_worker_does_not_wait_for_itself(
    mine: Gateway, kind: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    hook(mine, "request", kind, lambda: getattr(mine, what)())
    with RunningGateway(mine) as gateway:
        assert [gateway.get("/hooked").status for _ in range(2)] == [500, 500]
        assert gateway.get("/free").text == "from the service"
    # The log is written by the time of the stop.
    assert "it would wait for itself" in caplog.text


def test_a_hook_on_a_worker_that_an_apply_waits_for(service: FakeService) -> None:
    """It may look at the gateway and change what no worker is asked for; what waits for workers is refused at once."""
    gateway = Gateway(listeners=["127.0.0.1:0", "127.0.0.2:0"], workers=1)
    gateway.add_route(Route(prefix="/", service="one", service_url=service.url, auth_required=False))
    refused: list[str] = []
    looked: list[Any] = []
    applying: list[threading.Thread] = []

    @gateway.on_request
    def look(_: Request) -> None:
        if applying:
            return
        one_less = Gateway(listeners=["127.0.0.1:0"], workers=1)
        one_less.add_route(Route(prefix="/", service="one", service_url=service.url, auth_required=False))
        applying.append(threading.Thread(target=gateway.apply, args=(one_less,)))
        applying[0].start()
        # The listener goes before workers are waited for.
        wait_until(lambda: len(gateway.engine.addresses()) == 1)
        looked.extend((gateway.stats(), gateway.metrics(), gateway.summary(), gateway.engine.exchanges()))
        gateway.engine.set_draining("one", service.url, False)
        for change in (gateway.apply, gateway.reload, gateway.stop):
            try:
                change()
            except HookError as error:
                refused.append(str(error))

    with RunningGateway(gateway) as running:
        assert running.get("/").text == "from the service"
        applying[0].join()
        assert running.get("/").text == "from the service"
    assert [looked[0]["applied"], len(looked)] == [1, 4]
    assert len(refused) == 3 and "it would wait for itself" in refused[0]


@pytest.mark.parametrize("kind", ["loop", "pool"])
def test_a_hook_off_the_workers_may_change_its_gateway(mine: Gateway, kind: str) -> None:
    hook(mine, "request", kind, mine.apply)
    with RunningGateway(mine) as gateway:
        assert [gateway.get("/hooked").text for _ in range(3)] == ["from the service"] * 3
