"""How figures and times are written."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime

NONE = "–"


def duration(seconds: float | None) -> str:
    """A duration, to three digits."""
    if seconds is None:
        return NONE
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1000:.3g} ms" if seconds >= 0.001 or not seconds else f"{seconds * 1e6:.3g} µs"


def rate(value: float | None) -> str:
    """Something per second."""
    if value is None:
        return NONE
    return f"{value:,.0f}/s" if value >= 100 else f"{value:.3g}/s"


def share(value: float | None) -> str:
    """A share from 0 to 1, in per cent."""
    if value is None:
        return NONE
    return "0 %" if value == 0 else f"{value:.1%}".replace("%", " %")


def number(value: float | None) -> str:
    """A count."""
    return NONE if value is None else f"{value:,.0f}"


def size(value: float | None) -> str:
    """Bytes."""
    if value is None:
        return NONE
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def moment(text: str | None) -> float | None:
    """Seconds since 1970 of a time as the admin API writes it."""
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def clock(at: float | None) -> str:
    """A time of day, with the day if that is another one; of the zone of the dashboard."""
    if at is None:
        return NONE
    found, now = datetime.fromtimestamp(at, UTC).astimezone(), datetime.now(UTC).astimezone()
    return found.strftime("%H:%M:%S" if found.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def ago(at: float | None) -> str:
    """How long ago something was."""
    if at is None:
        return NONE
    seconds = max(0, int(time.time() - at))
    if seconds < 60:
        return f"{seconds} s ago"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s ago"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min ago"
    return f"{seconds // 86400} days ago"


def when(text: str | None) -> str:
    """A time as the admin API writes it, as `clock` does; nothing for none."""
    return clock(moment(text)) if text else ""


def count(number: int, one: str) -> str:
    """A number of things. Their plural has an `s`."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def listed(names: Iterable[str]) -> str:
    """Names, one after the other."""
    return ", ".join(names)
