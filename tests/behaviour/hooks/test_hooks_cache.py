"""Hooks on routes with a cache: they stand behind it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from pylae import Gateway, Request, Response, Route
from pylae.testing import FakeService
from support.exchanges import ask
from support.hooked import running, until
from support.peer import Peer


def cached(service: FakeService) -> Gateway:
    """A gateway whose every path is cached."""
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=2)
    cache = {"wait": "1m"}
    gateway.add_route(
        Route(name="all", prefix="/", service="shop", service_url=service.url, auth_required=False, cache=cache)
    )
    return gateway


def test_those_who_wait_for_a_request_that_a_hook_ends_go_to_the_hook_together(service: FakeService) -> None:
    clients = 20
    gateway = cached(service)
    inside: list[asyncio.AbstractEventLoop] = []
    released, together = asyncio.Event(), asyncio.Event()

    @gateway.on_request(timeout="1m")
    async def refuse(_: Request) -> Response:
        inside.append(asyncio.get_running_loop())
        if len(inside) == clients:
            together.set()
        # Only if the others do not wait for each other any more are they all here at once.
        await (released if len(inside) == 1 else together).wait()
        return Response("no", 403)

    with running(gateway) as address, ExitStack() as stack:
        peers = [stack.enter_context(Peer.connect(address)) for _ in range(clients)]
        for peer in peers:
            peer.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: len(inside) == 1 and gateway.stats()["totals"]["in_flight"] == clients)
        inside[0].call_soon_threadsafe(released.set)
        assert {peer.read_answer().status for peer in peers} == {403}
    assert service.requests == []


def test_a_check_warns_of_hooks_that_answers_from_memory_do_not_meet(service: FakeService) -> None:
    gateway = cached(service)
    assert gateway.check() == []

    @gateway.on_response
    def brand(_: Request, response: Response) -> None:
        response.headers["X-Brand"] = "1"

    (warning,) = gateway.check()
    assert "brand" in warning.message
    assert "responses from the cache" in warning.message
    with running(gateway) as address:
        # As it says.
        assert [ask(address, "/a").headers.get("X-Brand") for _ in range(2)] == ["1", None]
