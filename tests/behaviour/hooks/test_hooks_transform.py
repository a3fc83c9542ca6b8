"""Hooks that take the response first, and the response as a mapping."""

# What matters of these functions is how their parameters are called.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylae import Gateway, HookError, Request, Response
from pylae.config.models.hooks import HookOptions
from pylae.hooks import hook as hooks
from pylae.testing import FakeService, Reply
from support.exchanges import ask
from support.hooked import hooked, running


def transform(response: Any, request: Any) -> Any:
    """The shape that the textbook has it in."""
    headers = response.setdefault("headers", {})
    headers.update({"X-Request-ID": request.get("request_id", ""), "Content-Type": "application/json"})
    headers.update(request.get("response_headers", {}))
    status, body = response["status"], response.get("body")
    if status >= 400 and isinstance(body, str):
        response["body"] = {"error": body, "status": status}
    return response


async def suspended(response: Any, request: Any) -> Any:
    await asyncio.sleep(0)
    return transform(response, request)


async def driven(response: Any, request: Any) -> Any:
    return transform(response, request)


class Transforming:
    def __call__(self, response: Any, request: Any) -> Any:
        return transform(response, request)


@pytest.mark.parametrize("function", [transform, driven, suspended, pytest.param(Transforming(), id="object")])
@pytest.mark.parametrize("way", ["add_middleware", "middleware", "on_response"])
def test_its_arguments_are_told_by_their_names(service: FakeService, function: Any, way: str) -> None:
    gateway = hooked(service.url)

    @gateway.on_request
    def note(request: Request) -> None:
        request["response_headers"] = {"X-Noted": "1"}

    if way == "add_middleware":
        gateway.add_middleware(function, body=True)
    elif way == "middleware":
        gateway.middleware(body=True)(function)
    else:
        gateway.on_response(body=True)(function)
    service.on("GET", "/gone", Reply(410, (("Content-Type", "text/plain"),), "it is gone"))
    with running(gateway) as address:
        answer = ask(address, "/gone")
        assert (answer.status, json.loads(answer.body)) == (410, {"error": "it is gone", "status": 410})
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-noted"] == "1"
        assert answer.headers["content-length"] == str(len(answer.body))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda response, request: None, "response"),
        (lambda response, call_next: None, "around"),
        (lambda request, response: None, "around"),
        (lambda request, call_next: None, "around"),
        (lambda response: None, "request"),
        (lambda response, request, further=1: None, "response"),
    ],
)
def test_what_a_middleware_is_told_by(function: Callable[..., Any], expected: str) -> None:
    made = hooks.make(function, "middleware", HookOptions())
    assert made.on == expected
    assert (made.swapped is not None) == (expected == "response")


def test_without_the_body_it_passes_as_it_is(service: FakeService) -> None:
    """What is not in memory is no key: nothing is buffered, recoded or cut off because a hook might look at it."""
    coded = gzip.compress(b"x" * 2_000_000)
    fields = (("Content-Type", "text/plain"), ("Content-Encoding", "gzip"))
    service.on("GET", "/coded", Reply(500, fields, coded))
    service.on("GET", "/long", Reply(500, (("Content-Type", "text/plain"),), b"y" * 3_000_000))
    gateway = hooked(service.url)
    seen: list[Any] = []

    @gateway.on_response
    def look(response: Response, request: Request) -> None:
        seen.append((list(response), "body" in response, response.get("body", "none"), len(response)))

    with running(gateway) as address:
        answer = ask(address, "/coded", headers={"Accept-Encoding": "gzip"})
        assert (answer.body, answer.headers["content-encoding"]) == (coded, "gzip")
        assert ask(address, "/long").body == b"y" * 3_000_000
    assert seen == [(["status", "headers"], False, "none", 2)] * 2


PLAIN = (("Content-Type", "text/plain"),)
GZIP = (*PLAIN, ("Content-Encoding", "gzip"))


@pytest.mark.parametrize(
    ("function", "blocking"), [(transform, False), (transform, True), (driven, False), (suspended, False)]
)
@pytest.mark.parametrize("stage", ["early", "late"])
def test_bodies_of_errors_are_there_unasked(service: FakeService, stage: Any, function: Any, blocking: bool) -> None:
    """Short ones of known length that can be read; whatever else a service sends passes as it is."""
    coded = gzip.compress(b"it is gone")
    passing = {
        "/fine": Reply(200, PLAIN, b"fine"),
        "/long": Reply(500, PLAIN, b"y" * 65_537),
        "/pieces": Reply(404, PLAIN, [b"it ", b"is gone"]),
        "/coded": Reply(404, GZIP, coded),
        "/events": Reply(404, (("Content-Type", "text/event-stream"),), b"data: x\n\n"),
    }
    for path, reply in {**passing, "/gone": Reply(410, PLAIN, "it is gone"), "/empty": Reply(404, PLAIN, b"")}.items():
        service.on("GET", path, reply)
        service.on("HEAD", path, reply)
    gateway = hooked(service.url)
    gateway.on_response(stage=stage, blocking=blocking)(function)
    with running(gateway) as address:
        answer = ask(address, "/gone", headers={"Accept-Encoding": "gzip"})
        assert (answer.status, json.loads(answer.body)) == (410, {"error": "it is gone", "status": 410})
        assert json.loads(ask(address, "/empty").body) == {"error": "", "status": 404}
        for path, reply in passing.items():
            pieces: Any = reply.body if isinstance(reply.body, list) else [reply.body]
            assert ask(address, path, headers={"Accept-Encoding": "gzip"}).body == b"".join(pieces)
        head = ask(address, "/gone", method="HEAD")
        assert (head.status, head.body) == (410, b"")
    assert service.requests[0].headers["Accept-Encoding"] == "gzip", "services are asked for what the client takes"


def test_bodies_of_errors_are_not_looked_at_if_that_is_said(service: FakeService) -> None:
    service.on("GET", "/gone", Reply(410, PLAIN, "it is gone"))
    gateway = hooked(service.url)
    gateway.on_response(body=False)(transform)
    with running(gateway) as address:
        assert ask(address, "/gone").body == b"it is gone"


@pytest.mark.parametrize("options", [{}, {"body": True}])
@pytest.mark.parametrize("function", [transform, driven, suspended])
def test_what_the_gateway_compresses_is_no_coded_body(service: FakeService, function: Any, options: Any) -> None:
    service.on("GET", "/gone", Reply(410, PLAIN, "it is gone " * 200))
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, policies={"compression": True})
    gateway.add_route(prefix="/", service_url=service.url, auth_required=False)
    gateway.add_middleware(function, **options)
    with running(gateway) as address:
        answer = ask(address, "/gone", headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert json.loads(gzip.decompress(answer.body)) == {"error": "it is gone " * 200, "status": 410}


def test_an_error_that_breaks_off_is_none(service: FakeService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 500 Oh\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf")

        thread = threading.Thread(target=answer)
        thread.start()
        gateway = hooked(f"http://127.0.0.1:{server.getsockname()[1]}")
        gateway.add_middleware(transform)
        with running(gateway) as address:
            assert ask(address, "/").status == 502
        thread.join()


def test_an_error_that_the_cache_has(service: FakeService) -> None:
    fields = (*PLAIN, ("Cache-Control", "max-age=60"))
    service.on("GET", "/gone", Reply(410, fields, "it is gone"))
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
    gateway.add_route(prefix="/", service_url=service.url, auth_required=False, cache=True)
    gateway.add_middleware(transform)
    with running(gateway) as address:
        bodies = [json.loads(ask(address, "/gone").body) for _ in range(3)]
    assert bodies == [{"error": "it is gone", "status": 410}] * 3
    assert len(service.requests) == 1, "it is kept as the service has sent it"


def test_a_coded_body_cannot_be_read_but_replaced(service: FakeService) -> None:
    fields = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"))
    service.on("GET", "/", Reply(200, fields, gzip.compress(b"{}")))
    gateway = hooked(service.url)

    @gateway.on_response(body=True)
    def replace(response: Response, request: Request) -> None:
        assert response.get("body") is None
        response["body"] = {"plain": True}

    with running(gateway) as address:
        answer = ask(address, "/")
    assert (answer.body, answer.headers.get("content-encoding")) == (b'{"plain": true}', None)


def test_answers_of_the_gateway_are_documents(service: FakeService) -> None:
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
    gateway.add_route(path="/there", service_url=service.url, auth_required=False)
    seen: list[Any] = []

    @gateway.middleware
    def look(response: Response, request: Request) -> None:
        seen.append(response["body"]["error"])
        response["body"] = {**response["body"], "see": "/help"}

    with running(gateway) as address:
        answer = ask(address, "/nowhere")
    document = json.loads(answer.body)
    assert (document["status"], document["see"], seen) == (404, "/help", [document["error"]])
    assert answer.headers["content-type"] == "application/problem+json", "it was JSON already"


def test_the_mapping() -> None:
    response = Response.json({"a": 1}, status=201, headers={"X-A": "1"})
    assert dict(response)["body"] == {"a": 1}
    assert (response["status"], response["body"], response["headers"]["x-a"]) == (201, {"a": 1}, "1")
    assert (list(response), len(response), "body" in response, "x" in response, 5 in response) == (
        ["status", "headers", "body"], 3, True, False, False,
    )  # fmt: skip
    response["status"] = 202
    response["headers"] = {"X-B": "2"}
    assert (response.status, response.headers.items()) == (202, [("X-B", "2")])
    response["body"] = "text"
    assert (response.body, response.headers["Content-Type"]) == (b"text", "text/plain; charset=utf-8")
    response["headers"]["Content-Type"] = "text/html"
    response["body"] = "<b>text</b>"
    assert response.headers["Content-Type"] == "text/html", "a text is a text"
    response["body"] = [1, 2]
    assert (response.body, response.headers["Content-Type"], response["body"]) == (
        b"[1, 2]",
        "application/json",
        [1, 2],
    )
    response["body"] = b"\x00\x01"
    assert response.headers["Content-Type"] == "application/json"
    assert response["body"] == "\x00\x01", "what is no JSON is a text, whatever its type says"
    assert (response.get("nothing"), response.get("nothing", 7), response.setdefault("status", 500)) == (None, 7, 202)
    del response["body"]
    assert (response.body, response["body"]) == (b"", "")
    response.update({"status": 400, "body": "no"})
    assert (response.status, response.body) == (400, b"no")


def test_what_a_response_cannot_be_told() -> None:
    response = Response("text")
    with pytest.raises(KeyError, match=r"has `status`, `headers` and `body`, no"):
        response["cookies"] = {}
    with pytest.raises(KeyError):
        response["cookies"]
    with pytest.raises(KeyError):
        del response["status"]
    with pytest.raises(ValueError, match="200 to 599"):
        response["status"] = 99
    with pytest.raises(TypeError, match="a mapping"):
        response["headers"] = 5
    with pytest.raises(ValueError, match="control character"):
        response["headers"] = {"X-A": "1", "X-B": "a\r\nb"}
    assert "X-A" not in response.headers, "nothing has changed"
    with pytest.raises(TypeError, match="bytes or text"):
        response["body"] = 5


def test_all_header_fields_can_be_replaced(service: FakeService) -> None:
    service.on("GET", "/", Reply(200, (("Content-Type", "text/plain"), ("X-Old", "1")), b"hello"))
    gateway = hooked(service.url)

    @gateway.on_response
    def replace(response: Response, request: Request) -> None:
        response["headers"] = {"X-New": "1"}

    with running(gateway) as address:
        answer = ask(address, "/")
    assert (answer.body, answer.headers.get("x-old"), answer.headers["x-new"]) == (b"hello", None, "1")
    assert answer.headers["content-length"] == "5"


def test_from_a_file(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "shop_shapes.py").write_text(
        "def brand(response, request):\n    response['headers']['X-Path'] = request['path']\n"
    )
    file = tmp_path / "pylae.yaml"
    file.write_text(
        "listeners: ['127.0.0.1:0']\n"
        "hooks: [{middleware: 'shop_shapes:brand'}]\n"
        f"routes: [{{path: /a, service_url: '{service.url}', auth_required: false}}]\n"
    )
    with running(Gateway.from_file(file)) as address:
        assert ask(address, "/a").headers["x-path"] == "/a"
        assert ask(address, "/b").headers["x-path"] == "/b"


def test_it_is_no_hook_for_requests() -> None:
    with pytest.raises(HookError, match="cannot be called as"):
        Gateway().on_request(transform)  # type: ignore[type-var]
