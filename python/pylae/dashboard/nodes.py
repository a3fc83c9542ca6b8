"""The gateways that the dashboard shows. One poller asks each of them, for all who look, while somebody does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from pylae.cli.remote import Remote
from pylae.dashboard.client import AdminClient, RefusedError, UnreachableError
from pylae.dashboard.figures.routes import RouteFigures


@dataclass(frozen=True, slots=True)
class Topic:
    """Something that gateways are asked for again and again.

    Attributes:
        path: What is asked, with its query.
        interval: Seconds between two questions.
        by_revision: Whether the answer only changes with the configuration, so that it is asked for when that does.
        first: Seconds between the first question and the second one, if that is not `interval`.
    """

    path: str
    interval: float
    by_revision: bool = False
    first: float | None = None


TOPICS = {
    "status": Topic("/status", 5),
    "health": Topic("/health", 2),
    "summary": Topic("/metrics/summary", 2),
    "services": Topic("/services", 2),
    "breakers": Topic("/breakers", 2),
    "metrics": Topic("/metrics", 10, first=2.0),
    "timeline": Topic("/timeline", 5),
    "routes": Topic("/routes", 2, by_revision=True),
    "costs": Topic("/costs", 5),
    "maintenance": Topic("/maintenance", 5),
    "history": Topic("/history", 10),
    "exchanges": Topic("/exchanges", 2),
    "limits": Topic("/limits", 10),
    "cache": Topic("/cache", 5),
    "nodes": Topic("/nodes", 5),
    "fleet": Topic("/fleet", 2),
    "tokens": Topic("/tokens", 10),
    "audit": Topic("/audit", 10),
    "revocations": Topic("/revocations", 10),
}
"""What pages can follow, by name. What they follow may have a query: `exchanges?status=403`."""
_ALWAYS = {"health": "always=true"}
_RETRY = (2.0, 4.0, 8.0)
"""Seconds until a gateway that does not answer is asked again, the last one from then on."""
_MOST_AT_ONCE = 3
"""Questions to a gateway at once."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer to a topic.

    Attributes:
        value: The JSON; None if the gateway refused.
        at: When it came, in seconds since 1970.
        refused: Why it was refused, if it was.
        missing: Whether there is no such thing at this gateway (404).
    """

    value: Any
    at: float
    refused: str | None = None
    missing: bool = False


@dataclass(eq=False, slots=True)
class Watch:
    """Somebody who looks at a gateway: at which topics, with which token, and who is told of news."""

    topics: frozenset[str]
    token: str | None
    told: Callable[[], None]


class Node:
    """A gateway."""

    def __init__(self, name: str, remote: Remote, *, trusted: bool) -> None:
        """`trusted` says that the dashboard itself may ask it, with the token of `remote` or at a local socket."""
        self.name = name
        self.client = AdminClient(remote)
        self.trusted = trusted
        self.token = remote.token
        """The dashboard's own token for it, if it needs one."""
        self.trouble: str | None = None
        """Why it does not answer; None if it does, or has not been asked."""
        self.since: float | None = None
        """When it stopped answering, in seconds since 1970."""
        self.figures = RouteFigures()
        """Its figures by route, if the topic `metrics` is followed."""
        self._seen: dict[str, Seen] = {}
        self._due: dict[str, float] = {}
        self._revisions: dict[str, str | None] = {}
        self._watches: set[Watch] = set()
        self._poller: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._failures = 0

    @property
    def polling(self) -> bool:
        """Whether it is being asked."""
        return self._poller is not None and not self._poller.done()

    def seen(self, topic: str) -> Seen | None:
        """The latest answer to a topic; None if there is none yet."""
        return self._seen.get(topic)

    def value(self, topic: str, default: Any = None) -> Any:
        """The JSON of the latest answer to a topic."""
        found = self._seen.get(topic)
        return default if found is None or found.value is None else found.value

    def add(self, watch: Watch) -> None:
        """Has its topics asked for from now on."""
        self._watches.add(watch)
        self._hurry.set()
        if not self.polling:
            self._poller = asyncio.create_task(self._poll(), name=f"poller of {self.name}")

    def discard(self, watch: Watch) -> None:
        """Ends that."""
        self._watches.discard(watch)
        self._hurry.set()

    def hurry(self) -> None:
        """Looks at once whether something is wanted that has not been asked for."""
        self._hurry.set()

    def refresh(self, *topics: str) -> None:
        """Has topics asked for at once, after a change."""
        for topic in topics or tuple(self._due):
            self._due.pop(topic, None)
        self._hurry.set()

    async def _poll(self) -> None:
        while self._watches:
            self._hurry.clear()
            wanted = frozenset().union(*(watch.topics for watch in self._watches))
            now = time.monotonic()
            due = [topic for topic in sorted(wanted, key=_rank) if self._due.get(topic, 0.0) <= now]
            if due:
                await self._ask(due)
                for watch in tuple(self._watches):
                    watch.told()
            times = [self._due.get(topic, 0.0) for topic in wanted]
            self._forget(wanted)
            pause = max(0.05, min(times, default=now + 1.0) - time.monotonic())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), pause)
        # What is kept would be old when somebody looks again.
        for kept in (self._seen, self._due, self._revisions):
            kept.clear()
        self.figures = RouteFigures()

    def _forget(self, wanted: AbstractSet[str]) -> None:
        """Forgets answers that nobody follows any more; what has a query has no bound otherwise."""
        for topic in [topic for topic in self._seen if topic not in wanted]:
            for kept in (self._seen, self._due, self._revisions):
                kept.pop(topic, None)
            if topic == "metrics":
                self.figures = RouteFigures()

    async def _ask(self, due: Sequence[str]) -> None:
        # A gateway that is down is asked one question.
        first, rest = due[0], due[1:]
        if not await self._one(first):
            delay = _RETRY[min(self._failures, len(_RETRY)) - 1]
            for topic in due:
                self._due[topic] = time.monotonic() + delay
            return
        room = asyncio.Semaphore(_MOST_AT_ONCE)

        async def one(topic: str) -> None:
            async with room:
                await self._one(topic)

        await asyncio.gather(*(one(topic) for topic in rest))

    async def _one(self, topic: str) -> bool:
        """Asks for a topic, and returns whether the gateway answers."""
        name, _, query = topic.partition("?")
        told = TOPICS[name]
        interval = told.interval if told.first is None or topic in self._seen else told.first
        self._due[topic] = time.monotonic() + interval
        revision = self.value("status", {}).get("revision")
        if told.by_revision and revision is not None and self._revisions.get(topic) == revision:
            return True
        asked = "&".join(filter(None, (query, _ALWAYS.get(name))))
        try:
            value = await self.client.ask(f"{told.path}?{asked}" if asked else told.path, self._credential())
        except UnreachableError as error:
            self._failures += 1
            self.trouble = str(error)
            self.since = self.since or time.time()
            return False
        except RefusedError as error:
            self._seen[topic] = Seen(None, time.time(), error.detail, error.status == 404)
        else:
            if name == "metrics":
                # The page is large; its figures are not.
                self.figures.add(value)
                value = None
            self._seen[topic] = Seen(value, time.time())
            self._revisions[topic] = value.get("revision") if told.by_revision else None
        self._failures, self.trouble, self.since = 0, None, None
        return True

    def _credential(self) -> str | None:
        if self.trusted:
            return self.token
        return next((watch.token for watch in self._watches if watch.token is not None), None)


def _rank(topic: str) -> tuple[bool, str]:
    """The status first: by it, it shows whether the gateway answers, and with which revision."""
    return topic != "status", topic


def nodes_of(remotes: Sequence[tuple[str, Remote, bool]]) -> list[Node]:
    """The gateways with these names, each told apart by a number if its name occurs twice."""
    taken: dict[str, int] = {}
    found = []
    for name, remote, trusted in remotes:
        taken[name] = count = taken.get(name, 0) + 1
        found.append(Node(name if count == 1 else f"{name} ({count})", remote, trusted=trusted))
    return found
