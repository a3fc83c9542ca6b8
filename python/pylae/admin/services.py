"""Services and their instances: how they do, and letting one finish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from pylae.admin.body import Body

if TYPE_CHECKING:
    from pylae.control import Control

TAG = "services"


class Instance(Body):
    """One address of a service."""

    id: str
    """`host:port`, which names it in paths."""
    url: str
    """Where it is."""
    weight: int
    """Share of load relative to the others."""
    state: Literal["up", "down", "ejected", "draining"]
    """Whether it gets anything: down by health checks, ejected by what exchanges saw, draining by request."""
    in_flight: int
    """Exchanges under way."""
    attempts: int
    """Attempts since it joined."""
    failures: int
    """Attempts that failed."""


class Service(Body):
    """A group of instances."""

    name: str
    """Its name."""
    instances: list[Instance]
    """Its instances."""
    waiting: int
    """Exchanges in its queue."""
    retries: int
    """Retries since the start."""


class Draining(Body):
    """What asking for a drain did."""

    changed: bool
    """Whether it was otherwise before."""
    in_flight: int
    """Exchanges that are under way; the instance can be stopped when there are none."""


def identity(url: str) -> str:
    """What names an instance in paths."""
    return url.partition("//")[2]


def _instance(stats: Mapping[str, Any]) -> Instance:
    names = ("url", "weight", "state", "in_flight", "attempts", "failures")
    return Instance(id=identity(stats["url"]), **{name: stats[name] for name in names})


def _service(stats: Mapping[str, Any]) -> Service:
    instances = [_instance(one) for one in stats["instances"]]
    return Service(name=stats["name"], instances=instances, waiting=stats["waiting"], retries=stats["retries"])


def router(control: Control) -> APIRouter:
    """Its paths."""
    topic = APIRouter(prefix="/services")

    def find(service: str) -> Service:
        found = next((one for one in control.gateway.stats()["services"] if one["name"] == service), None)
        if found is None:
            raise HTTPException(404, "there is no such service")
        return _service(found)

    def find_instance(service: str, instance: str) -> Instance:
        found = next((one for one in find(service).instances if one.id == instance), None)
        if found is None:
            raise HTTPException(404, "the service has no such instance")
        return found

    def drain(service: str, instance: str, wanted: bool) -> Draining:
        found = find_instance(service, instance)
        changed = control.engine.set_draining(service, found.url, wanted)
        return Draining(changed=changed, in_flight=found.in_flight)

    @topic.get("")
    async def listed() -> list[Service]:
        """All services with their instances."""
        return [_service(one) for one in control.gateway.stats()["services"]]

    @topic.get("/{service}")
    async def one(service: str) -> Service:
        """A service with its instances."""
        return find(service)

    @topic.post("/{service}/instances/{instance}/drain")
    async def start_drain(service: str, instance: str) -> Draining:
        """Gives an instance nothing more; what is under way finishes. It stays so over reloads."""
        return drain(service, instance, True)

    @topic.delete("/{service}/instances/{instance}/drain")
    async def end_drain(service: str, instance: str) -> Draining:
        """Uses a draining instance again."""
        return drain(service, instance, False)

    return topic
