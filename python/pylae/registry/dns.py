"""Instances from DNS: the addresses of a name, or its SRV records (RFC 2782), as long as their TTL says."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Literal

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from pylae.config.models.discovery import MOST_INSTANCES, DnsDiscovery
from pylae.config.models.service import Instance
from pylae.registry.source import Complaint, in_order

_MOST_TARGETS = 256
"""Names in SRV records whose addresses are looked up."""


class _NothingThere(Exception):  # noqa: N818 (an answer, if not a welcome one)
    """The name servers say that there is nothing."""


class DnsSource:
    """Looks a name up again when its records have expired."""

    kind: Literal["dns"] = "dns"

    def __init__(self, service: str, settings: DnsDiscovery) -> None:
        self.instances: tuple[Instance, ...] = ()
        self.due = 0.0
        self._settings = settings
        self._complaint = Complaint(service)
        self._gone_since: float | None = None
        self._resolver = dns.asyncresolver.Resolver(configure=not settings.resolvers)
        if settings.resolvers:
            servers = (one.rpartition(":") for one in settings.resolvers)
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(host.strip("[]"), int(port)) for host, _, port in servers
            ]
        self._kinds = {"any": ("A", "AAAA"), "ipv4": ("A",), "ipv6": ("AAAA",)}[settings.family]

    @property
    def trouble(self) -> str | None:
        """As `Source.trouble`."""
        return self._complaint.said

    async def look(self, now: float) -> bool:
        """As `Source.look`."""
        settings = self._settings
        try:
            found, ttl = await (
                self._services() if settings.port is None else self._hosts(settings.name, settings.port)
            )
        except _NothingThere as error:
            return self._gone(now, str(error))
        except (dns.exception.DNSException, OSError, ValueError) as error:
            # The text of some of these errors is long and names the servers.
            self._complaint.say(f"{settings.name} cannot be looked up ({type(error).__name__})")
            self.due = now + settings.retry.total_seconds()
            return False
        self._gone_since = None
        self._complaint.over()
        self.due = now + min(max(ttl, settings.min_ttl.total_seconds()), settings.max_ttl.total_seconds())
        return self._become(in_order(found)[:MOST_INSTANCES])

    def _gone(self, now: float, text: str) -> bool:
        self._gone_since = now if self._gone_since is None else self._gone_since
        left = self._gone_since + self._settings.gone_after.total_seconds() - now
        self.due = now + self._settings.retry.total_seconds()
        if left > 0:
            self._complaint.say(text)
            self.due = min(self.due, now + left)
            return False
        self._complaint.say(text, "it has no instances from there any more")
        return self._become(())

    def _become(self, instances: tuple[Instance, ...]) -> bool:
        changed, self.instances = instances != self.instances, instances
        return changed

    async def _services(self) -> tuple[list[Instance], float]:
        """The instances of SRV records, and how long that holds."""
        answer = await self._resolve(self._settings.name, "SRV")
        if answer.rrset is None:
            raise _NothingThere(f"{self._settings.name} has no SRV records")
        first = min(record.priority for record in answer.rrset)
        # A target of "." says that the service is decidedly not there.
        records = [one for one in answer.rrset if one.priority == first and str(one.target) != "."][:_MOST_TARGETS]
        if not records:
            raise _NothingThere(f"{self._settings.name} is said not to be there")
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
            raise _NothingThere(f"no target of {self._settings.name} has an address")
        return found, ttl

    async def _hosts(self, name: str, port: int, weight: int = 1) -> tuple[list[Instance], float]:
        """The addresses of a name as instances, and how long that holds."""
        answers = await asyncio.gather(*(self._resolve(name, kind) for kind in self._kinds), return_exceptions=True)
        found, ttls = [], []
        for answer in answers:
            if isinstance(answer, _NothingThere):
                continue
            if isinstance(answer, BaseException):
                raise answer
            if answer.rrset is not None:
                ttls.append(float(answer.chaining_result.minimum_ttl))
                found += [_instance(self._settings.scheme, record.address, port, weight) for record in answer.rrset]
        if not found:
            raise _NothingThere(f"{name} has no address")
        return found, min(ttls)

    async def _resolve(self, name: str, kind: str) -> dns.resolver.Answer:
        try:
            return await self._resolver.resolve(
                name, kind, raise_on_no_answer=False, lifetime=self._settings.timeout.total_seconds()
            )
        except dns.resolver.NXDOMAIN:
            raise _NothingThere(f"there is no name {name}") from None


def _instance(scheme: str, address: str, port: int, weight: int) -> Instance:
    ip = ipaddress.ip_address(address)
    host = f"[{ip}]" if ip.version == 6 else str(ip)
    return Instance.model_validate({"url": f"{scheme}://{host}:{port}", "weight": weight})
