"""Rate limits: the list of them, their state for a client, and how to reset it."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.exceptions import HTTPException

from pylae.access.scopes import OPERATE, READ
from pylae.admin.body import Body
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.errors import EngineError

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "limits"

_Text = Annotated[str, Field(min_length=1, max_length=1000)]


class Limit(Body):
    """A limit of a route."""

    route: str
    """Name of the route."""
    policy: str
    """`rate_limit` or `address_limit`."""
    name: str
    """Name of the limit, unique in the policy."""
    algorithm: str
    """How requests are counted; `concurrency` counts exchanges in progress."""
    limit: int
    """Requests allowed in `per`, or exchanges in progress."""
    per: float | None
    """Time span in seconds; null for exchanges in progress."""
    key: list[str]
    """Which requests are counted together."""
    per_route: bool
    """Whether each route counts separately. If false, all routes with a limit of this name share it."""


class Limits(Body):
    """All limits, and the memory that they take."""

    limits: list[Limit]
    """All limits of all routes."""
    keys: int
    """Number of keys in memory."""
    bytes: int
    """Memory of the keys, in bytes."""


class Holder(Body):
    """A limit of a route, and a client. Fields that the limit's key does not use can be omitted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"route": "orders", "name": "default", "user": "7"}]})

    route: _Text
    """Name of the route."""
    policy: Literal["rate_limit", "address_limit"] = "rate_limit"
    """`rate_limit` or `address_limit`."""
    name: _Text
    """Name of the limit in the policy."""
    user: _Text | None = None
    """User id."""
    ip: IPv4Address | IPv6Address | None = None
    """IP address of the client."""
    headers: dict[str, str] = Field(default={}, max_length=16)
    """Request fields that the key uses."""

    def question(self, *, forget: bool) -> dict[str, Any]:
        """The question in the form of the engine."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        holder = {"user": self.user, "ip": str(self.ip) if self.ip else None, "headers": headers}
        return {"route": self.route, "policy": self.policy, "name": self.name, "holder": holder, "forget": forget}


class Standing(Body):
    """The state of a limit for a client."""

    limit: int
    """Requests allowed in `per`, or exchanges in progress."""
    per: float | None
    """Time span in seconds; null for exchanges in progress."""
    remaining: int
    """What the client may still use now."""
    reset: float
    """Seconds until the client may use all of it again."""
    forgotten: bool
    """Whether this request has reset a count."""


_SHOWN = ("name", "algorithm", "limit", "per", "key", "per_route")
_AT_ONCE = {"algorithm": "concurrency", "per": None}


def limits(plan: Mapping[str, Any]) -> list[Limit]:
    """Returns the limits in a plan."""
    found = []
    for route in plan["routes"]:
        for policy in ("rate_limit", "address_limit"):
            settings = route["policies"].get(policy) or {"limits": [], "concurrency": None}
            common = {"route": route["name"], "policy": policy}
            several = [*settings["limits"], *([_AT_ONCE | one] if (one := settings["concurrency"]) else [])]
            found += [Limit(**common, **{name: one[name] for name in _SHOWN}) for one in several]
    return found


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/limits")

    nowhere = refusals({404: "There is no such route, or it has no such limit."})

    def ask(holder: Holder, *, forget: bool) -> Standing:
        try:
            return Standing.model_validate(runtime.engine.limit(holder.question(forget=forget)))
        except EngineError as error:
            raise HTTPException(404, str(error)) from None

    @topic.get("")
    @needs(READ)
    def list_limits() -> Limits:
        """Lists all limits of all routes."""
        keys, size = runtime.engine.limit_usage()
        return Limits(limits=limits(runtime.plan), keys=keys, bytes=size)

    @topic.post("/look", responses=nowhere)
    @needs(READ, changes=False)
    def look_at_limit(holder: Holder) -> Standing:
        """Shows the state of a limit for a client. Uses up nothing."""
        return ask(holder, forget=False)

    @topic.post("/reset", responses=nowhere)
    @needs(OPERATE, audited=("route", "policy", "name", "user", "ip"))
    def reset_limit(holder: Holder) -> Standing:
        """Resets a limit for a client. Does not affect exchanges in progress."""
        return ask(holder, forget=True)

    return topic
