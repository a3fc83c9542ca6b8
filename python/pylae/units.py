"""Units as types: durations, sizes and rates, in common notations.

In a plan, a `Duration` is a number of seconds and a `ByteSize` a number of bytes.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i?)B?", re.ASCII | re.IGNORECASE)
_RATE = re.compile(r"(\d+) ?(?:/|per) ?(.+)", re.ASCII)
_POWER = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_PERIODS = {"second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "day": "d", "week": "w"}

_LONGEST = timedelta(days=3660)
_LARGEST = 2**53

DURATION_HELP = 'write seconds as a number, or a text such as "250ms", "30s", "5m" or "1h30m"'
SIZE_HELP = 'write bytes as a whole number, or a text such as "64KB" or "10MB" (1 KB is 1024 bytes)'
RATE_HELP = 'write requests per minute as a number, or a text such as "100/minute", "10/s" or "50/5m"'


def parse_duration(value: object) -> timedelta:
    """Returns a duration from seconds (a number), a text such as "1h30m", or a `timedelta`.

    Raises ValueError for anything else, for negative durations, and for more than ten years. Messages do not contain
    the value.
    """
    if isinstance(value, timedelta):
        span = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        span = _span(_float(value))
    elif isinstance(value, str):
        span = _span(_text_seconds(value.strip()))
    else:
        raise ValueError(f"not a duration; {DURATION_HELP}")
    if span < timedelta(0):
        raise ValueError("a duration cannot be negative")
    if span > _LONGEST:
        raise ValueError("a duration cannot be longer than ten years")
    return span


def _float(number: float) -> float:
    """Returns the number as a float. If it is too large to compute with, returns one beyond every limit."""
    try:
        return float(number)
    except OverflowError:
        return sys.float_info.max if number > 0 else -sys.float_info.max


def _span(seconds: float) -> timedelta:
    if not math.isfinite(seconds):
        raise ValueError(f"not a duration; {DURATION_HELP}")
    # Clamped just beyond the limits: the caller reports it, and timedelta cannot overflow.
    return timedelta(seconds=max(min(seconds, _LONGEST.total_seconds() + 1), -1))


def _text_seconds(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    total, end = 0.0, 0
    for part in _DURATION.finditer(text):
        if part.start() != end:
            break
        total, end = total + float(part[1]) * _SECONDS[part[2]], part.end()
    if not end or end != len(text):
        raise ValueError(f"not a duration; {DURATION_HELP}")
    return total


def _positive_duration(value: object) -> timedelta:
    span = parse_duration(value)
    if not span:
        raise ValueError("a duration here must be longer than zero")
    return span


def between(least: timedelta, most: timedelta = _LONGEST) -> AfterValidator:
    """Returns the bounds of a duration, for its annotation. Both may be reached."""

    def check(span: timedelta) -> timedelta:
        if span < least:
            raise ValueError(f"must be at least {duration(least)}")
        if span > most:
            raise ValueError(f"must be at most {duration(most)}")
        return span

    return AfterValidator(check)


def parse_size(value: object) -> int:
    """Returns a number of bytes from a whole number or a text such as "10MB".

    KB, MB, GB and TB are powers of 1024, as in nginx and HAProxy, and so are KiB, MiB, GiB and TiB. Raises ValueError.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = _float(value)
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())) and (match[2] or not match[3]):
        size = float(match[1]) * 1024 ** _POWER[match[2].upper()]
    else:
        raise ValueError(f"not a size; {SIZE_HELP}")
    if size < 0:
        raise ValueError("a size cannot be negative")
    if size != int(min(size, _LARGEST)):
        raise ValueError("a size must be a whole number of bytes, at most 8 PB")
    return int(size)


def size(number: int) -> str:
    """Returns a number of bytes as people write it: in the largest unit that gives a whole number, such as `10MB`."""
    unit = next((unit for unit in ("T", "G", "M", "K") if number and number % 1024 ** _POWER[unit] == 0), "")
    return f"{number // 1024 ** _POWER[unit]}{unit}B" if unit else str(number)


def duration(span: timedelta) -> str:
    """Returns a duration as people write it: in seconds, or below one in milliseconds, such as `5ms`."""
    seconds = span.total_seconds()
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"


def counted(number: int, things: str) -> str:
    """Returns a number with a noun: `1 route`, `2 routes`."""
    return f"{number} {things if number != 1 else things.removesuffix('s')}"


@dataclass(frozen=True, slots=True)
class RequestRate:
    """A number of requests in a time span."""

    limit: int
    per: timedelta


def parse_rate(value: object) -> RequestRate:
    """Returns a rate from "100/minute", "10/s", "50/5m", or a number of requests per minute. Raises ValueError."""
    if isinstance(value, RequestRate):
        return value
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit():
            return _rate(int(text[:20]), timedelta(minutes=1))
        if match := _RATE.fullmatch(text):
            return _rate(int(match[1][:20]), _period(match[2].strip()))
    elif isinstance(value, int) and not isinstance(value, bool):
        return _rate(value, timedelta(minutes=1))
    raise ValueError(f"not a rate; {RATE_HELP}")


def _period(text: str) -> timedelta:
    unit = _PERIODS.get(text.lower()) or _PERIODS.get(text.lower().removesuffix("s")) or text
    try:
        return _positive_duration(f"1{unit}" if unit in _SECONDS else unit)
    except ValueError:
        raise ValueError(f"not a rate; {RATE_HELP}") from None


def _rate(limit: int, per: timedelta) -> RequestRate:
    if not 0 < limit <= _LARGEST:
        raise ValueError("a rate must allow at least one request")
    return RequestRate(limit, per)


def _seconds(span: timedelta) -> float:
    return span.total_seconds()


def _dump_rate(rate: RequestRate) -> dict[str, Any]:
    return {"limit": rate.limit, "per": _seconds(rate.per)}


_TIME_SCHEMA = WithJsonSchema({"type": ["number", "string"], "examples": ["30s", "1h30m", 5]})

Duration = Annotated[timedelta, BeforeValidator(_positive_duration), PlainSerializer(_seconds), _TIME_SCHEMA]
"""A duration longer than zero. Seconds in the plan."""

Wait = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(_seconds), _TIME_SCHEMA]
"""A duration that may be zero. Seconds in the plan."""

ByteSize = Annotated[
    int, BeforeValidator(parse_size), WithJsonSchema({"type": ["integer", "string"], "examples": ["10MB", 65536]})
]
"""A number of bytes."""

Rate = Annotated[
    RequestRate,
    BeforeValidator(parse_rate),
    PlainSerializer(_dump_rate),
    WithJsonSchema({"type": ["integer", "string"], "examples": ["100/minute", 100]}),
]
"""Requests in a time span. In the plan, a mapping of `limit` and `per` (seconds)."""

DurationLike = float | str | timedelta
"""A duration as written: seconds, a text such as "1h30m", or a `timedelta`."""

SizeLike = int | str
"""A size as written: a whole number of bytes, or a text such as "10MB"."""

RateLike = int | str | RequestRate
"""A rate as written: requests per minute, or a text such as "100/minute"."""
