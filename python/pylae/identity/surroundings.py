"""What a running gateway gives its authenticators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pylae.identity.figures import Figures

if TYPE_CHECKING:
    from pylae.identity.ended import EndedSessions
    from pylae.store.kept import Kept


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The parts of a running gateway that authenticators use.

    Attributes:
        kept: The store of the gateway.
        folder: The state folder.
        revoke: Refuses a user (`user`) or a token (`jti`) for some seconds. Raises EngineError.
        ended: The sessions that have ended.
        figures: What is counted.
        configuration: The folder that files in the configuration are relative to.
    """

    kept: Kept
    folder: Path
    revoke: Callable[[str, str, float], None]
    ended: EndedSessions
    figures: Figures = field(default_factory=Figures)
    configuration: Path = Path()
