"""What all sources of instances have in common."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, Protocol

from pylae.config.models.service import Instance

log = logging.getLogger("pylae")


class Source(Protocol):
    """Knows instances of one service, and when it is worth looking again."""

    instances: tuple[Instance, ...]
    """Those that it found last."""
    due: float
    """When to look again, by the clock of `look`."""

    @property
    def trouble(self) -> str | None:
        """What keeps it from being read now, if anything does: its instances are those of before."""

    @property
    def kind(self) -> Literal["dns", "file", "heartbeat", "app"]:
        """Which of them it is."""

    async def look(self, now: float) -> bool:
        """Looks, and says whether the instances are others than before. A look that fails changes nothing."""


def in_order(instances: Sequence[Instance]) -> tuple[Instance, ...]:
    """Instances in an order that does not depend on how they were told, the first of each address."""
    known: dict[str, Instance] = {}
    for instance in instances:
        known.setdefault(authority(instance.url), instance)
    return tuple(known[name] for name in sorted(known))


def authority(url: str) -> str:
    """`host:port` of an instance, which names it within its service."""
    return url.partition("//")[2]


class Complaint:
    """Says what goes wrong once, and when it is over."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.said: str | None = None
        """What is wrong now, if anything is."""

    def say(self, text: str, outcome: str = "its instances stay as they are") -> None:
        """Something is wrong, with this outcome."""
        if (whole := f"{text}; {outcome}") != self.said:
            self.said = whole
            log.warning("%s: %s", self._service, whole)

    def over(self) -> None:
        """Nothing is."""
        if self.said is not None:
            self.said = None
            log.info("%s: its instances are known again", self._service)
