"""Instances from Docker: the containers with a label. The Engine API lists them, and its events say when to ask again.

The API: https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from pylae.config.models.base import refusal
from pylae.config.models.instance import Instance
from pylae.registry.api import ApiAddress, ApiSettings, ApiSource
from pylae.registry.client import ApiError, RefusedError, Stream
from pylae.registry.source import SourceContext
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import DockerDiscoveryFields

_CROWD = 0.1
"""Seconds to wait after an event for those that come with it."""
_EVENTS = ("start", "die", "pause", "unpause", "health_status")
"""The events after which other containers may be instances."""
_VERSION = re.compile(r"[1-9][0-9]?\.[0-9]{1,3}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:]+")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _label(text: str) -> str:
    if not text.partition("=")[0] or not text.isprintable():
        raise refusal("is not a label", 'write it like "pylae.service=orders", or the name alone for any value')
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise refusal("is not a host", 'write it like "127.0.0.1"')
    return text


Label = Annotated[str, Field(max_length=1024), AfterValidator(_label)]
Port = Annotated[int, Field(ge=1, le=65535)]


class DockerDiscovery(ApiSettings):
    """The running containers with these labels. A label is short for `labels`."""

    short = {"type": "string"}
    main = ("labels",)
    private = (*ApiSettings.private, "interval")

    address: ApiAddress = "unix:/var/run/docker.sock"
    """The engine: `unix:/path`, `http://host:port` or `https://host:port`."""
    labels: Annotated[
        tuple[Label, ...], Field(min_length=1), BeforeValidator(_listed, json_schema_input_type=str | list[str])
    ]
    """Labels that a container must have, all of them: `name=value`, or `name` for any value."""
    port: Port | None = None
    """Port in the container; by default that in its label `pylae.port`, else the only one that it exposes."""
    network: Annotated[str, Field(min_length=1)] | None = None
    """Network of the container's address; by default that in its label `pylae.network`, else its only one."""
    host: Annotated[str, AfterValidator(_host)] | None = None
    """Address of the engine's machine. If given, instances are the ports that it publishes, for a gateway that cannot
    reach the containers' own addresses."""
    healthy: bool = True
    """Whether a container with a health check counts only while it is healthy."""
    scheme: Literal["http", "https"] = "http"
    """The scheme of the instances."""
    interval: Duration = timedelta(seconds=30)
    """Time between two looks without an event."""

    @property
    def secure(self) -> bool:
        """As `SourceSettings.secure`: the setting says what is spoken."""
        return self.scheme == "https"

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[DockerDiscoveryFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"labels": value} if isinstance(value, str) else value


class _Published(BaseModel):
    PrivatePort: int
    PublicPort: int | None = None
    Type: str = "tcp"


class _Network(BaseModel):
    IPAddress: str | None = None
    GlobalIPv6Address: str | None = None

    @property
    def address(self) -> str | None:
        return self.IPAddress or self.GlobalIPv6Address or None


class _Networks(BaseModel):
    Networks: dict[str, _Network] | None = None


class _Container(BaseModel):
    """The part of an item in the engine's list that is needed."""

    Id: str
    Names: list[str] | None = None
    Labels: dict[str, str] | None = None
    Ports: list[_Published] | None = None
    NetworkSettings: _Networks = _Networks()

    @property
    def name(self) -> str:
        return (self.Names or [self.Id[:12]])[0].lstrip("/")


_CONTAINERS = TypeAdapter(list[_Container])


class DockerSource(ApiSource[DockerDiscovery]):
    """Lists the containers after each event, and now and then without one."""

    Settings = DockerDiscovery

    def __init__(self, settings: DockerDiscovery, context: SourceContext) -> None:
        super().__init__(settings, context)
        self._version: str | None = None
        self._events: Stream | None = None
        self._deaf = False
        """Whether the engine, or a proxy before it, refuses to send events."""

    def close(self) -> None:
        """As `Source.close`."""
        events, self._events, self._version = self._events, None, None
        if events is not None:
            events.close()

    async def ask(self, now: float) -> bool:
        """As `ApiSource.ask`."""
        interval = self.settings.interval.total_seconds()
        self.due = now + interval if self._deaf else now
        if self._version is None:
            self._version = await self._negotiated()
        if self._events is not None:
            if await self._events.rings(interval):
                await asyncio.sleep(_CROWD)
        elif not self._deaf:
            # Before the list, so that no event is missed in between.
            await self._listen()
        return self._take(await self._containers(), now)

    async def _negotiated(self) -> str:
        """The version that the engine speaks. Paths without one are deprecated, and engines stop speaking old ones."""
        reply = await self.client.get("/_ping", patience=self.patience)
        version = reply.fields.get("Api-Version", "")
        if not _VERSION.fullmatch(version):
            raise ApiError(f"{self.settings.address} does not answer as Docker does: there is no Api-Version")
        return version

    async def _listen(self) -> None:
        asked = {"type": ["container"], "event": list(_EVENTS), "label": list(self.settings.labels)}
        query = [("filters", json.dumps(asked))]
        try:
            self._events = await self.client.stream(f"/v{self._version}/events", query, patience=self.patience)
        except RefusedError as error:
            if error.reply.status not in (403, 404, 405, 501):
                raise
            # A proxy before the engine may allow lists and refuse events.
            self._deaf = True

    async def _containers(self) -> list[_Container]:
        asked = {"label": list(self.settings.labels), "status": ["running"]}
        if self.settings.healthy:
            asked["health"] = ["healthy", "none"]
        query = [("filters", json.dumps(asked))]
        reply = await self.client.get(f"/v{self._version}/containers/json", query, patience=self.patience)
        try:
            return _CONTAINERS.validate_python(reply.json())
        except (ValueError, ValidationError):
            raise ApiError(f"{self.settings.address} does not answer as Docker does") from None

    def _take(self, containers: list[_Container], now: float) -> bool:
        found: list[Instance] = []
        wrong: list[str] = []
        for container in containers:
            try:
                found.append(self._instance(container))
            except ValidationError:
                wrong.append(f"{container.name} has a label or address that cannot be used")
            except ValueError as error:
                wrong.append(f"{container.name} {error}")
        but = f"{wrong[0]}{f' (and {len(wrong) - 1} more)' if wrong[1:] else ''}" if wrong else None
        if found:
            return self.found(found, but)
        return self.gone(but or f"no running container has the label {' and '.join(self.settings.labels)}", now)

    def _instance(self, container: _Container) -> Instance:
        labels = container.Labels or {}
        host, port = self._published(container) if self.settings.host else self._own(container)
        url = f"{self.settings.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        return Instance.model_validate({"url": url, "weight": labels.get("pylae.weight", "1")})

    def _own(self, container: _Container) -> tuple[str, int]:
        """Address and port of a container in a network. Raises ValueError."""
        networks = container.NetworkSettings.Networks or {}
        wanted = self.settings.network or (container.Labels or {}).get("pylae.network")
        addresses = {name: network.address for name, network in networks.items() if network.address}
        if wanted is not None and wanted not in addresses:
            raise ValueError(f"has no address in the network {wanted}")
        if wanted is None and len(addresses) != 1:
            listed = ", ".join(sorted(addresses)) or "none with an address"
            raise ValueError(f"has not one network ({listed}); `network` says which")
        address = addresses[wanted] if wanted is not None else next(iter(addresses.values()))
        return str(address), self._port(container, {one.PrivatePort for one in self._ports(container)})

    def _published(self, container: _Container) -> tuple[str, int]:
        """Where the machine publishes a port of a container. Raises ValueError."""
        public = {one.PrivatePort: one.PublicPort for one in self._ports(container) if one.PublicPort}
        port = self._port(container, set(public))
        if port not in public:
            raise ValueError(f"does not publish port {port}")
        return str(self.settings.host), int(public[port] or 0)

    def _ports(self, container: _Container) -> list[_Published]:
        return [one for one in container.Ports or () if one.Type == "tcp"]

    def _port(self, container: _Container, known: set[int]) -> int:
        label = (container.Labels or {}).get("pylae.port")
        if self.settings.port is not None:
            return self.settings.port
        if label is not None:
            if not re.fullmatch(r"[0-9]{1,5}", label):
                raise ValueError("has a label `pylae.port` that is not a port")
            return int(label)
        if len(known) != 1:
            listed = ", ".join(map(str, sorted(known))) or "none"
            raise ValueError(f"has not one port ({listed}); `port`, or its label `pylae.port`, says which")
        return next(iter(known))
