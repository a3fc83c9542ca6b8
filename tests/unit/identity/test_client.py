"""Connections that are kept for services that are asked about requests."""

from __future__ import annotations

import asyncio
import threading

from pylae.identity.client import ServiceClient
from support.instance import RawInstance
from support.peer import PATIENCE, Message, Peer


def test_a_loop_that_ends_right_after_an_answer_keeps_no_connection() -> None:
    ended = threading.Event()

    def once(peer: Peer, _: Message) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        if peer.at_end():
            ended.set()

    async def ask_and_end() -> None:
        await client.call("GET", (), patience=PATIENCE, most=100)
        # As loops end. What looks after the connection has not begun.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    with RawInstance(once) as service:
        client = ServiceClient(service.url)
        asyncio.run(ask_and_end())
        assert ended.wait(PATIENCE)
