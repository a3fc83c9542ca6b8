"""Hooks that look at bodies, whole or as they pass."""

from __future__ import annotations

import asyncio
import contextvars
import operator
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from pylae import Gateway, HookError, Request, Response
from pylae.hooks import Event
from pylae.hooks.events import parse
from pylae.testing import Client, FakeService, Reply
from support.exchanges import ask
from support.hooked import calls, running, until

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@pytest.mark.parametrize("chunked", [False, True])
def test_the_body_of_a_request(gateway: Gateway, service: FakeService, chunked: bool) -> None:
    seen: list[Any] = []

    @gateway.on_request(body=True)
    async def look(request: Request) -> None:
        seen.append((await request.body(), await request.json()))

    @gateway.on_request(body=True, blocking=True)
    def look_too(request: Request) -> None:
        seen.append(request.content)

    body = b'{"a": [1]}'
    with running(gateway) as address:
        assert ask(address, "/", "POST", body=iter([body[:3], body[3:]]) if chunked else body).status == 200
        assert calls(gateway)["look"]["run"] == "coroutine"
    assert seen == [(body, {"a": [1]}), body]
    assert service.requests[0].body == body


def test_a_body_beyond_the_bound_is_refused(gateway: Gateway, service: FakeService) -> None:
    called: list[bytes] = []

    @gateway.on_request(body="1KB", routes="orders")
    def look(request: Request) -> None:
        called.append(request.content)

    with running(gateway) as address:
        assert ask(address, "/orders/1", "POST", body=b"a" * 1024).status == 200
        assert ask(address, "/orders/1", "POST", body=b"a" * 1025).status == 413
        assert ask(address, "/orders/1", "POST", body=iter([b"a" * 40_000])).status == 413
        assert ask(address, "/", "POST", body=b"a" * 40_000).status == 200
    assert [len(body) for body in called] == [1024]
    assert len(service.requests) == 2


def test_a_body_that_nobody_asked_for_is_not_there(gateway: Gateway) -> None:
    errors: list[str] = []

    @gateway.on_request
    async def look(request: Request) -> None:
        try:
            await request.body()
        except HookError as error:
            errors.append(str(error))

    @gateway.on_response
    def look_too(_: Request, response: Response) -> None:
        try:
            response.body  # noqa: B018
        except HookError as error:
            errors.append(str(error))

    with running(gateway) as address:
        assert ask(address, "/", "POST", body=b"a").status == 200
    assert len(errors) == 2
    assert all("body=True" in error for error in errors)


@pytest.mark.parametrize("chunked", [False, True])
def test_the_body_of_a_response(gateway: Gateway, service: FakeService, chunked: bool) -> None:
    service.answer = Reply(200, [("Content-Type", "text/x"), ("X-Kept", "1")], b"hello", chunked=chunked)

    @gateway.on_response(body=True)
    def shout(request: Request, response: Response) -> None:
        if request.query != "look":
            response.body = response.body.upper()

    with running(gateway) as address:
        for target, body in (("/", b"HELLO"), ("/?look", b"hello")):
            reply = ask(address, target, headers={"Accept-Encoding": "gzip"})
            assert (reply.body, reply.headers["Content-Type"], reply.headers["X-Kept"]) == (body, "text/x", "1")
            assert reply.headers["Content-Length"] == "5"
        assert ask(address, "/", "HEAD").status == 200
    assert service.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_response_that_nominates_a_field_is_replaced(gateway: Gateway, service: FakeService) -> None:
    service.answer = Reply(200, [("Connection", "X-Foo"), ("X-Foo", "1")], b"hello")

    @gateway.on_response(body=True)
    def replace(_: Request, response: Response) -> Response:
        assert response.body == b"hello"
        return Response(b"nothing", 404)

    with running(gateway) as address:
        reply = ask(address, "/")
    assert (reply.status, reply.body, "X-Foo" in reply.headers) == (404, b"nothing", False)


def test_a_middleware_sees_the_body_of_the_response(gateway: Gateway) -> None:
    async def reverse(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        await asyncio.sleep(0)
        response.body = response.body[::-1]
        return response

    gateway.add_middleware(reverse, body=True, stage="late")
    with running(gateway) as address:
        assert ask(address, "/").body == b"olleh"


def test_a_response_beyond_the_bound(gateway: Gateway, service: FakeService) -> None:
    service.answer = lambda request: Reply(body=b"a" * int(request.path[1:]))

    @gateway.on_response(body="64KB")
    def look(_: Request, response: Response) -> None:
        response.headers["X-Length"] = str(len(response.body))

    with running(gateway) as address:
        assert ask(address, "/65536").headers["X-Length"] == "65536"
        reply = ask(address, "/65537")
        assert (reply.status, reply.json()["type"]) == (502, "urn:pylae:error:response_too_large")
        assert ask(address, "/1000000").status == 502


async def upper(_: Request, response: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    assert response.status == 200
    async for chunk in chunks:
        yield chunk.upper()
    yield b"!"


@pytest.mark.parametrize("size", [0, 5, 100_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_passes_a_hook(gateway: Gateway, service: FakeService, size: int, chunked: bool) -> None:
    service.answer = Reply(body=b"a" * size, chunked=chunked)
    gateway.on_response_body(upper)
    with running(gateway) as address:
        for _ in range(3):
            reply = ask(address, "/")
            assert reply.body == b"A" * size + b"!"
            assert "Content-Length" not in reply.headers
        assert gateway.stats()["totals"]["incomplete"] == 0


def test_hooks_see_a_body_one_after_the_other(gateway: Gateway, service: FakeService) -> None:
    service.answer = Reply(200, [("Content-Type", "text/plain")], b"body " * 1000)

    @gateway.on_response_body
    async def brackets(request: Request, _: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[str | bytes]:
        yield f"<{request.route} {request.state['who']}>"
        async for chunk in chunks:
            yield chunk

    gateway.on_response_body(upper)

    @gateway.on_request
    def note(request: Request) -> None:
        request.state["who"] = "blue"

    with running(gateway) as address:
        assert ask(address, "/orders/1").body == b"<orders blue>" + b"BODY " * 1000 + b"!"


def test_a_hook_that_sees_a_body_pass_can_look_and_change_nothing_else(gateway: Gateway) -> None:
    refused: list[str] = []

    def attempts(request: Request, response: Response) -> Iterator[Callable[[], Any]]:
        yield lambda: operator.setitem(response.headers, "X-Late", "1")
        yield lambda: response.headers.pop("Content-Type")
        yield lambda: setattr(response, "status", 404)
        yield lambda: setattr(response, "body", b"other")
        yield lambda: request.headers.append("X-Late", "1")
        yield lambda: setattr(request, "path", "/late")
        yield lambda: setattr(request, "query", "late")
        yield lambda: setattr(request, "user", None)
        yield lambda: setattr(request, "service", "shop")

    @gateway.on_response_body
    async def late(request: Request, response: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        for attempt in attempts(request, response):
            try:
                attempt()
            except HookError as error:
                refused.append(str(error))
        yield f"{request.path} {request.service} {response.status} ".encode()
        async for chunk in chunks:
            yield chunk

    with running(gateway) as address:
        reply = ask(address, "/orders/1")
        assert (reply.status, reply.body, reply.headers.get("X-Late")) == (200, b"/orders/1 shop 200 hello", None)
    assert len(refused) == 9 and set(refused) == {
        "a hook that sees the body pass cannot change the exchange: its head is sent already"
    }


def test_context_variables_reach_hooks_that_see_bodies(gateway: Gateway) -> None:
    @gateway.on_request
    def note(request: Request) -> None:
        colour.set(request.query)

    @gateway.on_response_body
    async def tell(_: Request, __: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[str | bytes]:
        async for chunk in chunks:
            yield chunk
        await asyncio.sleep(0)
        yield colour.get()

    with running(gateway) as address:
        assert [ask(address, f"/?{one}").body for one in ("blue", "red")] == [b"helloblue", b"hellored"]


@pytest.mark.parametrize("option", ["timeout", "on_error", "blocking", "waits", "budget", "body"])
def test_options_that_mean_nothing_for_passing_bodies(gateway: Gateway, option: str) -> None:
    value = {"timeout": "1s", "on_error": "skip", "budget": "1s"}.get(option, True)
    with pytest.raises(HookError, match=f"`{option}` cannot be set for it"):
        gateway.on_response_body(**{option: value})(upper)


def test_a_hook_that_reads_ahead(gateway: Gateway, service: FakeService) -> None:
    """It waits for pieces in a task of its own, and for room in the other: both are woken."""
    yielding, go_on = threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"x"
        go_on.wait(20)
        yield b"y"

    service.answer = lambda _: Reply(body=pieces())

    @gateway.on_response_body
    async def ahead(_: Request, __: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async def read() -> bytes:
            return b"".join([chunk async for chunk in chunks])

        reading = asyncio.create_task(read())
        for number in range(400):
            yield b"a" * 65536
            # What the kernel takes though nobody reads.
            if number == 2:
                yielding.set()
        yield await reading

    with running(gateway) as address, Client(address).stream("GET", "/") as reply:
        assert yielding.wait(20)
        go_on.set()
        assert b"".join(reply).lstrip(b"a") == b"xy"


def test_a_body_in_memory_passes_too(gateway: Gateway) -> None:
    gateway.on_response_body(upper)

    @gateway.on_response(body=True)
    def double(_: Request, response: Response) -> None:
        response.body = response.body * 2

    with running(gateway) as address:
        assert ask(address, "/").body == b"HELLOHELLO!"


def test_a_hook_that_fails_in_the_middle_breaks_the_answer_off(
    gateway: Gateway, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service.answer = Reply(body=b"a" * 200_000)

    @gateway.on_response_body
    async def fail(_: Request, __: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield chunk
            raise RuntimeError("in the middle")

    with running(gateway) as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.settimeout(20)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            got = b""
            try:
                while piece := client.recv(65536):
                    got += piece
            except ConnectionResetError:
                pass
        assert got.startswith(b"HTTP/1.1 200") and not got.endswith(b"0\r\n\r\n")
        until(lambda: "in the middle" in caplog.text)
        assert gateway.stats()["totals"]["incomplete"] == 1
        # The instance did nothing wrong.
        (shop,) = gateway.stats()["services"]
        assert [instance["failures"] for instance in shop["instances"]] == [0]


def test_a_hook_takes_no_more_than_its_client_reads(gateway: Gateway, service: FakeService) -> None:
    taken: list[int] = []
    service.answer = Reply(body=b"a" * 50_000_000)

    @gateway.on_response_body
    async def count(_: Request, __: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            taken.append(len(chunk))
            yield chunk

    with running(gateway) as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            held = -1
            while held != len(taken) or not taken:
                held = len(taken)
                threading.Event().wait(0.5)
            # What two sockets' buffers hold, and not the 50 MB.
            assert sum(taken) < 20_000_000
        until(lambda: gateway.stats()["totals"]["incomplete"] == 1)


def test_events_pass_one_by_one(gateway: Gateway, service: FakeService) -> None:
    go_on = threading.Event()

    def stream(_: Any) -> Reply:
        def pieces() -> Iterator[bytes]:
            yield b": hello\n\nevent: price\nid: 1\ndata: 10\n"
            yield b"\ndata: secret\n\n"
            go_on.wait(20)
            yield b"data: two\r\ndata: lines\r\n\r\n"

        return Reply(200, [("Content-Type", "text/event-stream")], pieces())

    service.answer = stream

    @gateway.on_response_events
    async def filtered(_: Request, __: Response, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        async for event in events:
            if event.data == "secret":
                continue
            if event.event == "price":
                event.data = str(event.json() * 2)
            yield event

    with running(gateway) as address, Client(address).stream("GET", "/") as reply:
        lines = reply.lines()
        first = [next(lines) for _ in range(6)]
        # It came before the service has gone on.
        assert first == [": hello", "", "event: price", "id: 1", "data: 20", ""]
        go_on.set()
        assert [line for line in lines if line] == ["data: two", "data: lines"]


def test_other_answers_do_not_pass_hooks_for_events(gateway: Gateway) -> None:
    @gateway.on_response_events
    async def never(_: Request, __: Response, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        async for _event in events:
            raise AssertionError
        yield Event()

    with running(gateway) as address:
        assert ask(address, "/").body == b"hello"


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"data: a\n\n"], [Event("a")]),
        ([b"\xef\xbb\xbfdata:a\r", b"\n\r\n"], [Event("a")]),
        ([b"data: \xc3", b"\xa4\n\n"], [Event("ä")]),
        ([b"data\nid:7\nretry: 5\nretry: x\nother: 1\n\n"], [Event("", id="7", retry=5)]),
        ([b":\n\n: a\n: b\n\n"], [Event(comment=""), Event(comment="a\nb")]),
        ([b"data: cut off\n"], []),
        ([b"\n\n\n"], []),
    ],
)
def test_events_are_parsed(pieces: list[bytes], expected: list[Event]) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def collect() -> list[Event]:
        return [event async for event in parse(chunks())]

    assert asyncio.run(collect()) == expected


def test_an_event_is_bounded() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1025):
            yield b"data: " + b"a" * 1024 + b"\n"

    async def collect() -> list[Event]:
        return [event async for event in parse(chunks())]

    with pytest.raises(HookError, match="more than"):
        asyncio.run(collect())


def test_an_event_is_encoded() -> None:
    assert Event("a\nb", "e", "1", 10, "c").encode() == b": c\nevent: e\nid: 1\nretry: 10\ndata: a\ndata: b\n\n"
    with pytest.raises(ValueError, match="cannot contain a line break"):
        Event(event="a\nb").encode()
