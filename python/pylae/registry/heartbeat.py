"""Instances that register themselves and stay as long as they send heartbeats."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import Field

from pylae.config.models.base import Positive
from pylae.config.models.instance import MOST_INSTANCES, Instance
from pylae.errors import RegistryError
from pylae.registry.source import Source, SourceContext, SourceSettings, authority, in_order, log
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import HeartbeatDiscoveryFields

_LATE = 1.0
"""Seconds by which a look may be late before it is the gateway that is believed to have stood still."""


class HeartbeatDiscovery(SourceSettings):
    """Instances register themselves over the admin API, and leave when their heartbeats stop. `{}` takes the
    defaults.
    """

    ttl: Duration = timedelta(seconds=30)
    """How long an instance stays without a heartbeat, unless it asks for another time."""
    max_ttl: Duration = timedelta(hours=1)
    """Longest time that an instance may ask for."""
    max_instances: Annotated[Positive, Field(le=MOST_INSTANCES)] = 1000
    """Most registered instances."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HeartbeatDiscoveryFields]) -> None: ...


@dataclass(slots=True)
class Registration:
    """An instance that has registered itself."""

    instance: Instance
    ttl: float
    """Seconds that it stays without a beat."""
    until: float
    """When it leaves if it does not beat, by the clock of `look`."""


class HeartbeatSource(Source[HeartbeatDiscovery]):
    """Keeps the registrations of one service. Every method may be called from any thread."""

    Settings = HeartbeatDiscovery
    lasting = True

    def __init__(self, settings: HeartbeatDiscovery, context: SourceContext) -> None:
        super().__init__(settings, context)
        self.due = math.inf
        self.beaten = False
        """Whether anything has happened since this was last set to False."""
        self._known: dict[str, Registration] = {}
        self._lock = threading.Lock()

    def register(self, instance: Instance, ttl: float | None, now: float) -> tuple[Registration, bool]:
        """Registers an instance, or takes note of a beat and of what it says anew; and whether that changes anything.

        Raises RegistryError if there is no room for another one, or its TTL or scheme is not allowed.
        """
        settings, name = self.settings, authority(instance.url)
        if instance.url.startswith("https:") and not self.context.secure:
            raise RegistryError("the service speaks no TLS; it takes `tls: {}`")
        with self._lock:
            known = self._known.get(name)
            if known is None and len(self._known) >= settings.max_instances:
                raise RegistryError(f"the service has {settings.max_instances} registered instances already")
            lasts = self._lasting(ttl, known)
            registration = Registration(instance, lasts, now + lasts)
            self._known[name] = registration
            self.due = min(self.due, registration.until)
            self.beaten = True
            changed = known is None or known.instance != instance
            if changed:
                self._list()
        return registration, changed

    def beat(self, name: str, now: float) -> Registration | None:
        """Takes note of a beat; None if there is no such instance, so that it knows that it must register."""
        known = self._known.get(name)
        if known is None:
            return None
        # A look at this very moment sees either end; a registration that it has just removed is registered anew.
        with self._lock:
            if name not in self._known:
                return None
            known.until = now + known.ttl
            self.beaten = True
        return known

    def remove(self, name: str) -> bool:
        """Forgets an instance; whether it was there."""
        with self._lock:
            there = self._known.pop(name, None) is not None
            self.beaten = True
            if there:
                self._list()
        return there

    def get(self, name: str) -> Registration | None:
        """The registration of an instance."""
        return self._known.get(name)

    async def look(self, now: float) -> bool:
        """Lets those go whose time has run out."""
        with self._lock:
            late = now - self.due
            if late > _LATE:
                # The gateway stood still, and beats that came meanwhile are not read yet: as if all had beaten now.
                for one in self._known.values():
                    one.until = max(one.until, now + one.ttl)
            gone = [name for name, one in self._known.items() if one.until <= now]
            for name in gone:
                log.warning(
                    "%s: %s has stopped beating and leaves", self.context.service, self._known.pop(name).instance.url
                )
            self.due = min((one.until for one in self._known.values()), default=math.inf)
            if gone:
                self.beaten = True
                self._list()
        return bool(gone)

    def kept(self, now: float, wall: float) -> list[dict[str, Any]]:
        """What is written down of the registrations, for the next start."""
        with self._lock:
            return [
                {
                    "url": one.instance.url,
                    "weight": one.instance.weight,
                    "ttl": one.ttl,
                    "until": wall + one.until - now,
                }
                for one in self._known.values()
            ]

    def restore(self, listed: Iterable[dict[str, Any]], now: float, wall: float) -> None:
        """Takes back what `kept` gave, but for what has run out. Raises ValueError, TypeError or KeyError."""
        with self._lock:
            for item in list(listed)[: self.settings.max_instances]:
                instance = Instance.model_validate({"url": item["url"], "weight": item["weight"]})
                ttl = min(float(item["ttl"]), self.settings.max_ttl.total_seconds())
                left = min(float(item["until"]) - wall, ttl)
                if left > 0 and (self.context.secure or not instance.url.startswith("https:")):
                    self._known[authority(instance.url)] = Registration(instance, ttl, now + left)
                    self.due = min(self.due, now + left)
            self._list()

    def _lasting(self, ttl: float | None, known: Registration | None) -> float:
        longest = self.settings.max_ttl.total_seconds()
        if ttl is None:
            return known.ttl if known else min(self.settings.ttl.total_seconds(), longest)
        if not 0 < ttl <= longest:
            raise RegistryError(f"a TTL is more than 0 and at most {longest:g} seconds")
        return ttl

    def _list(self) -> None:
        self.instances = in_order([one.instance for one in self._known.values()])
