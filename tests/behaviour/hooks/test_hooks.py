"""Python functions in the request path."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylae import Gateway, HookError, Request, Response
from pylae import Service as ServiceModel
from pylae.testing import FakeService, Reply
from support.exchanges import ask
from support.hooked import running


def test_a_hook_sees_the_request(gateway: Gateway) -> None:
    seen: dict[str, Any] = {}

    @gateway.on_request(routes=["orders"])
    def look(request: Request) -> None:
        seen.update(
            method=request.method,
            path=request.path,
            query=request.query,
            params=request.params,
            accept=request.headers["ACCEPT"],
            all=request.headers.get_all("x-tag"),
            missing=request.headers.get("x-missing"),
            client_ip=request.client_ip,
            id=request.id,
            route=request.route,
            user=request.user,
            service=request.service,
            spoofed=request.headers.get("x-user-id"),
        )

    with running(gateway) as address:
        headers = [("Accept", "a/b"), ("X-Tag", "1"), ("X-Tag", "2"), ("X-Request-ID", "abc"), ("X-User-ID", "root")]
        assert ask(address, "/orders/a%20b?x=1", headers=headers).status == 200
    assert seen == {
        "method": "GET",
        "path": "/orders/a%20b",
        "query": "x=1",
        "params": {"id": "a b"},
        "accept": "a/b",
        "all": ["1", "2"],
        "missing": None,
        "client_ip": "127.0.0.1",
        "id": "abc",
        "route": "orders",
        "user": None,
        "service": "shop",
        "spoofed": None,
    }


def test_what_a_hook_sets_reaches_the_service(gateway: Gateway, service: FakeService) -> None:
    @gateway.on_request
    def change(request: Request) -> None:
        request.headers["X-Tenant"] = "blue"
        request.headers.append("X-Many", "1")
        request.headers.append("X-Many", "2")
        del request.headers["Accept"]
        request.path = "/v2/other"
        request.query = "page=2"
        assert (request.path, request.query) == ("/v2/other", "page=2")

    with running(gateway) as address:
        ask(address, "/orders/1?page=1", headers={"Accept": "x", "X-Tenant": "red"})
    (request,) = service.requests
    assert request.target == "/v2/other?page=2"
    assert request.headers.get_all("X-Tenant") == ["blue"]
    assert request.headers.get_all("X-Many") == ["1", "2"]
    assert request.headers.get_all("Accept") == []


def test_headers_are_a_mutable_mapping(gateway: Gateway, service: FakeService) -> None:
    @gateway.on_request
    def change(request: Request) -> None:
        headers = request.headers
        headers.update({"x-tenant": "blue", "X-New": "1"})
        headers.update([("X-Many", "1"), ("x-many", "2")])
        with pytest.raises(ValueError, match="control character"):
            headers.update({"X-New": "2", "X-Bad": "a\r\nb"})
        assert headers.setdefault("X-New", "3") == "1"
        assert headers.setdefault("X-Else", "4") == "4"
        assert headers.popitem() == ("X-Else", "4")

    @gateway.on_response
    def replace(_request: Request, response: Response) -> None:
        response.headers.clear()
        assert len(response.headers) == 0
        with pytest.raises(KeyError, match="no fields"):
            response.headers.popitem()

    service.answer = lambda _: Reply(200, [("X-Old", "1"), ("X-Other", "2")], b"")
    with running(gateway) as address:
        reply = ask(address, "/orders/1", headers={"X-Tenant": "red", "X-Many": "0"})
    assert reply.status == 200
    assert reply.headers.get("X-Old") is None
    assert reply.headers.get("X-Other") is None
    (request,) = service.requests
    assert request.headers.get_all("X-Tenant") == ["blue"]
    assert request.headers.get_all("X-Many") == ["1", "2"]
    assert request.headers.get_all("X-New") == ["1"]
    assert request.headers.get_all("X-Else") == []


def test_a_hook_answers(gateway: Gateway, service: FakeService) -> None:
    @gateway.on_request(routes="orders")
    def refuse(request: Request) -> Response | None:
        return Response.json({"no": request.params["id"]}, status=403, headers={"X-Why": "because"})

    with running(gateway) as address:
        reply = ask(address, "/orders/7")
        assert (reply.status, reply.json(), reply.headers.get("X-Why")) == (403, {"no": "7"}, "because")
        assert reply.headers.get("Content-Type") == "application/json"
        assert ask(address, "/elsewhere").status == 200
    assert [request.target for request in service.requests] == ["/elsewhere"]


def test_a_hook_changes_the_response(gateway: Gateway, service: FakeService) -> None:
    service.answer = lambda _: Reply(201, [("X-Old", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"made")

    @gateway.on_request
    def note(request: Request) -> None:
        request.state["tenant"] = "blue"

    @gateway.on_response
    def brand(request: Request, response: Response) -> None:
        assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]
        response.headers["X-Served-By"] = f"pylae {response.status} {request.state['tenant']}"
        del response.headers["x-old"]
        response.status = 202

    with running(gateway) as address:
        reply = ask(address, "/orders/1")
    assert (reply.status, reply.headers.get("X-Served-By"), reply.headers.get("X-Old")) == (202, "pylae 201 blue", None)
    assert (reply.headers.get_all("Set-Cookie"), reply.body) == (["a=1", "b=2"], b"made")


def test_response_hooks_see_answers_of_hooks(gateway: Gateway) -> None:
    @gateway.on_request(routes="orders")
    def answer(_: Request) -> Response:
        return Response("none here", 404)

    @gateway.on_response
    def sign(request: Request, response: Response) -> None:
        response.headers["X-Body"] = response.body.decode() if request.route == "orders" else "?"

    with running(gateway) as address:
        reply = ask(address, "/orders/1")
        assert (reply.status, reply.headers.get("X-Body"), reply.body) == (404, "none here", b"none here")
        assert ask(address, "/x").headers.get("X-Body") == "?"


def test_a_response_hook_may_answer_instead(gateway: Gateway) -> None:
    @gateway.on_response
    def instead(request: Request, response: Response) -> Response | None:
        if request.route == "orders":
            return Response.json({"instead": response.status}, status=418)
        response.body = "another body"
        return None

    with running(gateway) as address:
        reply = ask(address, "/orders/1")
        assert (reply.status, reply.json(), reply.headers.get("Content-Type")) == (
            418,
            {"instead": 200},
            "application/json",
        )
        reply = ask(address, "/x")
        assert (reply.status, reply.body, reply.headers.get("Content-Type")) == (200, b"another body", "text/plain")


def test_hooks_run_in_order_and_responses_the_other_way_round(gateway: Gateway) -> None:
    order: list[str] = []

    def hook(name: str) -> Callable[..., None]:
        return lambda *_: order.append(name)

    gateway.on_request(hook("in 1"))
    gateway.on_response(hook("out 1"))
    gateway.add_middleware(hook("in 2"), routes=["orders"])
    gateway.on_response(hook("out 2"))
    with running(gateway) as address:
        ask(address, "/orders/1")
    assert order == ["in 1", "in 2", "out 2", "out 1"]


def test_the_service_can_be_chosen(gateway: Gateway, service: FakeService) -> None:
    with FakeService(Reply(body=b"the other")) as other:
        gateway.add_service("other", ServiceModel(instances=[other.url]))

        @gateway.on_request(routes="orders")
        def choose(request: Request) -> None:
            with pytest.raises(LookupError):
                request.service = "unknown"
            request.service = "other"
            assert request.service == "other"

        with running(gateway) as address:
            assert ask(address, "/orders/1").body == b"the other"
    assert service.requests == []


def test_a_user_can_be_set(gateway: Gateway, service: FakeService) -> None:
    from pylae.hooks import User

    @gateway.on_request
    def identify(request: Request) -> None:
        request.user = User("u1", role="admin", permissions=["read"], claims={"tenant": "blue"})
        assert request.user is not None
        assert (request.user.id, request.user.permissions, request.user.claims, request.user.via) == (
            "u1",
            ("read",),
            {"tenant": "blue"},
            "hook",
        )

    with running(gateway) as address:
        ask(address, "/orders/1", headers={"X-User-ID": "root"})
    (request,) = service.requests
    assert request.headers.get_all("X-User-ID") == ["u1"]
    assert request.headers.get_all("X-User-Role") == ["admin"]


def test_nothing_invalid_gets_into_a_head(gateway: Gateway, service: FakeService) -> None:
    @gateway.on_request
    def poison(request: Request) -> None:
        for value in ("a\r\nX-Evil: 1", "a\nb", "a\x00b", "☃"):
            with pytest.raises(ValueError, match="header"):
                request.headers["X-A"] = value
        for name in ("X A", "X:A", "", "Transfer-Encoding", "Content-Length", "Connection"):
            with pytest.raises(ValueError, match="header"):
                request.headers[name] = "1"
        for path in ("relative", "/a?b", "/a\r\n", "/../x", "/%2f"):
            with pytest.raises(ValueError, match=r"path|byte|root|encoded|invalid"):
                request.path = path
        with pytest.raises(ValueError, match="byte"):
            request.query = "a b\r\n"
        with pytest.raises(ValueError, match="control"):
            request.user = type("U", (), {"id": "a\r\nb"})()

    with running(gateway) as address:
        assert ask(address, "/orders/1").status == 200
    assert "X-A" not in service.requests[0].headers


def test_a_request_is_useless_after_its_hook(gateway: Gateway) -> None:
    kept: list[Any] = []

    @gateway.on_request
    def keep(request: Request) -> None:
        kept.extend([request, request.headers])

    @gateway.on_response
    def keep_too(_: Request, response: Response) -> None:
        kept.append(response)

    errors: list[BaseException] = []

    def use() -> None:
        for read in (
            lambda: kept[0].path,
            lambda: kept[0].state,
            lambda: kept[1]["host"],
            lambda: kept[2].status,
            lambda: kept[1].__setitem__("a", "b"),
        ):
            try:
                read()
            except HookError as error:
                errors.append(error)

    with running(gateway) as address:
        assert ask(address, "/orders/1").status == 200
        use()
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert len(errors) == 10
        assert repr(kept[0]) == "<Request (over)>"
        kept.clear()


def test_hooks_named_in_a_file(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "named_hooks.py").write_text(
        "def check(request):\n    request.headers['X-Checked'] = request.route\n\n"
        "class brand:\n    @staticmethod\n    def it(request, response):\n        response.headers['X-Brand'] = 'b'\n"
    )
    file = tmp_path / "pylae.yaml"
    file.write_text(
        f"""
        listeners: ["127.0.0.1:0"]
        services: {{shop: {{instances: ["{service.url}"]}}}}
        routes:
          - {{name: a, path: /a, service: shop, auth_required: false}}
          - {{name: b, path: /b, service: shop, auth_required: false}}
        hooks:
          - {{on_request: "named_hooks:check", routes: a}}
          - {{on_response: "named_hooks:brand.it"}}
        """
    )
    with running(Gateway.from_file(file)) as address:
        assert ask(address, "/a").headers.get("X-Brand") == "b"
        assert ask(address, "/b").headers.get("X-Brand") == "b"
    assert [request.headers.get("X-Checked") for request in service.requests] == ["a", None]
