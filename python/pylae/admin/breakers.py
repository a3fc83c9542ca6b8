"""Circuit breakers: how they stand, and closing them by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from pylae.admin.body import Body

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "breakers"


class Breaker(Body):
    """The breaker of a service, or of one of its instances."""

    service: str
    """Service."""
    instance: str | None
    """URL of the instance, where each has its own breaker."""
    state: Literal["closed", "open", "half_open"]
    """Closed lets everything through, open nothing, half open a few probes."""
    open_for: float
    """Seconds for which it still lets nothing through."""
    reason: str | None
    """Why it opened; null while it is closed."""


class Reset(Body):
    """What a reset did."""

    changed: bool
    """Whether a breaker was not closed before."""


def breakers(services: list[Mapping[str, Any]]) -> Iterator[Breaker]:
    """The breakers in the engine's statistics."""
    for service in services:
        if service["breaker"]:
            yield Breaker(service=service["name"], instance=None, **service["breaker"])
        for instance in service["instances"]:
            if instance["breaker"]:
                yield Breaker(service=service["name"], instance=instance["url"], **instance["breaker"])


def router(runtime: Runtime) -> APIRouter:
    """Its paths."""
    topic = APIRouter(prefix="/breakers")

    @topic.get("")
    def listed() -> list[Breaker]:
        """All breakers."""
        return list(breakers(runtime.engine.stats()["services"]))

    @topic.post("/{service}/reset")
    def reset(service: str, instance: str | None = None) -> Reset:
        """Closes the breaker of a service: everything passes again, and what was counted is forgotten.

        Where each instance has a breaker of its own, `instance` (its URL) names one, and without it all are closed.
        """
        known = {one["name"]: {each["url"] for each in one["instances"]} for one in runtime.engine.stats()["services"]}
        if service not in known or (instance is not None and instance not in known[service]):
            raise HTTPException(404, "there is no such service or instance")
        changed = runtime.engine.reset_breaker(service, instance)
        if changed is None:
            raise HTTPException(409, "this service has no circuit breaker")
        return Reset(changed=changed)

    return topic
