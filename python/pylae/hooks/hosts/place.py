"""The processes that are hook hosts, and the places that they take one after the other."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(eq=False)
class HostProcess:
    """A process, from when it was asked for."""

    place: int
    number: int
    control: socket.socket
    asked: float
    process: int = 0
    ends: int = -1
    """Descriptor that is readable once the process has ended."""
    warm: bool = False
    draining: float | None = None
    """When it began to drain."""
    reason: str | None = None
    """Why it is replaced."""
    beats: int = -1
    beaten: float = 0.0
    heard: float = 0.0
    overdue: float | None = None
    """Since when it has calls that do not return."""
    memory: int = 0
    calls: int = 0
    in_flight: int = 0


@dataclass
class HostPlace:
    """What all processes of one place have in common."""

    calls: int = 0
    """Calls of those that are gone."""
    failures: int = 0
    """Starts that have failed in a row."""
    again: float = 0.0
    """When the next start may be tried."""
    hosts: list[HostProcess] = field(default_factory=list)


def resident(process: int) -> int:
    """The resident memory of a process in bytes; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
