"""Where the instances of a service come from, besides those that are written down."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, Field, model_validator

from pylae.config.models.address import listen_address
from pylae.config.models.base import Positive, Settings, refusal
from pylae.units import Duration, Wait

if TYPE_CHECKING:
    from pylae.settings.fields import DiscoveryFields, DnsDiscoveryFields, FileDiscoveryFields, HeartbeatDiscoveryFields

MOST_INSTANCES = 4096
"""Instances of one service, as the native side has it."""
_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise refusal("is not a domain name", 'write it like "users.internal"')
    return text.lower()


def _resolver(text: str) -> str:
    return listen_address(
        text if re.search(r"\]:\d+\Z|\A[^:]*:\d+\Z", text) else f"[{text}]:53" if ":" in text else f"{text}:53"
    )


class DnsDiscovery(Settings):
    """Every address of a name is an instance. `name:port`, or the name of SRV records, is short for it."""

    short = {"type": "string"}

    name: Annotated[str, AfterValidator(_name)]
    """Domain name."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the instances, whose addresses A and AAAA records give. Without it SRV records are asked for, which have
    ports and weights of their own; of several priorities the lowest number counts."""
    scheme: Literal["http", "https"] = "http"
    """What is spoken to them."""
    family: Literal["any", "ipv4", "ipv6"] = "any"
    """Which addresses are used."""
    resolvers: tuple[Annotated[str, AfterValidator(_resolver)], ...] = ()
    """Name servers, `ip` or `ip:port`; those of the system if none are given."""
    timeout: Duration = timedelta(seconds=5)
    """Longest wait for an answer."""
    min_ttl: Duration = timedelta(seconds=1)
    """Shortest time between two look-ups, whatever the records say."""
    max_ttl: Duration = timedelta(hours=1)
    """Longest time between two look-ups, whatever the records say."""
    retry: Duration = timedelta(seconds=5)
    """Time until the next look-up after one that failed. Until then, and however often it fails, the instances stay."""
    gone_after: Wait = timedelta(minutes=1)
    """How long the name servers must say that there is no such name, or nothing of it, before the instances leave."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[DnsDiscoveryFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, colon, port = value.rpartition(":")
        return {"name": name, "port": int(port)} if colon and port.isascii() and port.isdigit() else {"name": value}


class FileDiscovery(Settings):
    """A file, YAML or JSON, that lists the instances of each service. Its name is short for `path`."""

    short = {"type": "string"}

    path: Annotated[str, Field(min_length=1)]
    """The file, relative to the folder of the configuration: a mapping of services to lists of instances."""
    interval: Duration = timedelta(seconds=1)
    """Time between two looks. A file that replaces it is taken at once, one that is written into when it rests."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[FileDiscoveryFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class HeartbeatDiscovery(Settings):
    """Instances register themselves over the admin API, and leave when they stop beating. `{}` takes the defaults."""

    ttl: Duration = timedelta(seconds=30)
    """How long an instance stays without a beat, unless it asks for another time."""
    max_ttl: Duration = timedelta(hours=1)
    """Longest time that it may ask for."""
    max_instances: Annotated[Positive, Field(le=MOST_INSTANCES)] = 1000
    """Instances that may be registered."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HeartbeatDiscoveryFields]) -> None: ...


class Discovery(Settings):
    """Where instances come from: exactly one of these."""

    dns: DnsDiscovery | None = None
    """Names."""
    file: FileDiscovery | None = None
    """A file."""
    heartbeat: HeartbeatDiscovery | None = None
    """The instances themselves."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[DiscoveryFields]) -> None: ...

    @model_validator(mode="after")
    def _one(self) -> Discovery:
        if sum(one is not None for one in (self.dns, self.file, self.heartbeat)) != 1:
            raise refusal("needs exactly one of `dns`, `file` and `heartbeat`")
        return self
