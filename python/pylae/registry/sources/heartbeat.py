"""Instances that register themselves and stay as long as they send heartbeats."""

from __future__ import annotations

import math
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import Field

from pylae.config.models.base import Positive
from pylae.config.models.instance import MOST_INSTANCES, Instance
from pylae.errors import OwnedError, RegistryError
from pylae.registry.registrations import MOST_TOLD, Operation, Owner, Registration, Registrations
from pylae.registry.sharing import AWAY, Answer, RegistryStore, why
from pylae.registry.source import Source, SourceContext, SourceSettings, authority, in_order, log
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import HeartbeatDiscoveryFields

_LATE = 1.0
"""Seconds by which a look may be late before it is the gateway that is believed to have stood still."""
_KEEP = 5.0
"""Seconds after which what the store knows is written down again."""
_LONGEST = 400
"""Bytes of a weight and a URL."""
_OWNER = re.compile(r"[a-z0-9]{1,32}")
_EPOCH = re.compile(rb"[0-9a-f]{1,64}")


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


class HeartbeatSource(Source[HeartbeatDiscovery]):
    """Keeps the registrations of one service. Every method may be called from any thread."""

    Settings = HeartbeatDiscovery
    lasting = True

    def __init__(self, settings: HeartbeatDiscovery, context: SourceContext) -> None:
        super().__init__(settings, context)
        self.due = math.inf
        self.beaten = False
        """Whether anything has happened since this was last set to False."""
        self.is_behind = False
        """Whether there is more to tell other nodes than was told at once."""
        self._registrations = Registrations(shared=context.store is not None)
        self._lock = threading.Lock()
        self._answered: float | None = None
        self._kept = -math.inf
        self._but: str | None = None

    def register(
        self, instance: Instance, ttl: float | None, now: float, owner: Owner | None = None
    ) -> tuple[Registration, bool]:
        """Registers an instance, or takes note of a beat and of what it says anew; and whether that changes anything.

        Raises RegistryError if there is no room for another one, or its TTL or scheme is not allowed, and OwnedError if
        it is not the owner's.
        """
        settings, name = self.settings, authority(instance.url)
        if instance.url.startswith("https:") and not self.context.secure:
            raise RegistryError("the service speaks no TLS; it takes `tls: {}`")
        with self._lock:
            known = self._registrations.known.get(name)
            if owner is not None:
                self._check_owner(owner, name, known)
            if known is None and len(self._registrations.known) >= settings.max_instances:
                raise RegistryError(f"the service has {settings.max_instances} registered instances already")
            whose = owner.id if owner else None
            registration = self._registrations.register(name, instance, self._lasting(ttl, known), now, whose)
            self.due = min(self.due, registration.until)
            self.beaten = True
            changed = known is None or known.instance != instance
            if changed:
                self._list()
        return registration, changed

    def _check_owner(self, owner: Owner, name: str, known: Registration | None) -> None:
        if known is not None and not owner.may_take(known):
            raise OwnedError(f"{name} was registered by another one")
        own = sum(owner.owns(one) for one in self._registrations.known.values())
        if (known is None or not owner.owns(known)) and own >= owner.most:
            raise RegistryError(f"this token has registered {own} instances of the service, and may not register more")

    def beat(self, name: str, now: float, owner: Owner | None = None) -> Registration | None:
        """Takes note of a beat; None if there is no such instance, so that it knows that it must register.

        Raises OwnedError if it is not the owner's.
        """
        # A look at this very moment sees either end; a registration that it has just removed is registered anew.
        with self._lock:
            there = self._registrations.known.get(name)
            if owner is not None and there is not None and not owner.owns(there):
                if owner.may_take(there):
                    return None
                raise OwnedError(f"{name} was registered by another one")
            known = self._registrations.beat(name, now)
            self.beaten = self.beaten or known is not None
        return known

    def remove(self, name: str, now: float, owner: Owner | None = None) -> bool:
        """Forgets an instance; whether it was there. Raises OwnedError if it is not the owner's."""
        with self._lock:
            known = self._registrations.known.get(name)
            if owner is not None and known is not None and not owner.owns(known):
                raise OwnedError(f"{name} was registered by another one")
            there = self._registrations.remove(name, now)
            self.beaten = True
            if there:
                self._list()
        return there

    def get(self, name: str) -> Registration | None:
        """The registration of an instance."""
        return self._registrations.known.get(name)

    async def look(self, now: float) -> bool:
        """Lets those go whose time has run out. In a cluster the store decides that, of those that it knows."""
        with self._lock:
            if now - self.due > _LATE:
                # The gateway stood still, and beats that came meanwhile are not read yet: as if all had beaten now.
                self._registrations.put_off(now)
            gone = self._registrations.expire(now)
            for one in gone:
                log.warning("%s: %s has stopped beating and leaves", self.context.service, one.instance.url)
            self.due = self._registrations.due
            if gone:
                self.beaten = True
                self._list()
        return bool(gone)

    def question(self, store: RegistryStore, now: float) -> tuple[list[bytes], list[Operation]]:
        """What the store is asked, and the operations that it is told by that."""
        with self._lock:
            known, told = self._registrations, self._registrations.untold(now)
            head = (secrets.token_hex(8), known.epoch or "-", known.version, store.node, self.settings.max_instances)
        operations = (argument for operation in told for argument in operation.told(now))
        return [*(str(value).encode() for value in head), *operations], told

    def answered(self, answer: Answer, told: Sequence[Operation], now: float) -> bool:
        """Takes what the store has answered to `question`. Returns whether the instances changed."""
        but = None
        try:
            if isinstance(answer, str):
                raise ValueError(why(answer))
            epoch, version, rows = _head(answer)
            listed, but = (None, None) if rows is None else self._taken(rows, epoch, now)
        except ValueError as error:
            self._answered, self.is_behind = now if self._answered is None else self._answered, False
            if now - self._answered >= AWAY:
                self.failed(f"what other nodes know of registrations cannot be read: {error}")
            return False
        self._answered = now
        with self._lock:
            changed = self._merge(epoch, version, listed, told, now)
            self.is_behind = self._registrations.untold_number > 0 and len(told) >= MOST_TOLD
        if listed is not None:
            self._but = but
        if self._but is None:
            self._over()
        else:
            self._say(self._but, "the others are used")
        return changed

    def _merge(
        self,
        epoch: str,
        version: int,
        listed: Mapping[str, Registration] | None,
        told: Sequence[Operation],
        now: float,
    ) -> bool:
        before = dict(self._registrations.known)
        self._registrations.merge(epoch, version, listed, told)
        self.due = self._registrations.due
        if now - self._kept >= _KEEP:
            # The file says how long they last.
            self.beaten, self._kept = True, now
        if listed is None:
            return False
        after = self._registrations.known
        for name in before.keys() - after.keys():
            log.info("%s: %s has left, or has stopped beating", self.context.service, before[name].instance.url)
        changed = {name: one.instance for name, one in before.items()} != {
            name: one.instance for name, one in after.items()
        }
        if changed:
            self.beaten = True
            self._list()
        return changed

    def _taken(self, rows: Sequence[Any], epoch: str, now: float) -> tuple[dict[str, Registration], str | None]:
        """The registrations of the store that this node takes, and why it does not take others."""
        longest, most = self.settings.max_ttl.total_seconds(), self.settings.max_instances
        found: dict[str, Registration] = {}
        left_out: set[str] = set()
        for row in rows[: 2 * MOST_INSTANCES]:
            try:
                name, left, ttl, instance, owner = _row(row)
            except ValueError:
                left_out.add("they cannot be read")
                continue
            if instance.url.startswith("https:") and not self.context.secure:
                left_out.add("they have https://, which takes `tls: {}` on the service")
            else:
                lasts = min(ttl, longest)
                found[name] = Registration(instance, lasts, now + min(left, lasts), epoch, owner)
        if len(found) > most:
            left_out.add(f"there are more than {most}")
        taken = {name: found[name] for name in sorted(found)[:most]}
        but = f"instances that other nodes know are left out: {'; '.join(sorted(left_out))}"
        return taken, but if left_out else None

    def kept(self, now: float, wall: float) -> list[dict[str, Any]]:
        """What is written down of the registrations, for the next start."""
        with self._lock:
            return [
                {
                    "url": one.instance.url,
                    "weight": one.instance.weight,
                    "ttl": one.ttl,
                    # Of those that the store knows, this node need not have heard a beat.
                    "until": wall + (one.until - now if one.epoch is None else one.ttl),
                    "epoch": one.epoch,
                    "owner": one.owner,
                }
                for one in self._registrations.known.values()
            ]

    def restore(self, listed: Iterable[dict[str, Any]], now: float, wall: float) -> None:
        """Takes back what `kept` gave, but for what has run out. Raises ValueError, TypeError or KeyError."""
        with self._lock:
            for item in list(listed)[: self.settings.max_instances]:
                instance = Instance.model_validate({"url": item["url"], "weight": item["weight"]})
                ttl = min(float(item["ttl"]), self.settings.max_ttl.total_seconds())
                left, epoch = min(float(item["until"]) - wall, ttl), item["epoch"]
                # Earlier versions wrote none.
                owner = str(item["owner"]) if item.get("owner") else None
                if left > 0 and (self.context.secure or not instance.url.startswith("https:")):
                    name = authority(instance.url)
                    if epoch is None or self.context.store is None:
                        self._registrations.register(name, instance, ttl, now + left - ttl, owner)
                    else:
                        known = Registration(instance, ttl, now + left, str(epoch), owner)
                        self._registrations.known[name] = known
            self.due = self._registrations.due
            self._list()

    def _lasting(self, ttl: float | None, known: Registration | None) -> float:
        longest = self.settings.max_ttl.total_seconds()
        if ttl is None:
            return known.ttl if known else min(self.settings.ttl.total_seconds(), longest)
        if not 0 < ttl <= longest:
            raise RegistryError(f"a TTL is more than 0 and at most {longest:g} seconds")
        return ttl

    def _list(self) -> None:
        self.instances = in_order([one.instance for one in self._registrations.known.values()])


def share(store: RegistryStore, sources: Sequence[HeartbeatSource], clock: Callable[[], float]) -> bool:
    """Tells the store what happened here and takes what happened at other nodes; whether that changed any instances.

    Blocks for as long as the cluster's `timeout`.
    """
    with store.turn:
        now = clock()
        asked = [source.question(store, now) for source in sources]
        calls = [(source.context.service, call) for source, (call, _) in zip(sources, asked, strict=True)]
        answers = store.run("registrations", calls)
        now = clock()
        changes = [
            source.answered(answer, told, now)
            for source, (_, told), answer in zip(sources, asked, answers, strict=True)
        ]
    return any(changes)


def _head(answer: Answer) -> tuple[str, int, list[Any] | None]:
    """Epoch, version and rows of an answer. Raises ValueError."""
    match answer:
        case [bytes() as epoch, int() as version, None | [*_] as rows] if _EPOCH.fullmatch(epoch):
            return epoch.decode(), version, rows
    raise ValueError("the store has answered something else")


def _row(row: object) -> tuple[str, float, float, Instance, str | None]:
    """Name, seconds left, TTL, instance and owner of a registration that the store has. Raises ValueError."""
    match row:
        case [bytes() as name, int() as left, int() as ttl, bytes() as data] if ttl > 0 and len(data) <= _LONGEST:
            weight, _, rest = data.decode().partition(" ")
            url, _, owner = rest.partition(" ")
            instance = Instance.model_validate({"url": url, "weight": int(weight)})
            if authority(instance.url) == name.decode() and (not owner or _OWNER.fullmatch(owner)):
                return name.decode(), max(left, 1) / 1000, ttl / 1000, instance, owner or None
    raise ValueError("no registration")
