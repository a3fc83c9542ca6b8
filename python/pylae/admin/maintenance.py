"""Maintenance: what is switched to 503, and how to switch it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import AfterValidator, ConfigDict, Field
from starlette.exceptions import HTTPException

from pylae.access.scopes import OPERATE, READ
from pylae.admin.body import Body
from pylae.admin.caller import caller_of
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.admin.parameters import RouteName, ServiceName
from pylae.errors import StoreError
from pylae.maintenance.switch import (
    LONGEST,
    MOST_TEXT,
    RETRY_AFTER,
    TEXT,
    Scope,
    Switch,
    text_problem,
)
from pylae.maintenance.switches import TooManyError
from pylae.units import Duration, between

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "maintenance"

_UNKNOWN = {404: "There is no such service or route."}
_FULL = {409: "As much is switched as can be."}
_NO_NAME = {404: "That cannot be a name: it has a line break."}
_UNKEPT = {503: "The store or the state folder cannot keep it, so nothing was changed."}


def _text(text: str) -> str:
    if problem := text_problem(text):
        raise ValueError(problem)
    return text


class Notice(Body):
    """What clients are told."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "back at six", "retry_after": "10m"}]})

    text: Annotated[str, Field(min_length=1, max_length=MOST_TEXT), AfterValidator(_text)] = TEXT
    """The detail of the answer: one line, without control characters. Pages show it as text, never as HTML."""
    retry_after: Annotated[Duration, between(timedelta(seconds=1), timedelta(seconds=LONGEST))] = timedelta(
        seconds=RETRY_AFTER
    )
    """When clients may try again (`Retry-After`), in whole seconds."""


class Switched(Body):
    """Something that is switched to maintenance."""

    scope: Literal["gateway", "service", "route"]
    """What kind of thing it is."""
    name: str
    """Name of the service or route; empty for the gateway."""
    text: str
    """What clients are told."""
    retry_after: int
    """Seconds after which clients may try again."""
    since: str
    """When it was switched, in UTC."""
    by: str
    """Who has switched it."""
    known: bool
    """Whether this gateway has such a service or route now. The switch counts again once it has."""


class Maintenance(Body):
    """What is switched to maintenance."""

    switches: list[Switched]
    """All switches: that of the gateway first, then services and routes by name."""
    trouble: str | None
    """Why the store that is shared with other gateways cannot be read. What is switched stays as it is then."""


class MaintenanceChange(Body):
    """The result of a change."""

    changed: bool
    """Whether it is a change."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/maintenance")

    def known(scope: Scope, name: str) -> bool:
        return scope == "gateway" or any(one["name"] == name for one in runtime.plan[f"{scope}s"])

    def switch(request: Request, scope: Scope, name: str, told: Notice) -> MaintenanceChange:
        if not known(scope, name):
            raise HTTPException(404, f"there is no such {scope}")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        switched = Switch(
            scope, name, told.text, math.ceil(told.retry_after.total_seconds()), now, caller_of(request).name
        )
        try:
            return MaintenanceChange(changed=runtime.switches.switch(switched))
        except TooManyError as error:
            raise HTTPException(409, str(error)) from None
        except (StoreError, OSError) as error:
            raise _unkept(error) from None

    def end(scope: Scope, name: str) -> MaintenanceChange:
        try:
            return MaintenanceChange(changed=runtime.switches.end(scope, name))
        except (StoreError, OSError) as error:
            raise _unkept(error) from None

    @topic.get("")
    @needs(READ)
    def get_maintenance() -> Maintenance:
        """Lists what is switched to maintenance."""
        found = runtime.switches.listed()
        fields = ("scope", "name", "text", "retry_after", "since", "by")
        switches = [
            Switched.model_validate({name: getattr(one, name) for name in fields} | {"known": known(*one.place)})
            for one in found
        ]
        return Maintenance(switches=switches, trouble=runtime.switches.trouble)

    @topic.put("", responses=refusals({**_UNKEPT, **_FULL}))
    @needs(OPERATE, audited=("text", "retry_after"))
    def begin_maintenance(request: Request, told: Notice) -> MaintenanceChange:
        """Answers every request 503 from now on, with this text. Requests in flight finish.

        It outlives reloads and restarts. Of gateways that share a store, all do so within two seconds.
        """
        return switch(request, "gateway", "", told)

    @topic.delete("", responses=refusals(_UNKEPT))
    @needs(OPERATE)
    def end_maintenance() -> MaintenanceChange:
        """Ends the maintenance of the gateway. Services and routes with a switch of their own stay switched."""
        return end("gateway", "")

    @topic.put("/services/{name:path}", responses=refusals({**_UNKNOWN, **_FULL, **_UNKEPT}))
    @needs(OPERATE, audited=("text", "retry_after"))
    def begin_maintenance_of_service(request: Request, name: ServiceName, told: Notice) -> MaintenanceChange:
        """Answers every request for a service 503. Its health checks go on."""
        return switch(request, "service", name, told)

    @topic.delete("/services/{name:path}", responses=refusals({**_NO_NAME, **_UNKEPT}))
    @needs(OPERATE)
    def end_maintenance_of_service(name: ServiceName) -> MaintenanceChange:
        """Ends the maintenance of a service."""
        return end("service", name)

    @topic.put("/routes/{name:path}", responses=refusals({**_UNKNOWN, **_FULL, **_UNKEPT}))
    @needs(OPERATE, audited=("text", "retry_after"))
    def begin_maintenance_of_route(request: Request, name: RouteName, told: Notice) -> MaintenanceChange:
        """Answers every request of a route 503."""
        return switch(request, "route", name, told)

    @topic.delete("/routes/{name:path}", responses=refusals({**_NO_NAME, **_UNKEPT}))
    @needs(OPERATE)
    def end_maintenance_of_route(name: RouteName) -> MaintenanceChange:
        """Ends the maintenance of a route."""
        return end("route", name)

    return topic


def _unkept(error: StoreError | OSError) -> HTTPException:
    said = error if isinstance(error, StoreError) else f"the state folder cannot be written: {error.strerror or error}"
    return HTTPException(503, f"nothing was changed: {said}", {"Retry-After": "5"})
