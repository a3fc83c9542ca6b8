"""What a look at one thing has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Result:
    """One thing that was looked at. `name` says what kind of thing, `hint` what to do about it."""

    name: str
    state: State
    message: str
    hint: str | None = None


def ok(name: str, message: str) -> Result:
    """All is well."""
    return Result(name, "ok", message)


def warning(name: str, message: str, hint: str | None = None) -> Result:
    """A gateway would start, and somebody should know."""
    return Result(name, "warning", message, hint)


def failure(name: str, message: str, hint: str | None = None) -> Result:
    """A gateway would not start, or not work."""
    return Result(name, "failure", message, hint)


def amount(bytes_: int) -> str:
    """A number of bytes for people: `1.5 GB`."""
    size, unit = float(bytes_), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.1f} {unit}" if unit != "B" else f"{bytes_} B"
