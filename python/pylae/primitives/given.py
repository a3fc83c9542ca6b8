"""Arguments of the primitives: clocks, counts, durations, fields, settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import ValidationError

from pylae.config.checks.explain import problems_of
from pylae.config.document.sources import CallSources
from pylae.config.models.base import Settings
from pylae.engine import PlanError
from pylae.errors import ConfigError, Problem
from pylae.units import DurationLike, parse_duration

Clock = Callable[[], int]
"""Returns the time in nanoseconds, from any start that is not negative."""

Fields = Mapping[str, str] | Iterable[tuple[str, str]]
"""Header fields, as a mapping or as pairs in order. Values are Latin-1."""

MOST = 2**32 - 1
"""The largest number that the engine counts to."""

Model = TypeVar("Model", bound=Settings)


def count(number: int) -> int:
    """Returns `number` if the engine can count that far. Raises ValueError otherwise."""
    if not 0 <= number <= MOST:
        raise ValueError(f"must be a whole number from 0 to {MOST}")
    return number


def nanoseconds(span: DurationLike) -> int:
    """Returns a duration in nanoseconds. Raises ValueError."""
    return parse_duration(span) // timedelta(microseconds=1) * 1000


def now(clock: Clock) -> int:
    """Returns the time of the clock in the engine's range."""
    return max(clock(), 0)


def pairs(fields: Fields) -> list[tuple[str, str]]:
    """Returns header fields as pairs."""
    return list(fields.items() if isinstance(fields, Mapping) else fields)


def settings_of(model: type[Model], given: Mapping[str, Any]) -> Model:
    """Returns the settings from the caller of the caller. Raises ConfigError with every problem, at that place."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        frame = sys._getframe(2)
        place = (frame.f_code.co_filename, frame.f_lineno)
        raise ConfigError(problems_of(error, CallSources({(): place}), model)) from None


@contextmanager
def compiling() -> Iterator[None]:
    """Turns problems that the native side finds in settings into ConfigError."""
    try:
        yield
    except PlanError as error:
        found = json.loads(error.args[0])
        raise ConfigError(Problem(None, None, None, item["path"], item["message"]) for item in found) from None
