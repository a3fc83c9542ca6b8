"""Traces of single exchanges: of the next ones that somebody waits for, and of requests that carry a token."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import ConfigDict, Field
from starlette.exceptions import HTTPException

from pylae.access.scopes import OPERATE
from pylae.admin.body import NUMBER, Body
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.cli import traced
from pylae.errors import EngineError

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "traces"

FIELD = "X-Pylae-Trace"
"""The request field that carries a token."""
MOST = 100
"""Most exchanges to wait for at once."""
LONGEST = 3600.0
"""Longest wait in seconds."""
TOKEN_SECONDS = 300
"""Longest life of a token in seconds."""
_LOOK = 0.1
"""Seconds between two looks while someone waits."""
_SIGN_OF_LIFE = 100
"""Looks without news after which a comment is sent, so that the server notices a lost connection."""
_EVENT = {
    "type": "object",
    "properties": {"event": {"enum": ["trace", "over"]}, "data": {"type": "string"}},
    "required": ["event", "data"],
}
_EXAMPLE = 'event: trace\ndata: {"id": "0123…", "status": 200, "steps": []}\n\nevent: over\ndata: 1\n\n'

_Id = Annotated[str, Path(description="Id of the trace.", pattern="^[0-9a-f]{32}$", examples=["0" * 32])]


class KeptTrace(Body):
    """A trace that is kept."""

    id: str
    """Its id."""
    timestamp: str
    """When the head of the request was complete."""
    method: str | None
    """Method of the request."""
    path: str | None
    """Path of the request."""
    route: str | None
    """The route that took it."""
    status: int
    """Status of the answer; 499 if the client went away before."""
    duration: float
    """Seconds until the answer was sent."""


class Traces(Body):
    """The traces that are kept: at most 256, for ten minutes."""

    traces: list[KeptTrace]
    """The traces, latest first."""


class TokenWanted(Body):
    """How long a token is good."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"seconds": 60}]})

    seconds: Annotated[int, Field(ge=1, le=TOKEN_SECONDS), NUMBER] = TOKEN_SECONDS
    """Seconds until it expires."""


class TraceToken(Body):
    """A token that asks for the trace of one request."""

    id: str
    """Id of the trace that there will be."""
    field: str
    """The request field that carries the token."""
    token: str
    """The token. It is good for one request to this gateway."""
    expires: float
    """When it expires, in seconds since 1970."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/traces")

    def completed(text: str) -> dict[str, Any]:
        """Adds to a trace where in the configuration everything was written."""
        trace: dict[str, Any] = json.loads(text)
        with runtime.changing:
            plan, builder = dict(runtime.plan), runtime.builder
        return traced.complete(trace, plan, builder)

    @topic.get("")
    @needs(OPERATE)
    def list_traces() -> Traces:
        """Lists the traces that are kept, latest first."""
        keys = ("timestamp", "method", "path", "route", "status", "duration")
        found = ((one["id"], one["exchange"]) for one in runtime.engine.traces())
        return Traces(traces=[KeptTrace(id=name, **{key: line[key] for key in keys}) for name, line in found])

    @topic.get(
        "/watch",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "The events, until all traces were sent or the time is over.",
                "content": {"text/event-stream": {"itemSchema": _EVENT, "example": _EXAMPLE}},
            },
            **refusals({503: "32 clients are waiting already; `Retry-After` says when to try again."}),
        },
    )
    @needs(OPERATE)
    async def watch_exchanges(
        route: Annotated[str | None, Query(max_length=200, description="Name of the route.")] = None,
        method: Annotated[str | None, Query(max_length=32, description="Method of the request.")] = None,
        path: Annotated[
            str | None, Query(max_length=2000, description="Path of the request; `/orders/*` stands for a beginning.")
        ] = None,
        status: Annotated[
            str | None, Query(pattern="^[1-5]([0-9]{2}|xx)$", description="Status of the answer, as `404` or `5xx`.")
        ] = None,
        header: Annotated[
            list[Annotated[str, Field(max_length=500)]],
            Query(max_length=8, description="A field that the request has: `NAME`, or `NAME: VALUE`."),
        ] = [],  # noqa: B006 (FastAPI copies it)
        count: Annotated[int, Query(ge=1, le=MOST, description="How many exchanges.")] = 1,
        seconds: Annotated[
            float, Query(alias="timeout", gt=0, le=LONGEST, description="Seconds to wait for them.")
        ] = 60.0,
    ) -> StreamingResponse:
        """Waits for the next exchanges that fit, and streams a trace of each, as server-sent events: `trace` with the
        trace as JSON, and at the end `over` with the number of traces.

        Exchanges are looked at from when the answer of this request begins. Only those of this node are seen.
        """
        fields = [[name.strip(), value.strip() if colon else None] for name, colon, value in map(_parts, header)]
        wanted = {"route": route, "method": method, "path": path, "status": status, "headers": fields}
        try:
            watch = await asyncio.to_thread(
                runtime.engine.watch, {"filter": wanted, "count": count, "seconds": seconds}
            )
        except EngineError as error:
            raise HTTPException(503, str(error), {"Retry-After": "5"}) from None
        return StreamingResponse(_events(watch), media_type="text/event-stream")

    async def _events(watch: int) -> AsyncIterator[bytes]:
        engine = runtime.engine
        told = looks = 0
        try:
            yield b": watching\n\n"
            while True:
                try:
                    progress = await asyncio.to_thread(engine.watched, watch)
                except EngineError:
                    return
                for name in progress["traces"][told:]:
                    told += 1
                    if text := await asyncio.to_thread(engine.trace, name):
                        trace = await asyncio.to_thread(completed, text)
                        yield f"event: trace\ndata: {json.dumps(trace)}\n\n".encode()
                if progress["over"]:
                    yield f"event: over\ndata: {told}\n\n".encode()
                    return
                looks += 1
                if looks % _SIGN_OF_LIFE == 0:
                    yield b": nothing new\n\n"
                await asyncio.sleep(_LOOK)
        finally:
            engine.end_watch(watch)

    @topic.get("/{trace}", responses=refusals({404: "There is no such trace, or it is no longer kept."}))
    @needs(OPERATE)
    def get_trace(trace: _Id) -> dict[str, Any]:
        """Returns a trace: what was decided about an exchange and why, step by step, with times in seconds."""
        text = runtime.engine.trace(trace)
        if text is None:
            raise HTTPException(404, "there is no trace with this id, or it is no longer kept")
        return completed(text)

    @topic.post("", status_code=201)
    @needs(OPERATE)
    def create_trace_token(wanted: TokenWanted) -> TraceToken:
        """Creates a token that makes this gateway trace the request that carries it in `X-Pylae-Trace`."""
        expires = time.time() + wanted.seconds
        name, token = runtime.engine.issue_trace_token(wanted.seconds)
        return TraceToken(id=name, field=FIELD, token=token, expires=expires)

    return topic


def _parts(header: str) -> tuple[str, str, str]:
    return header.partition(":")
