"""Hooks before routing and around every answer."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway, HookError, HTTPError, Request, Response, Route
from pylae.hooks import User
from pylae.testing import FakeService, Reply
from support.exchanges import ask
from support.h2client import FramePeer
from support.hooked import calls, hooked, running, until

CallNext = Callable[[Request], Awaitable[Response]]
KINDS = ("worker", "loop", "pool")


def add(gateway: Gateway, kind: str, function: Callable[[Request], Response | None]) -> None:
    """An early hook for requests of a kind."""

    async def loop(request: Request) -> Response | None:
        await asyncio.sleep(0)
        return function(request)

    gateway.on_request(stage="early", blocking=kind == "pool")(loop if kind == "loop" else function)


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_sets_is_what_is_routed(service: FakeService, kind: str) -> None:
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
    gateway.add_route(
        Route(
            name="new", path="/new", host="new.test", headers={"X-Set": "1"}, query={"q": "2"},
            service_url=service.url, auth_required=False,
        )
    )  # fmt: skip

    def move(request: Request) -> None:
        assert (request.route, request.params, request.service) == (None, None, None)
        assert request.headers["host"] == "old.test"
        request.path = "/new"
        request.query = "q=2"
        request.headers["Host"] = "NEW.test"
        request.headers["X-Set"] = "1"
        assert (request.path, request.headers["host"], len(request.headers.get_all("host"))) == ("/new", "new.test", 1)

    add(gateway, kind, move)
    seen: list[tuple[str, str | None, str]] = []

    @gateway.on_response(stage="early")
    def see(request: Request, response: Response) -> None:
        seen.append((request.path, request.route, str(response.status)))

    with running(gateway) as address:
        assert ask(address, "/old?q=1", headers={"Host": "old.test"}, method="POST", body=b"body").status == 200
    (request,) = service.requests
    assert (request.target, request.body) == ("/new?q=2", b"body")
    assert request.headers["X-Forwarded-Host"] == "new.test"
    assert seen == [("/new", "new", "200")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-User-Id", "1"),
        ("x_user_role", "admin"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Tls-Client", "1"),
        ("Forwarded", "for=1.2.3.4"),
        ("X-Real-IP", "1.2.3.4"),
        ("X-Request-ID", "1"),
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Host", "bad host"),
        ("Host", "a.test:99999"),
        ("X-Line", "a\r\nb: c"),
    ],
)
@pytest.mark.parametrize("way", ["set", "append", "update"])
def test_who_asks_and_from_where_is_not_said_by_hooks(gateway: Gateway, name: str, value: str, way: str) -> None:
    def lie(request: Request) -> None:
        with pytest.raises(ValueError, match=r"set by the gateway|connection|host|port|control"):
            if way == "set":
                request.headers[name] = value
            elif way == "append":
                request.headers.append(name, value)
            else:
                request.headers.update({"X-Other": "1", name: value})
        assert "X-Other" not in request.headers

    gateway.on_request(stage="early")(lie)
    with running(gateway) as address:
        assert ask(address, "/").status == 200


def test_a_late_hook_cannot_say_who_the_user_is_either(gateway: Gateway) -> None:
    @gateway.on_request
    def lie(request: Request) -> None:
        request.headers["X-User-Id"] = "1"

    with running(gateway) as address:
        assert ask(address, "/").status == 500


@pytest.mark.parametrize("path", ["/open/../admin", "/open/%2e%2e/admin", "//admin", "/open/%2Fadmin", "/../x", "/a?b"])
def test_a_path_leads_nowhere_else_by_being_set(service: FakeService, path: str) -> None:
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
    gateway.add_route(Route(name="open", prefix="/open", service_url=service.url, auth_required=False))
    barred: Any = {"deny": ["127.0.0.1"]}
    gateway.add_route(
        Route(name="admin", prefix="/admin", service_url=service.url, auth_required=False, ip_access=barred)
    )
    outcomes: list[str] = []

    @gateway.on_request(stage="early")
    def move(request: Request) -> None:
        try:
            request.path = path
        except ValueError:
            outcomes.append("refused")

    with running(gateway) as address:
        status = ask(address, "/open").status
    assert status == (200 if outcomes else 403)
    assert all(request.target == "/open" for request in service.requests)


def test_every_answer_is_seen_and_can_be_replaced(service: FakeService) -> None:
    gateway = Gateway(
        listeners=["127.0.0.1:0"],
        workers=1,
        policies={"cors": {"origins": ["https://shop.test"]}},
        auth={"jwt": {"secret": "s" * 32}},
        limits={"max_head": 4096},
    )
    open_: Any = {"service": "shop", "service_url": service.url, "auth_required": False}
    gateway.add_route(Route(name="open", path="/open", method="GET", **open_))
    gateway.add_route(Route(name="limited", path="/limited", rate_limit="1/hour", **open_))
    gateway.add_route(Route(name="closed", path="/closed", service="shop"))
    seen: list[int] = []

    @gateway.on_response(stage="early")
    def see(_: Request, response: Response) -> Response | None:
        seen.append(response.status)
        if response.status == 404:
            return Response("nothing here", 404, {"X-Early": "mine"})
        response.headers["X-Early"] = str(response.status)
        return None

    preflight = {"Origin": "https://shop.test", "Access-Control-Request-Method": "GET"}
    with running(gateway) as address:
        for target, method, headers, status in [
            ("/open", "GET", {}, 200),
            ("/open", "PUT", {}, 405),
            ("/closed", "GET", {}, 401),
            ("/limited", "GET", {}, 200),
            ("/limited", "GET", {}, 429),
            ("/open", "OPTIONS", preflight, 204),
        ]:
            answer = ask(address, target, method, headers)
            assert (answer.status, answer.headers["X-Early"]) == (status, str(status))
        answer = ask(address, "/none")
        assert (answer.status, answer.headers["X-Early"], answer.body) == (404, "mine", b"nothing here")
        # A head that is no request is not seen.
        assert ask(address, "/open", headers={"X-Long": "x" * 5000}).status == 431
    assert seen == [200, 405, 401, 200, 429, 204, 404]


def test_what_is_no_request_is_seen_by_those_who_say_so(service: FakeService) -> None:
    gateway = hooked(service.url, limits={"max_head": 4096})
    seen: list[tuple[str, int]] = []

    @gateway.on_response(stage="early", malformed=True)
    def see(request: Request, response: Response) -> None:
        seen.append((request.path, response.status))
        response.headers["X-Early"] = "1"

    with running(gateway) as address:
        assert ask(address, "/", headers={"X-Long": "x" * 5000}).headers["X-Early"] == "1"
        assert ask(address, "/").headers["X-Early"] == "1"
    assert seen == [("", 431), ("/", 200)]


def test_gateway_wide_address_policies_come_first(service: FakeService) -> None:
    limit: Any = {"limit": 2, "per": "1h"}
    gateway = hooked(service.url, policies={"address_limit": limit})
    asked: list[str] = []
    gateway.on_request(stage="early")(lambda request: asked.append(request.path))
    with running(gateway) as address:
        statuses = [ask(address, target).status for target in ("/orders/1", "/none", "/orders/2")]
    # Counted once each, and the third meets no hook.
    assert (statuses, asked) == ([200, 200, 429], ["/orders/1", "/none"])


def test_a_route_that_overrides_them_is_told(service: FakeService) -> None:
    gateway = Gateway(policies={"ip_access": {"deny": ["10.0.0.0/8"]}})
    gateway.add_route(Route(name="a", prefix="/", service_url=service.url, auth_required=False, ip_access=False))
    assert gateway.check() == []
    gateway.on_request(stage="early", on_error="skip")(lambda _: None)
    lenient, overridden = gateway.check()
    assert "when it fails every request passes" in lenient.message
    assert overridden.path == "routes[0].ip_access"
    assert "still applies here" in overridden.message


def test_the_user_that_is_set_is_the_user(service: FakeService) -> None:
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, auth={"jwt": {"secret": "s" * 32}})
    gateway.add_route(Route(name="a", prefix="/", service="shop", service_url=service.url, roles="admin"))
    vias: list[str] = []

    @gateway.on_request(stage="early")
    def know(request: Request) -> None:
        role = request.headers.get("X-Role")
        if role is not None:
            request.user = {"id": "7", "role": role} if role == "admin" else User("8", role=role)

    @gateway.on_request
    def see(request: Request) -> None:
        assert request.user is not None
        assert request["user"]["id"] == request.user.id
        vias.append(request.user.via)

    with running(gateway) as address:
        assert ask(address, "/").status == 401
        assert ask(address, "/", headers={"X-Role": "guest"}).status == 403
        assert ask(address, "/", headers={"X-Role": "admin"}).status == 200
    assert service.requests[0].headers["X-User-Id"] == "7"
    assert vias == ["hook"]


@pytest.mark.parametrize("kind", ["drive", "wait", "block"])
def test_a_middleware_wraps_the_whole_exchange(service: FakeService, kind: str) -> None:
    gateway = hooked(service.url)
    seen: list[Any] = []

    async def drive(request: Request, call_next: CallNext) -> Response:
        request.state["seen"] = [request.path]
        response = await call_next(request)
        seen.append((response.status, request.state["seen"], request.route))
        response.headers["X-Wrapped"] = "1"
        return response

    async def wait(request: Request, call_next: CallNext) -> Response:
        await asyncio.sleep(0)
        return await drive(request, call_next)

    def block(request: Request, call_next: Any) -> Response:
        request.state["seen"] = [request.path]
        response: Response = call_next(request)
        seen.append((response.status, request.state["seen"], request.route))
        response.headers["X-Wrapped"] = "1"
        return response

    gateway.add_middleware({"drive": drive, "wait": wait, "block": block}[kind])

    @gateway.on_request(routes="orders")
    def late(request: Request) -> None:
        request.state["seen"].append(request.params)

    with running(gateway) as address:
        assert ask(address, "/orders/1").headers["X-Wrapped"] == "1"
        assert ask(address, "/x", "BREW").headers["X-Wrapped"] == "1"
        assert calls(gateway, "")[kind]["failures"] == 0
    assert seen == [(200, ["/orders/1", {"id": "1"}], "orders"), (200, ["/x"], "others")]


@pytest.mark.parametrize("kind", ["drive", "wait"])
def test_a_client_that_goes_cancels_call_next(kind: str) -> None:
    asked, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    raised: list[type[BaseException]] = []

    def answer(_: Any) -> Reply:
        asked.set()
        go_on.wait(10)
        return Reply()

    async def drive(request: Request, call_next: CallNext) -> Response:
        try:
            return await call_next(request)
        except BaseException as error:
            raised.append(type(error))
            raise
        finally:
            ended.set()

    async def wait(request: Request, call_next: CallNext) -> Response:
        await asyncio.sleep(0)
        return await drive(request, call_next)

    with FakeService(answer) as service:
        gateway = hooked(service.url)
        gateway.add_middleware({"drive": drive, "wait": wait}[kind])
        with running(gateway) as address:
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port))) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert asked.wait(10)
            until(ended.is_set)
            go_on.set()
    assert raised == [asyncio.CancelledError]


def test_a_stream_that_is_reset_cancels_call_next() -> None:
    asked, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def answer(_: Any) -> Reply:
        asked.set()
        go_on.wait(10)
        return Reply()

    async def around(request: Request, call_next: CallNext) -> Response:
        try:
            return await call_next(request)
        except asyncio.CancelledError:
            ended.set()
            raise

    with FakeService(answer) as service:
        gateway = hooked(service.url, listeners=[{"address": "127.0.0.1:0", "http2": True}])
        gateway.add_middleware(around)
        with running(gateway) as address, FramePeer(address) as peer:
            stream = peer.request("GET", "/")
            assert asked.wait(10)
            peer.connection.reset_stream(stream, 8)
            peer.flush()
            until(ended.is_set)
            go_on.set()


def test_an_http_error_is_the_answer(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    @gateway.on_request(stage="early")
    async def early(request: Request) -> None:
        if request.path == "/early":
            raise HTTPError(403, "not here", {"X-Why": "early"})

    @gateway.on_request(blocking=True)
    def late(request: Request) -> None:
        if request.path == "/late":
            raise HTTPError(409)

    with running(gateway) as address:
        answer = ask(address, "/early", headers={"Accept": "application/json"})
        problem = answer.json()
        assert (answer.status, answer.headers["X-Why"], answer.headers["Content-Type"]) == (
            403, "early", "application/problem+json",
        )  # fmt: skip
        assert (problem["detail"], problem["type"], problem["instance"]) == (
            "not here", "urn:pylae:error:http_error", "/early",
        )  # fmt: skip
        assert ask(address, "/late").json()["detail"] == "Conflict"
    assert "hook_failed" not in [getattr(record, "event", "") for record in caplog.records]


@pytest.mark.parametrize(("status", "headers"), [(200, None), ("403", None), (403, {"X": "a\r\nb"}), (403, {"X": 5})])
def test_an_http_error_that_cannot_be_sent_is_refused(status: Any, headers: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        HTTPError(status, "no", headers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_is_a_mapping_too(service: FakeService, kind: str) -> None:
    gateway = hooked(service.url)
    found: dict[str, Any] = {}

    def touch(request: Request) -> Response | None:
        found.update(
            {key: request[key] for key in ("method", "path", "client_ip", "request_id")},
            agent=request.get("headers", {}).get("X-Agent", ""), none=request.get("nothing"), keys=sorted(request),
            query=dict(request["query_params"]),
            error="error" in request, number=5 in request,
        )  # fmt: skip
        request["_start"] = 1
        request.setdefault("response_headers", {}).update({"X-Frame-Options": "DENY", "X-Two": ["a", "b"]})
        request["response_headers"]["X-Set"] = "1"
        with pytest.raises(KeyError):
            request["nothing"]
        with pytest.raises(TypeError):
            request["method"] = "PUT"
        if request["path"] == "/error":
            request["error"] = "not like this"
        if request.get("method") == "OPTIONS":
            request["response"] = {"status": 200, "headers": {"X-Own": "1"}, "body": ""}
        return request  # type: ignore[return-value]

    add(gateway, kind, touch)

    @gateway.on_request
    def late(request: Request) -> None:
        assert request.state["_start"] == request["_start"] == 1

    with running(gateway) as address:
        answers = {target: ask(address, target, headers={"X-Agent": "me"}) for target in ("/", "/error")}
        answers["preflight"] = ask(address, "/", "OPTIONS")
    assert {name: answer.status for name, answer in answers.items()} == {"/": 200, "/error": 400, "preflight": 200}
    assert answers["/error"].json()["error"] == "not like this"
    assert answers["preflight"].headers["X-Own"] == "1"
    for answer in answers.values():
        assert (answer.headers["X-Frame-Options"], answer.headers["X-Set"]) == ("DENY", "1")
        assert answer.headers.get_all("X-Two") == ["a", "b"]
    assert (found["method"], found["agent"], found["none"], found["error"], found["number"]) == (
        "OPTIONS", "", None, False, False,
    )  # fmt: skip
    assert {"method", "path", "headers", "timestamp"} <= set(found["keys"])


@pytest.mark.parametrize(
    "fields",
    [
        {"Content-Length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"Date": "now"},
        {"Via": "me"},
        {"X-Line": "a\r\nSet-Cookie: b"},
        {"X Name": "a"},
    ],
)
def test_response_headers_that_split_or_frame_fail_the_hook(gateway: Gateway, fields: dict[str, str]) -> None:
    @gateway.on_request(stage="early")
    def set_(request: Request) -> None:
        request["response_headers"] = fields

    with running(gateway) as address:
        answer = ask(address, "/")
    assert answer.status == 500
    assert not set(fields) & set(answer.headers) - {"Content-Length", "Date", "Via", "Connection"}
    assert "Set-Cookie" not in answer.headers


def test_response_headers_are_not_kept_by_the_cache(service: FakeService) -> None:
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
    gateway.add_route(Route(prefix="/", service_url=service.url, auth_required=False, cache={"ttl": "1m"}))

    @gateway.on_request(stage="early")
    def set_(request: Request) -> None:
        name = request.headers.get("X-Name")
        if name is not None:
            request["response_headers"] = {"Set-Cookie": name, "X-Name": name}

    with running(gateway) as address:
        assert ask(address, "/", headers={"X-Name": "one"}).headers["Set-Cookie"] == "one"
        answer = ask(address, "/")
    assert len(service.requests) == 1
    assert not {"Set-Cookie", "X-Name"} & set(answer.headers)


def test_response_headers_of_a_hook_win_over_cors(service: FakeService) -> None:
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, policies={"cors": {"origins": ["https://a.test"]}})
    gateway.add_route(Route(prefix="/", service_url=service.url, auth_required=False))

    @gateway.on_request(stage="early")
    def set_(request: Request) -> None:
        request["response_headers"] = {"Access-Control-Allow-Origin": "*"}

    with running(gateway) as address:
        answer = ask(address, "/", headers={"Origin": "https://a.test"})
    assert answer.headers.get_all("Access-Control-Allow-Origin") == ["*"]


def test_a_failure_is_500_or_skipped(service: FakeService) -> None:
    for on_error, status in (("fail", 500), ("skip", 200)):
        gateway = hooked(service.url)

        @gateway.on_request(stage="early", on_error=on_error)
        def fail(_: Request) -> None:
            raise KeyError("no")

        with running(gateway) as address:
            assert ask(address, "/").status == status


def test_bodies_that_early_hooks_look_at(service: FakeService) -> None:
    gateway = hooked(service.url)
    seen: list[Any] = []

    @gateway.on_request(stage="early", body="1KB")
    async def look(request: Request) -> None:
        seen.append(await request.body())
        request.path = "/orders/" + "x" * 100

    @gateway.on_response(stage="early", body=True)
    def answer(_: Request, response: Response) -> None:
        response.body = response.body.upper()

    with running(gateway) as address:
        assert ask(address, "/", "POST", body=b"body").body == b"HELLO"
        assert ask(address, "/", "POST", body=b"x" * 2000).status == 413
    assert (seen, [request.body for request in service.requests]) == ([b"body"], [b"body"])


def test_bodies_are_compressed_behind_early_hooks_that_look_at_them() -> None:
    with FakeService(Reply(body=b"x" * 5000, headers={"Content-Type": "text/plain"})) as service:
        gateway = hooked(service.url, policies={"compression": {}})

        @gateway.on_response(stage="early", body=True)
        def look(_: Request, response: Response) -> None:
            assert len(response.body) == 5000

        with running(gateway) as address:
            answer = ask(address, "/", headers={"Accept-Encoding": "gzip"})
        assert (answer.status, answer.headers["Content-Encoding"]) == (200, "gzip")
        assert service.requests[0].headers["Accept-Encoding"] == "identity"


def test_an_early_hook_cannot_choose_the_service(gateway: Gateway) -> None:
    @gateway.on_request(stage="early")
    def choose(request: Request) -> None:
        with pytest.raises(HookError, match="cannot choose the service"):
            request.service = "shop"

    with running(gateway) as address:
        assert ask(address, "/").status == 200


def test_options_that_do_not_go_together(gateway: Gateway) -> None:
    with pytest.raises(HookError, match="before a route is known"):
        gateway.on_request(stage="early", routes="orders")(lambda _: None)
    with pytest.raises(HookError, match="which works only with"):
        gateway.on_response(malformed=True)(lambda _, __: None)
    with pytest.raises(HookError, match="early"):
        gateway.on_request(stage="erly")(lambda _: None)


def test_a_configuration_names_early_hooks(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "early_named.py").write_text(
        "async def wrap(request, call_next):\n"
        "    response = await call_next(request)\n"
        "    response.headers['X-Wrapped'] = str(response.status)\n"
        "    return response\n"
        "def mark(request):\n"
        "    request.headers['X-Mark'] = '1'\n"
    )
    (tmp_path / "pylae.yaml").write_text(
        "listeners: ['127.0.0.1:0']\n"
        f"services: {{shop: {{instances: ['{service.url}']}}}}\n"
        "routes: [{name: a, path: /a, service: shop, auth_required: false}]\n"
        "hooks:\n"
        "  - {middleware: 'early_named:wrap'}\n"
        "  - {on_request: 'early_named:mark', stage: early}\n"
    )
    gateway = Gateway.from_file(tmp_path / "pylae.yaml")
    with running(gateway) as address:
        assert ask(address, "/a").headers["X-Wrapped"] == "200"
        assert ask(address, "/none").headers["X-Wrapped"] == "404"
    assert service.requests[0].headers["X-Mark"] == "1"
    bad = (tmp_path / "pylae.yaml").read_text().replace("stage: early", "stage: early, routes: a")
    (tmp_path / "pylae.yaml").write_text(bad)
    with pytest.raises(ConfigError, match="before a route is known"):
        Gateway.from_file(tmp_path / "pylae.yaml")
