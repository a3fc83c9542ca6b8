"""Connections that are kept for services that are asked about requests."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pylae.identity.client import ServiceClient
from support.instance import RawInstance
from support.peer import PATIENCE, Message, Peer


@pytest.mark.parametrize("later", [0, 1])
def test_a_loop_that_ends_keeps_no_connection(later: int) -> None:
    """Not that of the last answer, and not those of answers that come `later`, while all its tasks end."""
    ended = threading.Semaphore(0)

    def once(peer: Peer, _: Message) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        if peer.at_end():
            ended.release()

    async def ask() -> None:
        await client.call("GET", (), patience=PATIENCE, most=100)

    async def ask_and_end() -> None:
        await ask()
        # As loops end. What looks after the connection has not begun.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for _ in range(later):
            await ask()
        # The turn in which connections end.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with RawInstance(once) as service:
        client = ServiceClient(service.url)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask_and_end())
        loop.close()
        for _ in service.peers:
            assert ended.acquire(timeout=PATIENCE)
