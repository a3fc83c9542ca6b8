"""The audit: who has changed what over the admin API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BeforeValidator, Field

from pylae.access.scopes import READ
from pylae.admin.body import Body
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "audit"


def _time(text: str) -> datetime:
    # Otherwise a number is a time too, of which nobody knows the unit.
    return datetime.fromisoformat(text.upper())


_Time = Annotated[AwareDatetime, BeforeValidator(_time, json_schema_input_type=AwareDatetime)]
_Id = Annotated[str, Field(pattern=r"^[0-9TZa-f.-]{1,64}$")]


class Line(Body):
    """A call that has changed something, or was to."""

    id: str
    """Id of the line. Ids sort by time."""
    time: str
    """When it was answered (ISO 8601, UTC)."""
    who: str
    """Name of the token; `admin` for the gateway's own, `local` for the socket in its state folder."""
    token: str | None
    """Id of the token; null for the other two."""
    user: str | None
    """User of the operating system; null but for `local`."""
    address: str | None
    """Where the call came from; null at a socket."""
    node: str
    """Name of the node that was called."""
    method: str
    """Method of the call."""
    path: str
    """Path as in the OpenAPI document."""
    arguments: dict[str, Any]
    """Parameters, and those fields of the body that are no secrets."""
    status: int
    """Status of the answer. From 400 on it was refused, and nothing was changed."""
    detail: str | None
    """Why it was refused; null if it was not."""
    times: int
    """How often. The same refusal, over and over, is one line at once, and another one after ten minutes."""


class Lines(Body):
    """Lines of the audit, latest first."""

    lines: list[Line]
    """The lines."""
    next: str | None
    """Where the next page begins: give it as `before`. Null if this is the last one."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/audit")

    @topic.get("", responses=refusals({503: "The store does not answer."}))
    @needs(READ)
    def list_audit(
        most: Annotated[int, Query(description="How many lines.", ge=1, le=1000)] = 100,
        who: Annotated[str | None, Query(description="Only those of the caller with this name.", max_length=64)] = None,
        since: Annotated[_Time | None, Query(description="Only those that were not before this time.")] = None,
        path: Annotated[str | None, Query(description="Only paths that begin like this.", max_length=200)] = None,
        before: Annotated[_Id | None, Query(description="Only lines before the one with this id.")] = None,
        after: Annotated[_Id | None, Query(description="Only lines after the one with this id.")] = None,
    ) -> Lines:
        """Lists the calls that changed something, or lacked the scope to do so, latest first."""
        begin = None
        # The first and the last day that there are cannot be said in UTC, and no line is from so long ago.
        if since is not None and 1970 < since.year < 9999:
            begin = since.astimezone(UTC).isoformat(timespec="microseconds")[:26].replace(":", "-")

        def matches(line: dict[str, Any]) -> bool:
            return (who is None or line["who"] == who) and (path is None or line["path"].startswith(path))

        after = max(filter(None, (begin, after)), default=None)
        found = runtime.access.audit.found(most + 1, matches, after=after, before=before)
        more = len(found) > most
        listed = [Line(id=one.id, **one.line) for one in found[:most]]
        return Lines(lines=listed, next=listed[-1].id if more else None)

    return topic
