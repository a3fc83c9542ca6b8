"""The latest exchanges, and a live tail of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from pylae.access.scopes import OPERATE, READ
from pylae.admin.body import Body
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.errors import EngineError

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "exchanges"

MOST_WATCHERS = 32
"""Most live tails at once."""
WAITING = 4096
"""Most exchanges in the queue of a watcher. Beyond this, the oldest are dropped and counted."""
_ALL = 1024
"""Exchanges of each worker that are looked through."""
_LOOK = 0.2
"""Seconds between two looks while someone watches."""
_EVENT = {
    "type": "object",
    "properties": {"event": {"enum": ["exchange", "missed"]}, "data": {"type": "string"}},
    "required": ["event", "data"],
}
_EXAMPLE = 'event: exchange\ndata: {"method": "GET", "path": "/orders/7", "status": 200}\n\n'
_SIGN_OF_LIFE = 50
"""Looks without news after which a comment is sent, so that the server notices a lost connection."""


class Exchanges(Body):
    """The latest exchanges."""

    exchanges: list[dict[str, Any]]
    """Exchanges in the format of the access log, latest first. Credentials are masked."""
    passed_over: int
    """Number of exchanges since the start that were not recorded. In busy seconds only some are."""


class Watchers:
    """The watchers, each with a bounded queue. Without watchers, the engine is not asked."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()
        self._missed: dict[asyncio.Queue[dict[str, Any]], int] = {}
        self._task: asyncio.Task[None] | None = None

    async def watch(self) -> AsyncIterator[bytes]:
        """Yields server-sent events, one per exchange, until the client leaves or the gateway stops."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING)
        self._queues.add(queue)
        self._missed[queue] = 0
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._look())
            yield b": watching\n\n"
            while not self._task.done() or not queue.empty():
                try:
                    exchange = await asyncio.wait_for(queue.get(), _LOOK * _SIGN_OF_LIFE)
                except TimeoutError:
                    yield b": nothing new\n\n"
                    continue
                if missed := self._missed[queue]:
                    self._missed[queue] = 0
                    yield f"event: missed\ndata: {missed}\n\n".encode()
                yield f"event: exchange\ndata: {json.dumps(exchange)}\n\n".encode()
        finally:
            self._queues.discard(queue)
            del self._missed[queue]

    async def _look(self) -> None:
        engine = self._runtime.engine
        cursors = (await asyncio.to_thread(engine.exchanges, (), 0, watch=True))["cursors"]
        while self._queues:
            await asyncio.sleep(_LOOK)
            try:
                found = await asyncio.to_thread(engine.exchanges, cursors, watch=True)
            except EngineError:
                return
            cursors = found["cursors"]
            for queue in self._queues:
                self._missed[queue] += found["missed"]
            for exchange in sorted(found["exchanges"], key=_when):
                for queue in self._queues:
                    if queue.full():
                        queue.get_nowait()
                        self._missed[queue] += 1
                    queue.put_nowait(exchange)

    @property
    def full(self) -> bool:
        """Whether no more watchers are accepted."""
        return len(self._queues) >= MOST_WATCHERS


def _fits(exchange: dict[str, Any], wanted: dict[str, str], status: str | None, text: str | None) -> bool:
    if any(str(exchange.get(key)) != value for key, value in wanted.items()):
        return False
    if status is not None and not str(exchange.get("status")).startswith(status.removesuffix("xx")):
        return False
    return text is None or any(text.lower() in str(value).lower() for value in exchange.values())


def _when(exchange: dict[str, Any]) -> str:
    return str(exchange["timestamp"])


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/exchanges")
    watchers = Watchers(runtime)

    @topic.get("")
    @needs(READ)
    def list_exchanges(
        most: Annotated[int, Query(ge=1, le=1000, description="Most exchanges to list.")] = 100,
        status: Annotated[
            str | None,
            Query(pattern=r"^[1-5](\d\d|xx)$", description="Only those with this status, such as 403 or 5xx."),
        ] = None,
        user: Annotated[str | None, Query(max_length=1000, description="Only those of this user or consumer.")] = None,
        route: Annotated[str | None, Query(max_length=1000, description="Only those of this route.")] = None,
        service: Annotated[str | None, Query(max_length=1000, description="Only those of this service.")] = None,
        text: Annotated[
            str | None, Query(max_length=1000, description="Only those with this text in a field, whatever its case.")
        ] = None,
    ) -> Exchanges:
        """Lists the latest exchanges, or the latest ones of a kind. In busy seconds only some are recorded."""
        same = {"user": user, "route": route, "service": service}
        wanted = {key: value for key, value in same.items() if value is not None}
        filtered = bool(wanted) or status is not None or text is not None
        found = runtime.engine.exchanges((), _ALL if filtered else most)
        exchanges = [one for one in found["exchanges"] if not filtered or _fits(one, wanted, status, text)]
        exchanges.sort(key=_when, reverse=True)
        return Exchanges(exchanges=exchanges[:most], passed_over=found["passed_over"])

    @topic.get(
        "/tail",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "The events, until the client leaves or the gateway stops.",
                "content": {"text/event-stream": {"itemSchema": _EVENT, "example": _EXAMPLE}},
            },
            **refusals({503: "32 clients are watching already; `Retry-After` says when to try again."}),
        },
    )
    @needs(OPERATE)
    async def tail_exchanges() -> StreamingResponse:
        """Streams exchanges as they end, as server-sent events: `exchange` with a JSON object, `missed` with a
        number.
        """
        if watchers.full:
            raise HTTPException(503, "too many clients are watching already", {"Retry-After": "5"})
        return StreamingResponse(watchers.watch(), media_type="text/event-stream")

    return topic
