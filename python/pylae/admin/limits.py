"""Rate limits: which there are, how one stands for a client, and forgiving it."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.exceptions import HTTPException

from pylae.admin.body import Body
from pylae.errors import EngineError

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "limits"

_Text = Annotated[str, Field(min_length=1, max_length=1000)]


class Limit(Body):
    """A limit of a route."""

    route: str
    """Route."""
    policy: str
    """`rate_limit` or `address_limit`."""
    name: str
    """Its name within the policy."""
    algorithm: str
    """How it counts; `concurrency` for exchanges at once."""
    limit: int
    """Requests in `per`, or exchanges at once."""
    per: float | None
    """Seconds; null for exchanges at once."""
    key: list[str]
    """Whose requests it counts together."""
    scope: str
    """`route`, or `gateway` if all routes that name it share it."""


class Limits(Body):
    """All limits, and what they take."""

    limits: list[Limit]
    """All limits of all routes."""
    keys: int
    """Keys that are held."""
    bytes: int
    """Memory that they take."""


class Holder(Body):
    """A limit of a route, and the client that is meant. What its key does not depend on can be left out."""

    route: _Text
    """Route."""
    policy: Literal["rate_limit", "address_limit"] = "rate_limit"
    """Policy."""
    name: _Text
    """The limit's name within the policy."""
    user: _Text | None = None
    """Id of the user."""
    ip: IPv4Address | IPv6Address | None = None
    """Address of the client."""
    headers: dict[str, str] = Field(default={}, max_length=16)
    """Request fields that the key is made of."""

    def question(self, *, forget: bool) -> dict[str, Any]:
        """As the engine is asked."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        holder = {"user": self.user, "ip": str(self.ip) if self.ip else None, "headers": headers}
        return {"route": self.route, "policy": self.policy, "name": self.name, "holder": holder, "forget": forget}


class Standing(Body):
    """How a limit stands for a client."""

    limit: int
    """Requests in `per`, or exchanges at once."""
    per: float | None
    """Seconds; null for exchanges at once."""
    remaining: int
    """What is left now."""
    reset: float
    """Seconds until all of it is."""
    forgotten: bool
    """Whether something was counted and has been forgotten just now."""


_SHOWN = ("name", "algorithm", "limit", "per", "key", "scope")
_AT_ONCE = {"algorithm": "concurrency", "per": None}


def limits(plan: Mapping[str, Any]) -> list[Limit]:
    """The limits in a plan."""
    found = []
    for route in plan["routes"]:
        for policy in ("rate_limit", "address_limit"):
            settings = route["policies"].get(policy) or {"limits": [], "concurrency": None}
            common = {"route": route["name"], "policy": policy}
            several = [*settings["limits"], *([_AT_ONCE | one] if (one := settings["concurrency"]) else [])]
            found += [Limit(**common, **{name: one[name] for name in _SHOWN}) for one in several]
    return found


def router(runtime: Runtime) -> APIRouter:
    """Its paths."""
    topic = APIRouter(prefix="/limits")

    def ask(holder: Holder, *, forget: bool) -> Standing:
        try:
            return Standing.model_validate(runtime.engine.limit(holder.question(forget=forget)))
        except EngineError as error:
            raise HTTPException(404, str(error)) from None

    @topic.get("")
    def listed() -> Limits:
        """All limits of all routes."""
        keys, size = runtime.engine.limit_usage()
        return Limits(limits=limits(runtime.plan), keys=keys, bytes=size)

    @topic.post("/look")
    def look(holder: Holder) -> Standing:
        """How a limit stands for a client. Takes nothing."""
        return ask(holder, forget=False)

    @topic.post("/reset")
    def reset(holder: Holder) -> Standing:
        """Forgets what a client has used of a limit. Exchanges at once are not counted, so they are not forgotten."""
        return ask(holder, forget=True)

    return topic
