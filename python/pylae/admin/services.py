"""Services and instances: their state, draining, and registration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field, StringConstraints, ValidationError
from starlette.exceptions import HTTPException

from pylae.access.registering import check_address
from pylae.access.scopes import OPERATE, READ, REGISTER
from pylae.admin.audited import unchanged
from pylae.admin.body import NUMBER, Body
from pylae.admin.caller import caller_of
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.admin.parameters import InstanceName, ServiceName
from pylae.config.models.instance import Instance as Configured
from pylae.registry.registrations import Owner, Registration
from pylae.registry.source import authority

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "services"


class Instance(Body):
    """An address of a service."""

    id: str
    """`host:port`, which identifies the instance in paths."""
    url: str
    """URL of the instance."""
    weight: int
    """Share of the load, relative to the other instances."""
    source: str
    """Where the instance came from; `static` means the configuration."""
    expires_in: float | None
    """Seconds until a registered instance is removed without a heartbeat. Null for other instances, and for one that
    sends its heartbeats to another node of the cluster."""
    state: Literal["up", "down", "ejected", "draining"]
    """Whether the instance gets requests: `down` by health checks, `ejected` after failed requests, `draining` on
    request."""
    in_flight: int
    """Requests in progress."""
    attempts: int
    """Attempts since the instance joined."""
    failures: int
    """Failed attempts."""


class Service(Body):
    """A group of instances."""

    name: str
    """Name of the service."""
    instances: list[Instance]
    """Instances of the service."""
    waiting: int
    """Requests in the queue."""
    retries: int
    """Retries since the start."""
    trouble: str | None
    """Why the instances cannot be looked up at the moment; null if they can."""


class Draining(Body):
    """The result of a drain request."""

    changed: bool
    """Whether the request changed anything."""
    in_flight: int
    """Requests in progress. At 0 you can stop the instance."""


class Registering(Body):
    """An instance to register."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "http://10.0.0.7:8000", "ttl": 30}]})

    url: Annotated[str, StringConstraints(max_length=300)]
    """`http://host:port`."""
    weight: Annotated[int, Field(ge=1, le=2**32 - 1), NUMBER] = 1
    """Share of the load, relative to the other instances."""
    ttl: Annotated[float, Field(gt=0), NUMBER] | None = None
    """Seconds until the instance is removed without a heartbeat. The default is that of the service."""


class Registered(Body):
    """A registered instance."""

    id: str
    """`host:port`, which identifies the instance in paths."""
    ttl: float
    """Seconds until the instance is removed without a heartbeat. Send about three heartbeats in this time."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/services")
    registry = runtime.registry
    unknown = refusals({404: "There is no service with this name."})
    absent = refusals({404: "There is no service with this name, or it has no such instance."})
    unregistered = refusals({404: "There is no service with this name, or no such instance is registered."})
    unwelcome = refusals({409: "The service takes no registrations, or not this one."})

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
            raise HTTPException(404, "there is no service with this name")
        return found

    def drain(service: str, instance: str, wanted: bool) -> Draining:
        found = next((one for one in find(service)["instances"] if authority(one["url"]) == instance), None)
        if found is None:
            raise HTTPException(404, "the service has no instance with this address")
        changed = runtime.engine.set_draining(service, found["url"], wanted)
        return Draining(changed=changed, in_flight=found["in_flight"])

    @topic.get("")
    @needs(READ)
    def list_services() -> list[Service]:
        """Lists all services with their instances."""
        return [described(one) for one in runtime.engine.stats()["services"]]

    @topic.get("/{service}", responses=unknown)
    @needs(READ)
    def get_service(service: ServiceName) -> Service:
        """Shows a service with its instances."""
        return described(find(service))

    @topic.post("/{service}/instances", status_code=201, responses=unknown | unwelcome)
    @needs(REGISTER, audited=("url", "weight", "ttl"))
    async def register_instance(service: ServiceName, instance: Registering, request: Request) -> Registered:
        """Registers an instance, which stays as long as it sends heartbeats. Registering it again counts as a heartbeat
        and updates its settings. A token may have registered up to its number of instances of a service.
        """
        known(service)
        try:
            wanted = Configured.model_validate({"url": instance.url, "weight": instance.weight})
        except ValidationError as error:
            raise HTTPException(422, error.errors(include_input=False)[0]["msg"]) from None
        owner = owner_of(request, urlsplit(wanted.url).hostname)
        before = registry.registration(service, authority(wanted.url))
        registration = registry.register(service, wanted, instance.ttl, owner=owner)
        if before is not None and _said(before) == _said(registration):
            unchanged(request)
        return Registered(id=authority(wanted.url), ttl=registration.ttl)

    @topic.put("/{service}/instances/{instance}/heartbeat", responses=unregistered | unwelcome)
    @needs(REGISTER)
    async def beat_instance(service: ServiceName, instance: InstanceName, request: Request) -> Registered:
        """Records a heartbeat: the instance stays for another TTL. One that is not registered has to register again."""
        unchanged(request)
        known(service)
        registration = registry.heartbeat(service, instance, owner=owner_of(request, _host(instance)))
        if registration is None:
            raise HTTPException(404, "no instance with this address is registered")
        return Registered(id=instance, ttl=registration.ttl)

    @topic.delete("/{service}/instances/{instance}", status_code=204, responses=unregistered | unwelcome)
    @needs(REGISTER)
    async def remove_instance(service: ServiceName, instance: InstanceName, request: Request) -> Response:
        """Removes a registered instance: it gets no new requests, and those in progress finish."""
        known(service)
        if not registry.remove(service, instance, owner=owner_of(request, _host(instance))):
            raise HTTPException(404, "no instance with this address is registered")
        return Response(status_code=204)

    @topic.post("/{service}/instances/{instance}/drain", responses=absent)
    @needs(OPERATE)
    def drain_instance(service: ServiceName, instance: InstanceName) -> Draining:
        """Drains an instance: it gets no new requests, and those in progress finish. Stays in effect over reloads."""
        return drain(service, instance, True)

    @topic.delete("/{service}/instances/{instance}/drain", responses=absent)
    @needs(OPERATE)
    def undrain_instance(service: ServiceName, instance: InstanceName) -> Draining:
        """Ends the drain of an instance: it gets requests again."""
        return drain(service, instance, False)

    def owner_of(request: Request, host: str | None) -> Owner | None:
        """Returns whose the registration of an instance at this host is; None if the caller may do everything.

        Raises ScopeError if it cannot be the caller's.
        """
        caller, tokens = caller_of(request), runtime.access.tokens
        token = caller.bearer.token
        if token is None:
            return None
        check_address(token, host or "", caller.address)
        return Owner(token.id, token.max_instances, tokens.is_living)

    def known(service: str) -> None:
        if service not in runtime.builder.config.services:
            raise HTTPException(404, "there is no service with this name")

    return topic


def _host(instance: str) -> str:
    """Returns the host of `host:port`, without brackets."""
    return instance.rpartition(":")[0].removeprefix("[").removesuffix("]")


def _said(registration: Registration) -> tuple[object, ...]:
    return registration.instance, registration.ttl, registration.owner
