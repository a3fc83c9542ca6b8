"""The results of checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a check: `name` is what was checked, `hint` is what to do."""

    name: str
    state: State
    message: str
    hint: str | None = None


def ok(name: str, message: str) -> Result:
    """Returns a result without problems."""
    return Result(name, "ok", message)


def warning(name: str, message: str, hint: str | None = None) -> Result:
    """Returns a result with which a gateway starts, but that a person should know."""
    return Result(name, "warning", message, hint)


def failure(name: str, message: str, hint: str | None = None) -> Result:
    """Returns a result with which a gateway would not start, or not work."""
    return Result(name, "failure", message, hint)


def amount(bytes_: int) -> str:
    """Returns a number of bytes for people, such as `1.5 GB`."""
    size, unit = float(bytes_), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.1f} {unit}" if unit != "B" else f"{bytes_} B"
