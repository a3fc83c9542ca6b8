"""What all sources of instances have in common."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, Protocol

from pylae.config.service import Instance

log = logging.getLogger("pylae")


class Source(Protocol):
    """Knows instances of one service, and when it is worth looking again."""

    instances: tuple[Instance, ...]
    """Those that it found last."""
    due: float
    """When to look again, by the clock of `look`."""

    @property
    def kind(self) -> Literal["dns", "file", "heartbeat"]:
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
        self._service, self._said = service, ""

    def say(self, text: str) -> None:
        """Something is wrong."""
        if text != self._said:
            self._said = text
            log.warning("%s: %s; its instances stay as they are", self._service, text)

    def over(self) -> None:
        """Nothing is."""
        if self._said:
            self._said = ""
            log.info("%s: its instances are known again", self._service)
