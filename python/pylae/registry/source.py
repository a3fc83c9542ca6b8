"""The base classes of a kind of source: its settings, and the class that finds the instances of one service.

Each kind is one file in sources/, or a package of its own (docs/adding-a-registry-source.md).
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from pylae.config.models.base import Settings
from pylae.config.models.instance import MOST_INSTANCES, Instance

if TYPE_CHECKING:
    from pylae.registry.sharing import RegistryStore

log = logging.getLogger("pylae.registry")


class SourceSettings(Settings):
    """The settings of a kind of source. Editors show the docstrings."""

    files: ClassVar[tuple[str, ...]] = ()
    """Settings that name a file. The admin API accepts only files that the configuration names already."""
    private: ClassVar[tuple[str, ...]] = ()
    """Settings that nobody is sent, nor the content of a file that they name. The others of them must not decide who is
    asked or which instances there are: whoever changes them keeps the secrets of the source."""

    @property
    def secure(self) -> bool:
        """Whether instances may use `https://` even if the service has no `tls`."""
        return False


S = TypeVar("S", bound=SourceSettings)


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source knows besides its settings."""

    service: str
    """Name of the service."""
    folder: Path
    """The folder of the configuration. File names are relative to it."""
    secure: bool
    """Whether instances may use `https://`."""
    store: RegistryStore | None = None
    """The store of the cluster, if the gateway is a node of one."""


class Source(ABC, Generic[S]):
    """Finds the instances of one service. All sources share one event loop, which calls their methods."""

    Settings: ClassVar[type[SourceSettings]]
    """The model of its settings."""
    lasting: ClassVar[bool] = False
    """Whether it stays when its settings change, and gets the new ones by `use`. Otherwise a new source replaces it."""

    def __init__(self, settings: S, context: SourceContext) -> None:
        self.settings, self.context = settings, context
        self.instances: tuple[Instance, ...] = ()
        """Those that it found last."""
        self.due = 0.0
        """When to look again, by the clock of `look`."""
        self._trouble: str | None = None
        self._gone_since: float | None = None

    @property
    def trouble(self) -> str | None:
        """What keeps it from being read now, if anything does: its instances are those of before."""
        return self._trouble

    @abstractmethod
    async def look(self, now: float) -> bool:
        """Looks for instances and returns whether they changed, as `found`, `gone` and `failed` return it.

        It may wait for a change, except for the first time. It is cancelled when the source is no longer needed, or if
        the first look takes too long. `now` is in seconds, of a clock that never goes back.
        """

    @property
    def joins(self) -> bool:
        """Whether it looks again once the store of the cluster is connected, before the first request."""
        return False

    def use(self, settings: S, context: SourceContext) -> None:
        """Takes new settings, if it is `lasting`."""
        self.settings, self.context = settings, context

    def close(self) -> None:
        """Closes what it keeps open between two looks. May be called again."""

    def found(self, instances: Iterable[Instance], but: str | None = None) -> bool:
        """Takes these instances, and reports `but` as trouble if it is given. Returns whether they changed."""
        listed = in_order(instances)
        if not self.context.secure and any(instance.url.startswith("https:") for instance in listed):
            name = self.context.service
            return self.failed(f"{name} has instances with https://, which takes `tls: {{}}` on the service")
        if len(listed) > MOST_INSTANCES:
            but = f"instances beyond the first {MOST_INSTANCES} are left out"
        self._gone_since = None
        if but is None:
            self._over()
        else:
            self._say(but, "the others are used")
        return self._become(listed[:MOST_INSTANCES])

    def failed(self, text: str) -> bool:
        """Keeps the instances, because it could not look, and reports `text` as trouble. Returns False."""
        self._say(text, "its instances stay as they are")
        return False

    def gone(self, text: str, now: float, after: float = 0.0) -> bool:
        """Drops the instances once `after` seconds have passed since the first call, if no `found` came in between."""
        self._gone_since = now if self._gone_since is None else self._gone_since
        left = self._gone_since + after - now
        if left > 0:
            self.due = min(self.due, now + left)
            return self.failed(text)
        self._say(text, "it has no instances from there any more")
        return self._become(())

    def _become(self, instances: tuple[Instance, ...]) -> bool:
        changed, self.instances = instances != self.instances, instances
        return changed

    def _say(self, text: str, outcome: str) -> None:
        """Reports something wrong and its outcome. The log says it once."""
        if (whole := f"{text}; {outcome}") != self._trouble:
            self._trouble = whole
            log.warning("%s: %s", self.context.service, whole)

    def _over(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.info("%s: its instances are known again", self.context.service)


def in_order(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """Instances in an order that does not depend on how they were told, the first of each address."""
    known: dict[str, Instance] = {}
    for instance in instances:
        known.setdefault(authority(instance.url), instance)
    return tuple(known[name] for name in sorted(known))


def authority(url: str) -> str:
    """`host:port` of an instance, which names it within its service."""
    return url.partition("//")[2]
