"""What a node knows of the registrations of a service, and what it must still tell the store of its cluster.

Without sockets and clocks. The store does its part in `registrations.lua`: it decides when a registration ends, and
which of several operations of different nodes was the later one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pylae.config.models.instance import MOST_INSTANCES, Instance

MOST_TOLD = 1000
"""Operations that are told at once."""
_MOST_UNTOLD = 2 * MOST_INSTANCES
"""Operations that are kept until they are told. Beyond that the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who may register instances, and beat for and remove only those that it has registered itself.

    Attributes:
        id: Its name among owners.
        most: How many instances of a service it may have registered.
        is_living: Whether the owner with an id still exists. What others leave behind may be taken over.
    """

    id: str
    most: int
    is_living: Callable[[str], bool]

    def owns(self, known: Registration) -> bool:
        """Whether it has made a registration."""
        return known.owner == self.id

    def may_take(self, known: Registration) -> bool:
        """Whether it may register an instance anew that is registered."""
        return self.owns(known) or (known.owner is not None and not self.is_living(known.owner))


@dataclass(slots=True)
class Registration:
    """An instance that has registered itself."""

    instance: Instance
    ttl: float
    """Seconds that it stays without a beat."""
    until: float
    """When it leaves if it does not beat, by the clock of `look`. In a cluster: as far as this node knows."""
    epoch: str | None = None
    """The epoch of the store in which the store had it. Then the store decides when it ends. None: it does not know it
    yet."""
    owner: str | None = None
    """Id of the token that it was made with; None if whoever made it may do everything."""


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """A beat or a removal, of which the store does not know yet."""

    name: str
    at: float | None
    """When it was. None if this node repeats what it was told, after the store has forgotten it."""
    ttl: float
    instance: Instance | None
    """None if it is removed."""
    registered: float | None = None
    """When it was registered, or removed, if the store does not know of that."""
    owner: str | None = None
    """As `Registration.owner`."""

    def told(self, now: float) -> list[bytes]:
        """The arguments of the script."""

        def age(at: float | None) -> int:
            return -1 if at is None else max(math.floor((now - at) * 1000), 0)

        ttl = math.ceil(self.ttl * 1000)
        left, lasts, data = ttl, 0, ""
        if self.instance is not None:
            left, lasts, data = ttl - max(age(self.at), 0), ttl, f"{self.instance.weight} {self.instance.url}"
            data += f" {self.owner}" if self.owner else ""
        return [str(value).encode() for value in (self.name, age(self.at), age(self.registered), left, lasts, data)]

    def is_over(self, now: float) -> bool:
        """Whether nothing is left of it."""
        return self.at is not None and self.at + self.ttl <= now


class Registrations:
    """The registrations of a service by the names of the instances (`host:port`)."""

    def __init__(self, *, shared: bool = False) -> None:
        """`shared` if there is a store that must be told of operations."""
        self.known: dict[str, Registration] = {}
        self.epoch: str | None = None
        """The store's epoch and version of what was merged last: it answers only if it has another one."""
        self.version = 0
        self._shared = shared
        self._untold: dict[str, Operation] = {}

    @property
    def due(self) -> float:
        """When the first one ends of those that only this node knows."""
        return min((one.until for one in self.known.values() if one.epoch is None), default=math.inf)

    @property
    def untold_number(self) -> int:
        """How many operations the store does not know of."""
        return len(self._untold)

    def register(self, name: str, instance: Instance, ttl: float, at: float, owner: str | None = None) -> Registration:
        """Registers an instance, or takes note of a beat and of what it says anew."""
        known = self.known.get(name)
        registration = Registration(instance, ttl, at + ttl, known.epoch if known else None, owner)
        self.known[name] = registration
        self._tell(Operation(name, at, ttl, instance, at, owner))
        return registration

    def beat(self, name: str, at: float) -> Registration | None:
        """Takes note of a beat. Returns None if there is no such instance."""
        known = self.known.get(name)
        if known is not None:
            known.until = at + known.ttl
            untold = self._untold.get(name)
            registered = untold.registered if untold else None
            self._tell(Operation(name, at, known.ttl, known.instance, registered, known.owner))
        return known

    def remove(self, name: str, at: float) -> bool:
        """Forgets an instance. Returns whether it was there."""
        known = self.known.pop(name, None)
        if known is not None:
            self._tell(Operation(name, at, known.ttl, None, at))
        return known is not None

    def _tell(self, operation: Operation) -> None:
        if self._shared:
            self._untold.pop(operation.name, None)
            self._untold[operation.name] = operation
            while len(self._untold) > _MOST_UNTOLD:
                del self._untold[next(iter(self._untold))]

    def put_off(self, now: float) -> None:
        """Has those that only this node knows stay as if all had beaten now."""
        for one in self.known.values():
            if one.epoch is None:
                one.until = max(one.until, now + one.ttl)

    def expire(self, now: float) -> list[Registration]:
        """Removes and returns those that have ended, of those that only this node knows."""
        ended = [name for name, one in self.known.items() if one.epoch is None and one.until <= now]
        for name in ended:
            self._untold.pop(name, None)
        return [self.known.pop(name) for name in ended]

    def untold(self, now: float) -> list[Operation]:
        """The operations to tell next. They are kept until `merge` says that the store knows them."""
        for name in [name for name, one in self._untold.items() if one.is_over(now)]:
            del self._untold[name]
        return list(self._untold.values())[:MOST_TOLD]

    def merge(
        self, epoch: str, version: int, listed: Mapping[str, Registration] | None, told: Sequence[Operation]
    ) -> None:
        """Takes the store's answer to `told`: all registrations, or None if they are the same as before."""
        for operation in told:
            if self._untold.get(operation.name) is operation:
                del self._untold[operation.name]
        if listed is None:
            for operation in told:
                if operation.instance is not None and (known := self.known.get(operation.name)):
                    known.epoch = epoch
        else:
            names = {operation.name for operation in told}
            kept = {name: one for name, one in self.known.items() if self._stays(name, one, epoch, listed, names)}
            self.known = kept | {name: one for name, one in listed.items() if name not in self._untold}
        self.epoch, self.version = epoch, version

    def _stays(
        self, name: str, one: Registration, epoch: str, listed: Mapping[str, Registration], told: set[str]
    ) -> bool:
        """Whether a registration stays, which the store may not have listed."""
        if name in listed:
            return True
        untold = self._untold.get(name)
        if untold is not None:
            if untold.at is not None:
                one.epoch = None
            return True
        if name in told:
            return False
        if one.epoch not in (None, epoch):
            # The store has forgotten it, not another node removed it.
            self._untold[name] = Operation(name, None, one.ttl, one.instance, owner=one.owner)
            return True
        return one.epoch is None
