"""Circuit breakers: their state, and how to reset them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException

from pylae.access.scopes import OPERATE, READ
from pylae.admin.body import Body
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.admin.parameters import ServiceName

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "breakers"


class Breaker(Body):
    """The circuit breaker of a service or of one instance."""

    service: str
    """Name of the service."""
    instance: str | None
    """URL of the instance, if each instance has its own breaker."""
    state: Literal["closed", "open", "half_open"]
    """`closed` lets all requests through, `open` none, `half_open` a few as a test."""
    open_for: float
    """Seconds until the breaker lets a request through again."""
    reason: str | None
    """Why the breaker opened; null if it is closed."""


class Reset(Body):
    """The result of a reset."""

    changed: bool
    """Whether a breaker was open or half open."""


def breakers(services: list[Mapping[str, Any]]) -> Iterator[Breaker]:
    """Returns the breakers in the engine's statistics."""
    for service in services:
        if service["breaker"]:
            yield Breaker(service=service["name"], instance=None, **service["breaker"])
        for instance in service["instances"]:
            if instance["breaker"]:
                yield Breaker(service=service["name"], instance=instance["url"], **instance["breaker"])


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/breakers")

    @topic.get("")
    @needs(READ)
    def list_breakers() -> list[Breaker]:
        """Lists all circuit breakers."""
        return list(breakers(runtime.engine.stats()["services"]))

    @topic.post(
        "/{service}/reset",
        responses=refusals({404: "There is no such service or instance.", 409: "The service has no circuit breaker."}),
    )
    @needs(OPERATE)
    def reset_breaker(
        service: ServiceName,
        instance: Annotated[
            str | None,
            Query(description="URL of an instance that has its own breaker.", examples=["http://10.0.0.7:8000"]),
        ] = None,
    ) -> Reset:
        """Closes the breaker of a service and forgets its counts. All requests pass again.

        If each instance has its own breaker, `instance` (a URL) selects one; without it, all of them are closed.
        """
        known = {one["name"]: {each["url"] for each in one["instances"]} for one in runtime.engine.stats()["services"]}
        if service not in known or (instance is not None and instance not in known[service]):
            raise HTTPException(404, "there is no such service or instance")
        changed = runtime.engine.reset_breaker(service, instance)
        if changed is None:
            raise HTTPException(409, "this service has no circuit breaker")
        return Reset(changed=changed)

    return topic
