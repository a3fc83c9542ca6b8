"""Instances from DNS: the addresses of a name, or its SRV records (RFC 2782), as long as their TTL says."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from pylae.config.models.address import listen_address
from pylae.config.models.base import refusal
from pylae.config.models.instance import Instance
from pylae.registry.lookup import Found, SharedLookup
from pylae.registry.source import Source, SourceContext, SourceSettings
from pylae.units import Duration, Wait

if TYPE_CHECKING:
    import dns.resolver

    from pylae.settings.fields import DnsDiscoveryFields

_MOST_TARGETS = 256
"""Names in SRV records whose addresses are looked up."""
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


class DnsDiscovery(SourceSettings):
    """Each address of a name is an instance. `name:port`, or the name of SRV records, is a short form."""

    short = {"type": "string"}
    private = ("timeout", "min_ttl", "max_ttl", "retry", "gone_after")

    name: Annotated[str, AfterValidator(_name)]
    """Domain name to look up."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the instances, whose addresses come from A and AAAA records. Without it, the gateway looks up SRV
    records, which contain ports and weights; of several priorities, only the lowest number counts."""
    scheme: Literal["http", "https"] = "http"
    """Protocol of the instances."""
    family: Literal["any", "ipv4", "ipv6"] = "any"
    """Which addresses to use."""
    resolvers: tuple[Annotated[str, AfterValidator(_resolver)], ...] = ()
    """Name servers, as `ip` or `ip:port`. The default is those of the system."""
    timeout: Duration = timedelta(seconds=5)
    """Longest wait for an answer."""
    min_ttl: Duration = timedelta(seconds=1)
    """Shortest time between two look-ups, even if the TTL of the records is shorter."""
    max_ttl: Duration = timedelta(hours=1)
    """Longest time between two look-ups, even if the TTL of the records is longer."""
    retry: Duration = timedelta(seconds=5)
    """Time between a failed look-up and the next one. The instances stay however often it fails."""
    gone_after: Wait = timedelta(minutes=1)
    """How long the name servers must answer that the name or its records do not exist before the instances leave."""

    @property
    def secure(self) -> bool:
        """As `SourceSettings.secure`: the setting says what is spoken."""
        return self.scheme == "https"

    scope: Literal["node", "cluster"] | None = None
    """Who looks it up. `cluster`, the default for a gateway that is a node of a cluster: one node asks the name
    servers, and the others take its answer. `node`: each node asks, for name servers that do not answer all alike."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[DnsDiscoveryFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, colon, port = value.rpartition(":")
        return {"name": name, "port": int(port)} if colon and port.isascii() and port.isdigit() else {"name": value}


class _NothingThere(Exception):  # noqa: N818 (an answer, if not a welcome one)
    """The name servers say that there is nothing."""


class DnsSource(Source[DnsDiscovery]):
    """Looks a name up again when its records have expired."""

    Settings = DnsDiscovery

    def __init__(self, settings: DnsDiscovery, context: SourceContext) -> None:
        # Here, where names are looked up: whoever checks a configuration does not wait for it (0.15 s).
        import dns.asyncresolver
        import dns.nameserver

        super().__init__(settings, context)
        self._resolver = dns.asyncresolver.Resolver(configure=not settings.resolvers)
        if settings.resolvers:
            servers = (one.rpartition(":") for one in settings.resolvers)
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(host.strip("[]"), int(port)) for host, _, port in servers
            ]
        self._shared: SharedLookup | None = None
        if context.store is not None and settings.scope != "node":
            asked = [settings.name, settings.port, settings.scheme, settings.family, *settings.resolvers]
            # Addresses are looked up once the SRV records are there.
            longest = settings.timeout.total_seconds() * (2 if settings.port is None else 1)
            self._shared = SharedLookup(context.store, asked, longest)
        self._records = {"any": ("A", "AAAA"), "ipv4": ("A",), "ipv6": ("AAAA",)}[settings.family]

    @property
    def joins(self) -> bool:
        """As `Source.joins`: another node may have found what this one could not."""
        return self._shared is not None and self.trouble is not None

    async def look(self, now: float) -> bool:
        """As `Source.look`."""
        import dns.exception

        settings, began = self.settings, time.monotonic()
        if self._shared is not None and (told := await self._shared.ask()) is not None and self._is_mine(told[0]):
            found, left = told
            # It may have waited for the other node.
            now += time.monotonic() - began
            return self._take(found, min(left, settings.max_ttl.total_seconds()), now)
        try:
            instances, ttl = await (
                self._services() if settings.port is None else self._hosts(settings.name, settings.port)
            )
            found = Found(instances=tuple(instances))
            lasts = min(max(ttl, settings.min_ttl.total_seconds()), settings.max_ttl.total_seconds())
        except _NothingThere as error:
            found, lasts = Found(gone=str(error)), settings.retry.total_seconds()
        except (dns.exception.DNSException, OSError, ValueError) as error:
            if self._shared is not None:
                await self._shared.fail()
            self.due = now + settings.retry.total_seconds()
            # The text of some of these errors is long and names the servers.
            return self.failed(f"{settings.name} cannot be looked up ({type(error).__name__})")
        if self._shared is not None:
            await self._shared.tell(found, lasts)
        return self._take(found, lasts, now)

    def _take(self, found: Found, lasts: float, now: float) -> bool:
        self.due = now + lasts
        if found.gone is not None:
            return self.gone(found.gone, now, self.settings.gone_after.total_seconds())
        return self.found(found.instances)

    def _is_mine(self, found: Found) -> bool:
        """Whether this may be what the name servers have answered, according to what was asked."""
        if not found.instances and found.gone is None:
            return False
        port = self.settings.port
        urls = [urlsplit(instance.url) for instance in found.instances]
        return all(url.scheme == self.settings.scheme and port in (None, url.port) for url in urls)

    async def _services(self) -> tuple[list[Instance], float]:
        """The instances of SRV records, and how long that holds."""
        answer = await self._resolve(self.settings.name, "SRV")
        if answer.rrset is None:
            raise _NothingThere(f"{self.settings.name} has no SRV records")
        first = min(record.priority for record in answer.rrset)
        # A target of "." says that the service is decidedly not there.
        records = [one for one in answer.rrset if one.priority == first and str(one.target) != "."][:_MOST_TARGETS]
        if not records:
            raise _NothingThere(f"the records of {self.settings.name} say that the service does not exist")
        hosts = await asyncio.gather(
            *(self._hosts(str(one.target), one.port, max(one.weight, 1)) for one in records), return_exceptions=True
        )
        found, ttl = [], float(answer.chaining_result.minimum_ttl)
        for one in hosts:
            # A target that is gone is not there; one that could not be asked for leaves everything as it was.
            if isinstance(one, _NothingThere):
                continue
            if isinstance(one, BaseException):
                raise one
            found += one[0]
            ttl = min(ttl, one[1])
        if not found:
            raise _NothingThere(f"no target of {self.settings.name} has an address")
        return found, ttl

    async def _hosts(self, name: str, port: int, weight: int = 1) -> tuple[list[Instance], float]:
        """The addresses of a name as instances, and how long that holds."""
        answers = await asyncio.gather(
            *(self._resolve(name, record) for record in self._records), return_exceptions=True
        )
        found, ttls = [], []
        for answer in answers:
            if isinstance(answer, _NothingThere):
                continue
            if isinstance(answer, BaseException):
                raise answer
            if answer.rrset is not None:
                ttls.append(float(answer.chaining_result.minimum_ttl))
                found += [_instance(self.settings.scheme, record.address, port, weight) for record in answer.rrset]
        if not found:
            raise _NothingThere(f"{name} has no address")
        return found, min(ttls)

    async def _resolve(self, name: str, kind: str) -> dns.resolver.Answer:
        import dns.resolver

        try:
            return await self._resolver.resolve(
                name, kind, raise_on_no_answer=False, lifetime=self.settings.timeout.total_seconds()
            )
        except dns.resolver.NXDOMAIN:
            raise _NothingThere(f"there is no name {name}") from None


def _instance(scheme: str, address: str, port: int, weight: int) -> Instance:
    ip = ipaddress.ip_address(address)
    host = f"[{ip}]" if ip.version == 6 else str(ip)
    return Instance.model_validate({"url": f"{scheme}://{host}:{port}", "weight": weight})
