"""Hooks that see bodies piece by piece, where both sides speak HTTP/2: every answer comes whole and is ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from pylae import Gateway, Request, Response, Route, Service
from support.h2client import FramePeer
from support.h2servers import Shop, grpc_instance, hypercorn_instance
from support.hooked import running


def in_front_of(url: str, protocol: str) -> Gateway:
    """A gateway whose one service speaks this protocol."""
    gateway = Gateway(listeners=[{"address": "127.0.0.1:0", "http2": True}], workers=1)
    gateway.add_service("one", Service.model_validate({"instances": [url], "protocol": protocol}))
    gateway.add_route(Route(name="all", prefix="/", service="one", auth_required=False))
    return gateway


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A hypercorn, which speaks both versions."""
    with hypercorn_instance() as url:
        yield url


@pytest.mark.parametrize("protocol", ["http1", "http2"])
@pytest.mark.parametrize("size", [0, 5, 100_000, 3_000_000])
def test_a_body_passes_a_hook_whole(url: str, protocol: str, size: int) -> None:
    gateway = in_front_of(url, protocol)

    @gateway.on_response_body
    async def marked(_: Request, __: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield b"<"
        async for chunk in chunks:
            # Cut small, so that much is still to come when the instance has said everything.
            for start in range(0, len(chunk), 10_000):
                yield chunk[start : start + 10_000].replace(b"\0", b"a")
        yield b">"

    with running(gateway) as address, FramePeer(address) as peer:
        streams = [peer.request("GET", f"/bytes/{size}") for _ in range(3)]
        for stream in streams:
            answer = peer.answer(stream)
            assert (answer.status, answer.reset, answer.ended) == (200, None, True)
            assert answer.body == b"<" + b"a" * size + b">"
        assert gateway.stats()["totals"]["incomplete"] == 0


@pytest.mark.parametrize("protocol", ["http1", "http2"])
def test_a_hook_that_swallows_a_body_ends_it_all_the_same(url: str, protocol: str) -> None:
    gateway = in_front_of(url, protocol)

    @gateway.on_response_body
    async def nothing(_: Request, __: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            if not chunk:
                yield chunk

    with running(gateway) as address, FramePeer(address) as peer:
        answer = peer.get("/bytes/100000")
        assert (answer.status, answer.body, answer.ended) == (200, b"", True)


def test_how_a_call_ended_stands_behind_what_the_hook_made() -> None:
    with grpc_instance(Shop()) as url:
        gateway = in_front_of(url, "http2")

        @gateway.on_response_body
        async def passed(_: Request, __: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            async for chunk in chunks:
                for place in range(len(chunk)):
                    yield chunk[place : place + 1]

        with running(gateway) as address, grpc.insecure_channel(address) as channel:
            assert channel.unary_unary("/shop.Shop/Unary")(b"abc") == b"cba"
            down = channel.unary_stream("/shop.Shop/Down")
            assert list(down(b"50")) == [str(number).encode() for number in range(50)]
