"""Traps of the early stage: what its hooks set cannot lead past a guard, and what they wrap goes on as before."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from pylae import Gateway, Request, Response, Route
from pylae.hooks import CallNext
from pylae.testing import Client, FakeService, Reply
from support.exchanges import ask
from support.frames import TEXT, Opener, frame, handshake, read_frame, switching
from support.h2client import FramePeer
from support.h2servers import Shop, grpc_instance
from support.hooked import calls, hooked, running, until
from support.instance import RawInstance
from support.peer import Peer

KINDS = ("drive", "wait", "block")
"""Around an exchange: a coroutine that the worker drives, one on the loop, and a function on a thread."""


def wrap(gateway: Gateway, kind: str, after: Callable[[Request, Response], Response]) -> None:
    """A middleware of a kind."""

    async def drive(request: Request, call_next: CallNext) -> Response:
        return after(request, await call_next(request))

    async def wait(request: Request, call_next: CallNext) -> Response:
        await asyncio.sleep(0)
        return after(request, await call_next(request))

    def block(request: Request, call_next: Any) -> Response:
        return after(request, call_next(request))

    gateway.add_middleware({"drive": drive, "wait": wait, "block": block}[kind])


def guarded(service: FakeService, **settings: Any) -> Gateway:
    """A gateway with an open route, and one that nobody may use, at another path and at another host."""
    gateway = Gateway(listeners=[{"address": "127.0.0.1:0", "http2": True}], workers=1, **settings)
    common: Any = {"service": "shop", "service_url": service.url, "auth_required": False}
    barred: Any = {**common, "ip_access": {"deny": ["127.0.0.0/8"]}}
    gateway.add_route(Route(name="open", prefix="/open", **common))
    gateway.add_route(Route(name="kept", path="/kept/{name}", encoded_slash="keep", **common))
    gateway.add_route(Route(name="admin", prefix="/admin", **barred))
    gateway.add_route(Route(name="other", prefix="/open", host="admin.test", **barred))
    return gateway


PATHS: dict[str, int | str] = {
    "/open/../admin": 403,
    "/open/%2e%2e/admin": 403,
    "/open/.%2E/admin": 403,
    "/%61dmin": 403,
    "/admin;a": 403,
    "//admin": 403,
    "/open/..%2fadmin": "encoded slash beside",
    "/open/%2e%2e%2fadmin": "encoded slash beside",
    "/open%2f..%2fadmin": "encoded slash beside",
    "/kept/..%2fadmin": "encoded slash beside",
    "/kept/%2e%2e%2fadmin": "encoded slash beside",
    "/open/..;a/admin": "dot segment with a parameter",
    "/open/..\\admin": "invalid byte",
    "/open/..%00/admin": "encoded backslash or NUL",
    "/open/%252e%252e/admin": 200,
}
"""Paths that a hook sets, and what comes of it: what the route says that they lead to, or the words of a ValueError.

The last one is one segment, however often somebody else may decode it.
"""


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sent", ["/open/x", "/kept/a%2Fb"])
def test_a_path_that_is_set_is_guarded_as_one_that_is_sent(service: FakeService, path: str, sent: str) -> None:
    gateway = guarded(service)
    refused: list[str] = []

    @gateway.on_request(stage="early")
    def move(request: Request) -> None:
        try:
            request.path = path
        except ValueError as error:
            refused.append(str(error))

    with running(gateway) as address:
        status = ask(address, sent).status
    targets = [request.target for request in service.requests]
    expected = PATHS[path]
    if isinstance(expected, str):
        # It goes on as it was sent.
        assert (status, targets) == (200, [sent])
        assert expected in refused[0]
    else:
        assert (status, refused) == (expected, [])
        assert targets == ([path] if expected == 200 else [])


@pytest.mark.parametrize(("sent", "status"), [("/open/x", 200), ("/kept/a%2Fb", 400)])
def test_an_encoded_slash_that_is_set(service: FakeService, sent: str, status: int) -> None:
    """Only where the client has sent one; and not where the path would be another route's with a slash in its place."""
    gateway = guarded(service)
    refused: list[str] = []

    @gateway.on_request(stage="early")
    def move(request: Request) -> None:
        try:
            request.path = "/admin%2fx"
        except ValueError as error:
            refused.append(str(error))

    with running(gateway) as address:
        assert ask(address, sent).status == status
    assert [request.target for request in service.requests] == ([sent] if refused else [])
    assert bool(refused) == (status == 200)


@pytest.mark.parametrize("way", ["HTTP/1.1", "absolute", "HTTP/2", "mapping"])
def test_a_host_that_is_set_is_guarded_as_one_that_is_sent(service: FakeService, way: str) -> None:
    gateway = guarded(service)

    @gateway.on_request(stage="early")
    def move(request: Request) -> None:
        if request.headers.get("X-Move"):
            headers = request["headers"] if way == "mapping" else request.headers
            headers["Host"] = "ADMIN.test"

    with running(gateway) as address:
        for fields, status in (({}, 200), ({"X-Move": "1"}, 403)):
            if way == "HTTP/2":
                with FramePeer(address) as peer:
                    lower = [(name.lower(), value) for name, value in fields.items()]
                    assert peer.get("/open", *lower).status == status
            else:
                target = "http://open.test/open" if way == "absolute" else "/open"
                assert ask(address, target, headers={"Host": "open.test", **fields}).status == status
    assert len(service.requests) == 1


def test_a_host_that_is_not_answered_is_not_answered_by_being_set(service: FakeService) -> None:
    gateway = guarded(service, hosts=["open.test"])

    @gateway.on_request(stage="early")
    def move(request: Request) -> None:
        request.headers["Host"] = "elsewhere.test"

    with running(gateway) as address:
        assert ask(address, "/open", headers={"Host": "open.test"}).status == 421
    assert service.requests == []


@pytest.mark.parametrize("name", ["X-User-Id", "x-user-role", "X_User_Email", "X-Forwarded-Prefix"])
@pytest.mark.parametrize("kind", KINDS)
def test_who_asks_is_not_said_in_fields(service: FakeService, kind: str, name: str) -> None:
    """Neither in the words of a mapping, before `call_next`, wherever the middleware runs."""
    gateway = hooked(service.url)
    raised: list[str] = []

    def lie(request: Request) -> None:
        try:
            request["headers"][name] = "1"
        except ValueError as error:
            raised.append(str(error))

    async def drive(request: Request, call_next: CallNext) -> Response:
        lie(request)
        return await call_next(request)

    async def wait(request: Request, call_next: CallNext) -> Response:
        await asyncio.sleep(0)
        return await drive(request, call_next)

    def block(request: Request, call_next: Any) -> Response:
        lie(request)
        response: Response = call_next(request)
        return response

    gateway.add_middleware({"drive": drive, "wait": wait, "block": block}[kind])
    with running(gateway) as address:
        assert ask(address, "/", headers={name: "2"}).status == 200
    assert len(raised) == 1
    assert not [field for field in service.requests[0].headers if field.lower().replace("_", "-") == name.lower()]


@pytest.mark.parametrize(
    "fields",
    [
        {"Set-Cookie": ["a=1", "b=2\r\nX-Split: 1"]},
        {"x": ["1", "a\nb"]},
        {"content_length": "5"},
        {"CONTENT-LENGTH": "5"},
        {"Keep-Alive": "1"},
        {"Upgrade": "h2c"},
        {"Trailer": "X-Late"},
        {"TE": "trailers"},
        {"Proxy-Connection": "close"},
    ],
)
def test_response_headers_do_not_split_or_frame(service: FakeService, fields: dict[str, Any]) -> None:
    gateway = hooked(service.url)

    @gateway.on_request(stage="early")
    def set_(request: Request) -> None:
        request["response_headers"] = fields

    with running(gateway) as address:
        answer = ask(address, "/")
    assert (answer.status, answer.json()["type"]) == (500, "urn:pylae:error:hook_error")
    assert not {"x", "X-Split", "Set-Cookie"} & set(answer.headers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["before", "response_headers", "headers"])
def test_cookies_of_one_client_are_not_kept_for_another(service: FakeService, kind: str, way: str) -> None:
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
    gateway.add_route(Route(prefix="/", service_url=service.url, auth_required=False, cache={"ttl": "1m"}))

    def after(request: Request, response: Response) -> Response:
        name = request.headers.get("X-Name")
        if name and way == "headers":
            response.headers["Set-Cookie"] = name
        elif name and way == "response_headers":
            request["response_headers"] = {"Set-Cookie": [name]}
        return response

    @gateway.on_request(stage="early")
    def before(request: Request) -> None:
        if way == "before" and "X-Name" in request.headers:
            request["response_headers"] = {"Set-Cookie": [request.headers["X-Name"]]}

    wrap(gateway, kind, after)
    with running(gateway) as address:
        cookies = [ask(address, "/", headers=fields).headers.get("Set-Cookie") for fields in ({"X-Name": "a"}, {})]
        cookies.append(ask(address, "/", headers={"X-Name": "b"}).headers.get("Set-Cookie"))
    assert (cookies, len(service.requests)) == (["a", None, "b"], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_cors_twice(service: FakeService, kind: str) -> None:
    """The dict wins, on preflights too, and nothing is there twice."""
    service.answer = Reply(200, {"Access-Control-Allow-Origin": "https://service.test", "Vary": "Origin"})
    gateway = hooked(service.url, policies={"cors": {"origins": ["https://shop.test"], "expose": ["X-A"]}})

    def mine(request: Request, response: Response) -> Response:
        request.setdefault("response_headers", {}).update(
            {"Access-Control-Allow-Origin": "*", "access-control-expose-headers": "X-B"}
        )
        return response

    wrap(gateway, kind, mine)
    preflight = {"Origin": "https://shop.test", "Access-Control-Request-Method": "GET"}
    with running(gateway) as address:
        for method, fields, status in (("GET", {"Origin": "https://shop.test"}, 200), ("OPTIONS", preflight, 204)):
            answer = ask(address, "/", method, fields)
            assert answer.status == status
            assert answer.headers.get_all("Access-Control-Allow-Origin") == ["*"]
            assert answer.headers.get_all("Access-Control-Expose-Headers") == ["X-B"]


HEADERS = {"Access-Control-Allow-Origin": "*"}


def named(request: Request) -> None:
    request.setdefault("response_headers", {}).update(HEADERS)


def called(request: Request) -> None:
    named(request)


async def around(request: Request, call_next: CallNext) -> Response:
    response = await call_next(request)
    response.headers["access-control-max-age"] = "5"
    return response


class Object:
    def __call__(self, request: Request) -> None:
        request["response_headers"] = {"Access-Control-Allow-Headers": "X-A", "Vary": "Origin"}


def asks(request: Request) -> None:
    """Looks at Access-Control-Allow-Origin no more than at this text."""
    request.state["preflight"] = "Access-Control-Request-Method" in request.headers


@pytest.mark.parametrize(
    ("hook", "field"),
    [
        (named, "Access-Control-Allow-Origin"),
        (called, "Access-Control-Allow-Origin"),
        (around, "Access-Control-Max-Age"),
        (Object(), "Access-Control-Allow-Headers"),
        (asks, None),
    ],
)
def test_cors_twice_is_a_warning(hook: Any, field: str | None) -> None:
    with_policy = hooked("http://127.0.0.1:9", policies={"cors": {"origins": ["https://shop.test"]}})
    without = hooked("http://127.0.0.1:9")
    for gateway in (with_policy, without):
        gateway.add_middleware(hook)
    said = [warning.message for warning in with_policy.check()]
    assert without.check() == []
    assert len(said) == (field is not None)
    if field:
        assert f"names {field}, which the policy `cors` sets too: the response has the values of the hook" in said[0]


def test_cors_twice_where_the_hook_does_not_stand() -> None:
    gateway = hooked("http://127.0.0.1:9")
    gateway.add_route(Route(name="shared", path="/shared", service="shop", auth_required=False, cors="*"))
    gateway.on_request(routes="orders")(named)
    assert gateway.check() == []
    gateway.on_request(routes="shared")(named)
    (warning,) = gateway.check()
    assert "of a late hook does not" in warning.message


@pytest.fixture
def opened() -> Iterator[Opener]:
    opener = Opener()
    yield opener
    opener.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_websocket(kind: str) -> None:
    """The middleware sees the 101, changes its fields only, and is over before the first message."""
    statuses: list[int] = []

    def after(request: Request, response: Response) -> Response:
        statuses.append(response.status)
        response.headers["X-Wrapped"] = "1"
        request["response_headers"] = {"X-Set": "1"}
        return response

    with RawInstance() as instance:
        gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
        gateway.add_route(Route(prefix="/", service_url=instance.url, auth_required=False, websocket=True))
        wrap(gateway, kind, after)
        with running(gateway) as address, Peer.connect(address) as client:
            client.send(handshake())
            peer = instance.accept()
            peer.read_head()
            peer.send(switching())
            head = client.read_head()
            assert (head.status, head.one("X-Wrapped"), head.one("X-Set")) == (101, "1", "1")
            until(lambda: calls(gateway, "")[kind]["calls"] == 1)
            client.send(frame(TEXT, b"up", masked=True))
            assert read_frame(peer).payload == b"up"
            peer.send(frame(TEXT, b"down"))
            assert read_frame(client).payload == b"down"
    assert statuses == [101]


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_grpc(kind: str) -> None:
    """Of all kinds, with trailers; a message passes before the next one is sent, and the middleware is over by then."""
    seen: list[int] = []

    def after(_: Request, response: Response) -> Response:
        seen.append(response.status)
        response.headers["X-Wrapped"] = "1"
        return response

    with grpc_instance(Shop()) as url:
        gateway = Gateway(listeners=[{"address": "127.0.0.1:0", "http2": True}], workers=1)
        gateway.add_service("shop", [url], protocol="http2")
        gateway.add_route(Route(prefix="/shop.Shop", service="shop", auth_required=False))
        wrap(gateway, kind, after)
        with running(gateway) as address, grpc.insecure_channel(address) as channel:
            answer, call = channel.unary_unary("/shop.Shop/Unary").with_call(b"abc")
            assert answer == b"cba"
            assert ("x-wrapped", "1") in call.initial_metadata()
            assert ("x-last", "2") in call.trailing_metadata()
            assert list(channel.unary_stream("/shop.Shop/Down")(b"3")) == [b"0", b"1", b"2"]
            said = iter([b"a", b"b"])
            assert len(list(channel.stream_stream("/shop.Shop/Both")(said))) >= 2
            with pytest.raises(grpc.RpcError) as raised:
                channel.unary_unary("/shop.Shop/None")(b"")
            assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert seen == [200] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_stream(kind: str) -> None:
    """The middleware is over once there is a head, and events pass while the service goes on."""
    go_on = threading.Event()

    def stream(_: Any) -> Reply:
        def pieces() -> Iterator[bytes]:
            yield b"data: one\n\n"
            go_on.wait(20)
            yield b"data: two\n\n"

        return Reply(200, [("Content-Type", "text/event-stream")], pieces())

    def after(_: Request, response: Response) -> Response:
        response.headers["X-Wrapped"] = "1"
        return response

    with FakeService(stream) as service:
        gateway = hooked(service.url)
        wrap(gateway, kind, after)
        with running(gateway) as address, Client(address).stream("GET", "/") as reply:
            lines = reply.lines()
            assert (reply.headers["X-Wrapped"], next(lines)) == ("1", "data: one")
            # One call, though it was resumed.
            assert calls(gateway, "")[kind]["calls"] == 1
            go_on.set()
            assert [line for line in lines if line] == ["data: two"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_is_reset(kind: str) -> None:
    """`call_next` is cancelled; where it is no coroutine, it raises HookError."""
    asked, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    raised: list[str] = []

    def answer(_: Any) -> Reply:
        asked.set()
        go_on.wait(20)
        return Reply()

    async def drive(request: Request, call_next: CallNext) -> Response:
        try:
            return await call_next(request)
        except BaseException as error:
            raised.append(type(error).__name__)
            raise
        finally:
            ended.set()

    async def wait(request: Request, call_next: CallNext) -> Response:
        await asyncio.sleep(0)
        return await drive(request, call_next)

    def block(request: Request, call_next: Any) -> Response:
        try:
            response: Response = call_next(request)
            return response
        except BaseException as error:
            raised.append(type(error).__name__)
            raise
        finally:
            ended.set()

    with FakeService(answer) as service:
        gateway = hooked(service.url, listeners=[{"address": "127.0.0.1:0", "http2": True}])
        gateway.add_middleware({"drive": drive, "wait": wait, "block": block}[kind])
        with running(gateway) as address, FramePeer(address) as peer:
            stream = peer.request("GET", "/")
            assert asked.wait(10)
            peer.connection.reset_stream(stream, 8)
            peer.flush()
            until(ended.is_set)
            go_on.set()
            # The connection and the gateway go on.
            assert peer.get("/").status == 200
    assert raised[0] == ("HookError" if kind == "block" else "CancelledError")
