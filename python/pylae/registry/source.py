"""What a kind of source is made of: its settings, and a class that looks for the instances of one service.

Each kind is one file here, or a distribution of its own (docs/adding-a-registry-source.md).
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pylae.config.models.base import Settings
from pylae.config.models.instance import MOST_INSTANCES, Instance

log = logging.getLogger("pylae")


class SourceSettings(Settings):
    """What a person writes for a kind of source. Its first sentence, and those of its settings, are their reference."""

    files: ClassVar[tuple[str, ...]] = ()
    """Settings that name a file. Over the admin API they can only name those that the configuration names already."""
    private: ClassVar[tuple[str, ...]] = ()
    """Settings that nobody is sent, neither themselves nor what is in the file that they name. Those that name no file
    do not decide either who is asked, or which instances there are."""

    @property
    def secure(self) -> bool:
        """Whether instances may have `https://` although the service does not say `tls`."""
        return False


S = TypeVar("S", bound=SourceSettings)


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source is told besides its settings."""

    service: str
    """Name of the service."""
    folder: Path
    """The folder of the configuration, which names of files are relative to."""
    secure: bool
    """Whether TLS can be spoken to instances: `https://` is refused otherwise."""


class Source(ABC, Generic[S]):
    """Looks for the instances of one service, on the loop of the registry, which all sources share.

    `settings` are the validated ones. All methods are called on that loop.
    """

    Settings: ClassVar[type[SourceSettings]]
    """The model of its settings."""
    lasting: ClassVar[bool] = False
    """Whether it goes on when its settings change, and is told so by `use`. Else a new one takes its place."""

    def __init__(self, settings: S, context: SourceContext) -> None:
        self.settings, self.context = settings, context
        self.instances: tuple[Instance, ...] = ()
        """Those that it found last."""
        self.due = 0.0
        """When to look again, by the clock of `look`: not before, and as soon as `look` has returned at the latest."""
        self._trouble: str | None = None
        self._gone_since: float | None = None

    @property
    def trouble(self) -> str | None:
        """What keeps it from being read now, if anything does: its instances are those of before."""
        return self._trouble

    @abstractmethod
    async def look(self, now: float) -> bool:
        """Looks for instances, and says whether they are others than before; `found`, `gone` and `failed` say so.

        It may wait until something happens, but for the first time it must come back as soon as it can. It is cancelled
        when the source is followed no more, or the first look takes too long. `now` are seconds of a clock that never
        goes back.
        """

    def use(self, settings: S, context: SourceContext) -> None:
        """Takes over other settings, if it is `lasting`."""
        self.settings, self.context = settings, context

    def close(self) -> None:
        """Ends what it keeps open between two looks. It may be called again."""

    def found(self, instances: Iterable[Instance], but: str | None = None) -> bool:
        """These are its instances now, `but` something is wrong; whether they are others than before."""
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
        """It could not look: its instances stay, and `text` is told to whoever asks for the state of the service."""
        self._say(text, "its instances stay as they are")
        return False

    def gone(self, text: str, now: float, after: float = 0.0) -> bool:
        """Whom it asks says that there are none: `after` so many seconds of that they leave."""
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
        """Something is wrong, with this outcome: the log says it once."""
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
