"""The pollers: each gateway is asked once for all who look, only while somebody does, and none keeps the others up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pylae.cli.remote import Remote
from pylae.dashboard import nodes
from pylae.dashboard.nodes import Node, Topic, Watch


class Gateway:
    """What answers like an admin API, and counts."""

    def __init__(self) -> None:
        self.asked = Counter[str]()
        self.tokens = set[str]()
        self.revision = "1"
        self.refuses = False
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.asked[head.split()[1]] += 1
                self.tokens |= {line[22:] for line in head.split("\r\n") if line.startswith("Authorization: Bearer ")}
                body = b'{"detail": "no"}' if self.refuses else b'{"revision": "%s"}' % self.revision.encode()
                status = "403 Forbidden" if self.refuses else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def end(self) -> None:
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def running(gateway: Gateway, **options: bool) -> AsyncIterator[Node]:
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    node = Node("one", Remote(f"127.0.0.1:{port}", "own"), **{"trusted": True, **options})
    try:
        yield node
    finally:
        server.close()
        await gateway.end()


class Looker:
    """Somebody who looks, and waits for news."""

    def __init__(self, node: Node, *topics: str, token: str | None = None) -> None:
        self.news = asyncio.Event()
        self.watch = Watch(frozenset(topics), token, self.news.set)
        self.node = node
        node.add(self.watch)

    async def hears(self) -> None:
        async with asyncio.timeout(20):
            await self.news.wait()
        self.news.clear()

    def leaves(self) -> None:
        self.node.discard(self.watch)


async def settled(node: Node) -> None:
    """Waits until its poller, which nobody needs any more, has ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    async with asyncio.timeout(20):
        await asyncio.gather(*(task for task in others if task.get_name().startswith("poller")))
    assert not node.polling


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """No topic is asked for a second time by itself."""
    monkeypatch.setattr(
        nodes, "TOPICS", {name: Topic(one.path, 3600, one.by_revision) for name, one in nodes.TOPICS.items()}
    )


def test_all_who_look_share_a_question() -> None:
    async def main() -> None:
        gateway = Gateway()
        async with running(gateway) as node:
            first = Looker(node, "status", "services")
            await first.hears()
            second = Looker(node, "status", "services", "breakers")
            await second.hears()
            assert gateway.asked == {"/status": 1, "/services": 1, "/breakers": 1}
            assert gateway.tokens == {"own"}
            first.leaves()
            second.leaves()
            await settled(node)
            assert node.seen("services") is None

    asyncio.run(main())


def test_nothing_is_asked_when_nobody_looks() -> None:
    async def main() -> None:
        gateway = Gateway()
        async with running(gateway) as node:
            looker = Looker(node, "status")
            await looker.hears()
            looker.leaves()
            await settled(node)
            node.refresh()
            await asyncio.sleep(0)
            assert not node.polling
            assert gateway.asked.total() == 1
            again = Looker(node, "status")
            await again.hears()
            assert gateway.asked.total() == 2
            again.leaves()
            await settled(node)

    asyncio.run(main())


def test_a_gateway_that_is_down_is_asked_one_question() -> None:
    async def main() -> None:
        gateway = Gateway()
        async with running(gateway) as node:
            pass
        looker = Looker(node, "status", "services", "breakers")
        await looker.hears()
        assert node.trouble is not None and "cannot be reached" in node.trouble
        assert node.since is not None
        assert gateway.asked.total() == 0
        looker.leaves()
        await settled(node)

    asyncio.run(main())


def test_what_is_refused_says_why() -> None:
    async def main() -> None:
        gateway = Gateway()
        gateway.refuses = True
        async with running(gateway) as node:
            looker = Looker(node, "status")
            await looker.hears()
            seen = node.seen("status")
            assert seen is not None and seen.refused == "no" and seen.value is None
            assert node.trouble is None
            looker.leaves()
            await settled(node)

    asyncio.run(main())


def test_routes_are_asked_for_when_the_configuration_changes() -> None:
    async def main() -> None:
        gateway = Gateway()
        async with running(gateway) as node:
            looker = Looker(node, "status", "routes")
            await looker.hears()
            node.refresh("routes")
            await looker.hears()
            assert gateway.asked["/routes"] == 1
            gateway.revision = "2"
            node.refresh("status", "routes")
            await looker.hears()
            assert gateway.asked["/routes"] == 2
            looker.leaves()
            await settled(node)

    asyncio.run(main())


def test_who_is_not_trusted_lends_a_token() -> None:
    async def main() -> None:
        gateway = Gateway()
        async with running(gateway, trusted=False) as node:
            looker = Looker(node, "status", token="lent")
            await looker.hears()
            assert gateway.tokens == {"lent"}
            looker.leaves()
            await settled(node)

    asyncio.run(main())
