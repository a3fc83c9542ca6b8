"""What hooks see of a request in parts, as users of Starlette and FastAPI know it, and responses made in their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pylae import EngineError, Gateway, Request, Response
from pylae.hooks import QueryParams
from support.exchanges import ask
from support.hooked import hooked, running


def seen_by_a_hook(gateway: Gateway, see: Callable[[Request], Any], target: str, **options: Any) -> Any:
    found: list[Any] = []

    @gateway.on_request
    def look(request: Request) -> None:
        found.append(see(request))

    with running(gateway) as address:
        assert ask(address, target, **options).status == 200
    return found[0]


def test_the_parameters_of_the_query(gateway: Gateway) -> None:
    params: QueryParams = seen_by_a_hook(
        gateway, lambda request: request.query_params, "/a?x=1&y=a%20b+c&x=2&empty=&alone&x=%C3%A4&bad=%zz"
    )
    assert isinstance(params, Mapping)
    assert (params["x"], params["y"], params["empty"], params["alone"]) == ("ä", "a b c", "", "")
    assert params.get_all("x") == ["1", "2", "ä"]
    assert ("x" in params, "z" in params, 5 in params) == (True, False, False)
    assert (params.get("z"), params.get("z", 7), params.get("y", "")) == (None, 7, "a b c")
    assert dict(params) == {"y": "a b c", "empty": "", "alone": "", "x": "ä", "bad": "%zz"}
    assert len(params) == 5
    assert params.multi_items()[:3] == [("x", "1"), ("y", "a b c"), ("x", "2")]
    assert repr(params) == "<QueryParams y, empty, alone, x, bad>", "values may be secrets"
    with pytest.raises(KeyError, match="z"):
        params["z"]


def test_they_are_those_that_are_sent(gateway: Gateway) -> None:
    def see(request: Request) -> list[tuple[str, str]]:
        request.query = "a=2"
        return request.query_params.items()

    assert seen_by_a_hook(gateway, see, "/a?a=1&b=1") == [("a", "2")]


def test_cookies(gateway: Gateway) -> None:
    headers = [("Cookie", 'a=1; b="two";c = 3 ; a=2; nothing; d=x=y'), ("Cookie", "e=%20; b=later")]
    found = seen_by_a_hook(gateway, lambda request: request.cookies, "/a", headers=headers)
    assert found == {"a": "1", "b": "two", "c": "3", "d": "x=y", "e": "%20"}


@pytest.mark.parametrize(
    ("host", "netloc", "hostname", "port"),
    [
        ("shop.example", "shop.example", "shop.example", None),
        ("Shop.Example:8080", "shop.example:8080", "shop.example", 8080),
        ("[2001:db8::1]:8080", "[2001:db8::1]:8080", "2001:db8::1", 8080),
        ("[::1]", "[::1]", "::1", None),
    ],
)
def test_the_url(gateway: Gateway, host: str, netloc: str, hostname: str, port: int | None) -> None:
    def see(request: Request) -> Any:
        request.path = "/elsewhere"
        return request.url

    url = seen_by_a_hook(gateway, see, "/a/b;v=1?x=1&token=t0p", headers=[("Host", host)])
    assert str(url) == f"http://{netloc}/a/b;v=1?x=1&token=t0p", "what the client asked for"
    assert (url.scheme, url.netloc, url.hostname, url.port) == ("http", netloc, hostname, port)
    assert (url.path, url.query) == ("/a/b;v=1", "x=1&token=t0p")
    assert repr(url) == f"<Url http://{netloc}/a/b;v=1>"


def test_the_url_that_a_proxy_has_been_asked_for(service: Any) -> None:
    gateway = hooked(service.url, trusted_proxies=["127.0.0.1"])
    headers = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "shop.example")]
    url = seen_by_a_hook(gateway, lambda request: request.url, "/a", headers=headers)
    assert str(url) == "https://shop.example/a"


def test_responses() -> None:
    made = Response("nö", 404, {"X-A": "1"}, "text/html")
    assert (made.status, made.status_code, made.body) == (404, 404, "nö".encode())
    assert (made.headers["X-A"], made.headers["Content-Type"]) == ("1", "text/html; charset=utf-8")
    assert Response("a").headers["Content-Type"] == "text/plain; charset=utf-8"
    assert Response(b"a", media_type="image/png").headers["Content-Type"] == "image/png"
    assert Response("a", headers={"Content-Type": "a/b"}, media_type="c/d").headers["Content-Type"] == "a/b"
    assert (Response().status, Response().body) == (200, b"")
    assert Response(body="a", status=403).status == 403
    assert Response.json({}, 409).status == Response.json({}, status_code=409).status == 409
    made.status_code = 410
    assert made.status == 410


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Response(404), r"a status is given as `Response\(status_code=…\)`"),
        (lambda: Response({"error": "no"}), r"`Response\.json\(…\)` sends a value as JSON"),
        (lambda: Response(object()), "a body is bytes or text"),
        (lambda: Response("a", body="b"), "`content` and `body` are the same: give one of them"),
        (lambda: Response(status=400, status_code=400), "`status_code` and `status` are the same"),
        (lambda: Response.json({}, 400, status=400), "`status_code` and `status` are the same"),
    ],
)
def test_what_is_no_response(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_a_gateway_is_a_context(service: Any) -> None:
    gateway = hooked(service.url)
    with gateway as entered:
        assert entered is gateway
        assert gateway.stats()["services"]
    with pytest.raises(EngineError, match="not running"):
        gateway.stats()

    async def use() -> None:
        async with gateway as entered:
            assert entered is gateway
            assert gateway.stats()["services"]

    asyncio.run(use())
    with pytest.raises(EngineError, match="not running"):
        gateway.stats()


def test_an_error_in_its_block_is_raised_once_it_has_stopped(service: Any) -> None:
    gateway = hooked(service.url)
    with pytest.raises(KeyError, match="mine"), gateway:
        raise KeyError("mine")
    with pytest.raises(EngineError, match="not running"):
        gateway.stats()


def test_a_middleware_by_decorator(gateway: Gateway) -> None:
    @gateway.middleware
    async def around(request: Request, call_next: Callable[[Request], Any]) -> Response:
        response: Response = await call_next(request)
        response.headers["X-Around"] = request.route
        return response

    @gateway.middleware(routes="others")
    def alone(request: Request) -> None:
        request.headers["X-Alone"] = "yes"

    with running(gateway) as address:
        answer = ask(address, "/a")
    assert answer.headers["X-Around"] == "others"
