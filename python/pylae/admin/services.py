"""Services and their instances: how they do, letting one finish, and taking in those that register themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints, ValidationError
from starlette.exceptions import HTTPException

from pylae.admin.body import Body
from pylae.config.models.instance import Instance as Configured
from pylae.registry.source import authority

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "services"


class Instance(Body):
    """One address of a service."""

    id: str
    """`host:port`, which names it in paths."""
    url: str
    """Where it is."""
    weight: int
    """Share of load relative to the others."""
    source: str
    """Where it was found; `static` is the configuration."""
    expires_in: float | None
    """Seconds that it stays without a beat, if it has registered itself."""
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
    trouble: str | None
    """What keeps its instances from being looked up now, if they are and anything does."""


class Draining(Body):
    """What asking for a drain did."""

    changed: bool
    """Whether it was otherwise before."""
    in_flight: int
    """Exchanges that are under way; the instance can be stopped when there are none."""


class Registering(Body):
    """An instance that wants to be used."""

    url: Annotated[str, StringConstraints(max_length=300)]
    """`http://host:port`."""
    weight: Annotated[int, Field(ge=1, le=2**32 - 1)] = 1
    """Share of load relative to the others."""
    ttl: Annotated[float, Field(gt=0)] | None = None
    """Seconds that it stays without a beat; as the service says if none is given."""


class Registered(Body):
    """An instance that has registered itself."""

    id: str
    """`host:port`, which names it in paths."""
    ttl: float
    """Seconds that it stays from now on without a beat. Three beats in this time are a good measure."""


def router(runtime: Runtime) -> APIRouter:
    """Its paths."""
    topic = APIRouter(prefix="/services")
    registry = runtime.registry

    def shown(service: str, stats: Mapping[str, Any]) -> Instance:
        name = authority(stats["url"])
        same = ("url", "weight", "state", "in_flight", "attempts", "failures")
        return Instance(
            id=name,
            source=registry.kind(service, stats["url"]),
            expires_in=registry.remaining(service, name),
            **{key: stats[key] for key in same},
        )

    def described(stats: Mapping[str, Any]) -> Service:
        instances = [shown(stats["name"], one) for one in stats["instances"]]
        same = {key: stats[key] for key in ("name", "waiting", "retries")}
        return Service(instances=instances, trouble=registry.troubles().get(stats["name"]), **same)

    def find(service: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] | None = next(
            (one for one in runtime.engine.stats()["services"] if one["name"] == service), None
        )
        if found is None:
            raise HTTPException(404, "there is no such service")
        return found

    def drain(service: str, instance: str, wanted: bool) -> Draining:
        found = next((one for one in find(service)["instances"] if authority(one["url"]) == instance), None)
        if found is None:
            raise HTTPException(404, "the service has no such instance")
        changed = runtime.engine.set_draining(service, found["url"], wanted)
        return Draining(changed=changed, in_flight=found["in_flight"])

    @topic.get("")
    def listed() -> list[Service]:
        """All services with their instances."""
        return [described(one) for one in runtime.engine.stats()["services"]]

    @topic.get("/{service}")
    def one(service: str) -> Service:
        """A service with its instances."""
        return described(find(service))

    @topic.post("/{service}/instances", status_code=201)
    async def register(service: str, instance: Registering) -> Registered:
        """Registers an instance, for as long as it beats. Again, it is a beat, and changes what is said otherwise."""
        known(service)
        try:
            wanted = Configured.model_validate({"url": instance.url, "weight": instance.weight})
        except ValidationError as error:
            raise HTTPException(422, error.errors(include_input=False)[0]["msg"]) from None
        registration = registry.register(service, wanted, instance.ttl)
        return Registered(id=authority(wanted.url), ttl=registration.ttl)

    @topic.put("/{service}/instances/{instance}/heartbeat")
    async def heartbeat(service: str, instance: str) -> Registered:
        """A beat: the instance stays for its TTL from now on. 404 if it is not registered, or no more."""
        known(service)
        registration = registry.heartbeat(service, instance)
        if registration is None:
            raise HTTPException(404, "no such instance is registered")
        return Registered(id=instance, ttl=registration.ttl)

    @topic.delete("/{service}/instances/{instance}", status_code=204)
    async def remove(service: str, instance: str) -> Response:
        """Has a registered instance leave: it gets nothing more, and what is under way finishes."""
        known(service)
        if not registry.remove(service, instance):
            raise HTTPException(404, "no such instance is registered")
        return Response(status_code=204)

    @topic.post("/{service}/instances/{instance}/drain")
    def start_drain(service: str, instance: str) -> Draining:
        """Gives an instance nothing more; what is under way finishes. It stays so over reloads."""
        return drain(service, instance, True)

    @topic.delete("/{service}/instances/{instance}/drain")
    def end_drain(service: str, instance: str) -> Draining:
        """Uses a draining instance again."""
        return drain(service, instance, False)

    def known(service: str) -> None:
        if service not in runtime.builder.config.services:
            raise HTTPException(404, "there is no such service")

    return topic
