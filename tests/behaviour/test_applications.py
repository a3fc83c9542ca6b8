"""ASGI applications in the process of the gateway, as instances, and as services of tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

from pylae import ConfigError, EngineError, Gateway, Service
from pylae.testing import ApplicationService, FakeService, RunningGateway
from support.peer import wait_until
from support.running import Process


def shop(events: list[str] | None = None) -> FastAPI:
    """An application as people write them."""
    told: list[str] = [] if events is None else events

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        told.append("started")
        yield
        told.append("ended")

    app = FastAPI(lifespan=lifespan)

    @app.get("/orders/{number}")
    async def order(number: int, request: Request) -> dict[str, Any]:
        return {"id": number, "user": request.headers.get("X-User-ID"), "thread": threading.current_thread().name}

    @app.post("/orders")
    async def create(order: dict[str, Any]) -> dict[str, Any]:
        return {"created": order}

    @app.get("/slow")
    async def slow() -> dict[str, Any]:
        told.append("slow")
        await asyncio.to_thread(wait_until, lambda: "go on" in told)
        return {"events": told}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            for number in range(3):
                yield f"data: {number}\n\n"

        return StreamingResponse(pieces(), media_type="text/event-stream")

    return app


def gateway_of(app: Any, **settings: Any) -> Gateway:
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, admin=False, **settings)
    gateway.local_socket = False
    gateway.add_service("shop", Service(app=app))
    gateway.add_route(name="shop", prefix="/", service="shop", auth_required=False)
    return gateway


def test_it_runs_with_the_gateway_and_its_lifespan_too() -> None:
    events: list[str] = []
    gateway = gateway_of(shop(events))
    assert gateway.check() == []
    assert events == []
    (address,) = gateway.start()
    try:
        assert events == ["started"]
        assert httpx.get(f"http://{address}/orders/7").json() == {"id": 7, "user": None, "thread": "pylae-application"}
        assert httpx.post(f"http://{address}/orders", json={"a": 1}).json() == {"created": {"a": 1}}
        assert httpx.get(f"http://{address}/stream").text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
        (instance,) = gateway.registry.instances("shop")
        assert gateway.registry.kind("shop", instance.url) == "app"
    finally:
        gateway.stop()
    assert events == ["started", "ended"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(instance.url)


def test_what_is_under_way_is_finished_before_it_ends() -> None:
    events: list[str] = []
    gateway = gateway_of(shop(events))
    (address,) = gateway.start()
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(httpx.get(f"http://{address}/slow", timeout=30)))
    asking.start()
    wait_until(lambda: "slow" in events)
    stopping = threading.Thread(target=gateway.stop)
    stopping.start()
    events.append("go on")
    asking.join()
    stopping.join()
    assert answers[0].json()["events"] == ["started", "slow", "go on"]
    assert events[-1] == "ended"


def test_a_reload_keeps_the_application_that_stays_and_changes_the_one_that_does_not() -> None:
    first, second = list[str](), list[str]()
    app = shop(first)
    gateway = gateway_of(app)
    (address,) = gateway.start()
    try:
        gateway.apply(gateway_of(app))
        assert first == ["started"]
        gateway.apply(gateway_of(shop(second)))
        assert second == ["started"]
        assert httpx.get(f"http://{address}/orders/1").status_code == 200
        wait_until(lambda: first == ["started", "ended"])
        gateway.apply(Gateway(listeners=["127.0.0.1:0"], workers=1, admin=False))
        wait_until(lambda: second == ["started", "ended"])
    finally:
        gateway.stop()


def test_one_that_does_not_start_is_an_error_and_changes_nothing() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    broken = FastAPI(lifespan=lifespan)
    message = "the application of the service shop did not start: its lifespan failed"
    with pytest.raises(EngineError, match=message):
        gateway_of(broken).start()
    events: list[str] = []
    gateway = gateway_of(shop(events))
    (address,) = gateway.start()
    try:
        with pytest.raises(EngineError, match=message):
            gateway.apply(gateway_of(broken))
        assert httpx.get(f"http://{address}/orders/1").status_code == 200
        assert events == ["started"]
    finally:
        gateway.stop()


def test_websockets_reach_it() -> None:
    app = FastAPI()

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, admin=False)
    gateway.local_socket = False
    gateway.add_service("shop", app=app)
    gateway.add_route(prefix="/", service="shop", auth_required=False, websocket=True)
    (address,) = gateway.start()
    try:
        from websockets.sync.client import connect

        with connect(f"ws://{address}/echo") as socket:
            socket.send("hello")
            assert socket.recv() == "hello"
    finally:
        gateway.stop()


async def two(scope: Any, receive: Any) -> None:
    """A WSGI application has two arguments, too."""


WRONG = {
    "class": (FastAPI, "must be an ASGI application, not a class", "create one: `FastAPI(…)`"),
    "factory": (shop, "must be an ASGI application, not a function that makes one", "call the function"),
    "wsgi": (two, "a WSGI application takes two arguments", "wrap it: `a2wsgi.WSGIMiddleware(app)`"),
    "number": (5, "must be an ASGI application; found 5", "such as FastAPI() or Starlette()"),
    "text": ("shop", "is not an import path", "package.module:"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_application(name: str) -> None:
    given, message, hint = WRONG[name]
    gateway = Gateway()
    with pytest.raises(ConfigError) as caught:
        gateway.add_service("shop", app=given)
    (problem,) = caught.value.problems
    assert (problem.file, problem.path) == (__file__, "services.shop.app")
    assert message in problem.message
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"discovery": {"file": "a.yaml"}}, "has `app` and `discovery`; only one of them"),
        ({"protocol": "http2"}, "`app` speaks HTTP/1.1 only"),
    ],
)
def test_what_does_not_go_with_it(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Gateway().add_service("shop", app=shop(), **fields)


MODULE = """\
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def root():
    return {"version": 1}


def make():
    return app
"""
YAML = """\
listeners: ["127.0.0.1:0"]
services: {shop: {app: "shop_of_a_test:app"}}
routes: [{name: shop, prefix: /, service: shop, auth_required: false}]
"""


def test_a_file_names_it_by_its_import_path(tmp_path: Path) -> None:
    module = tmp_path / "shop_of_a_test.py"
    module.write_text(MODULE)
    service = {"app": "shop_of_a_test:app"}
    routes = [{"name": "shop", "prefix": "/", "service": "shop", "auth_required": False}]
    config = {"listeners": ["127.0.0.1:0"], "workers": 1, "services": {"shop": service}, "routes": routes}
    process = Process(config, tmp_path)
    try:
        assert httpx.get(process.url).json() == {"version": 1}
        # A change of the module is taken up as one of the file is.
        module.write_text(MODULE.replace('"version": 1', '"version": 22'))
        process.read_until("configuration applied")
        assert httpx.get(process.url).json() == {"version": 22}
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("shop_of_a_test:ap", "`shop_of_a_test` has no `ap`"),
        ("shop_of_a_test:make", "`shop_of_a_test:make` must be an ASGI application, not a function that makes one"),
        ("no_such_module:app", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_file_that_names_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    (tmp_path / "shop_of_a_test.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "shop_of_a_test", raising=False)
    file = tmp_path / "pylae.yaml"
    file.write_text(YAML.replace("shop_of_a_test:app", path))
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(file)
    (problem,) = caught.value.problems
    assert (problem.place, problem.path) == (f"{file}:2:24", "services.shop.app")
    assert message in problem.message


def test_the_admin_api_names_no_code_that_the_file_does_not() -> None:
    from pylae.config.checks.standing import Standing, named

    gateway = Gateway(services={"shop": {"app": "shop_of_a_test:app"}})
    (taking,) = [one for one in named(gateway.config) if one.kind == "code"]
    assert taking.path == ("services", "shop", "app")
    assert list(Standing(Gateway().config).strayed([taking]))
    assert not list(Standing(Gateway(admin={"code": ["shop_of_a_test:app"]}).config).strayed([taking]))


def test_what_is_shown_of_one_that_a_program_has() -> None:
    from pylae.config.document.written import written

    shown = written(gateway_of(shop()).config)
    assert json.loads(json.dumps(shown))["services"]["shop"]["app"] == "(fastapi.applications.FastAPI)"


def test_the_fixture_takes_an_application(
    pylae_gateway: Callable[..., RunningGateway], pylae_service: Callable[..., FakeService]
) -> None:
    events: list[str] = []
    service = pylae_service(shop(events))
    assert isinstance(service, ApplicationService)
    assert events == ["started"]
    route = {"name": "orders", "prefix": "/", "service": "orders"}
    gateway = pylae_gateway({"auth": {"jwt": {"secret": "x" * 40}}, "routes": [route]}, orders=service)
    assert gateway.get("/orders/7?a=1", user="42").json()["user"] == "42"
    assert gateway.post("/orders", user="42", json={"sku": "kettle"}).json() == {"created": {"sku": "kettle"}}
    first, second = service.wait_for(2)
    assert (first.method, first.target, first.query) == ("GET", "/orders/7?a=1", {"a": ["1"]})
    assert second.json() == {"sku": "kettle"}
    service.stop()
    assert events == ["started", "ended"]


def test_the_fixture_still_takes_functions_of_the_request(pylae_service: Callable[..., FakeService]) -> None:
    service = pylae_service(lambda request: {"path": request.path})
    assert not isinstance(service, ApplicationService)
    assert httpx.get(f"{service.url}/x").json() == {"path": "/x"}


def test_an_application_in_a_test_says_what_it_is_not(pylae_service: Callable[..., FakeService]) -> None:
    service = pylae_service(shop())
    for call in (lambda: service.on("GET", "/", None), lambda: service.in_turn(None)):
        with pytest.raises(TypeError, match="the application answers"):
            call()
    with pytest.raises(TypeError, match="create one"):
        ApplicationService(FastAPI)


def test_a_fake_takes_the_place_of_an_application(pylae_gateway: Callable[..., RunningGateway]) -> None:
    events: list[str] = []
    gateway = gateway_of(shop(events))
    with FakeService({"fake": True}) as fake:
        assert pylae_gateway(gateway, shop=fake).get("/orders/1").json() == {"fake": True}
    assert events == []
