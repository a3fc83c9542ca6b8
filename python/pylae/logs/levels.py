"""Levels and format of the log while a gateway runs: those of its configuration, and changes that end by themselves."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pylae.logs.record import ROOT, STYLE
from pylae.logs.settings import AREAS, LogSettings

log = logging.getLogger("pylae.telemetry")

ALL = "level"
"""What a change of the level of all areas is a change of."""
FORMAT = "format"
_AUDIT = "pylae.audit"
"""The logger of the audit, which is written whatever the level is."""
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True, slots=True)
class LogChange:
    """Something that somebody has changed for a while.

    Attributes:
        what: An area, `level` for all of them, or `format`.
        value: What it is meanwhile.
        until: When it ends, in UTC.
        by: Who has changed it.
    """

    what: str
    value: str
    until: datetime
    by: str


class LogLevels:
    """The levels and the format. They are those of the process, like the loggers. All threads may use it.

    What neither the configuration nor a change says is left alone: a program may have set it.
    """

    def __init__(self, put_steps: Callable[[list[str]], object]) -> None:
        """`put_steps` is told the areas whose steps the data plane is to log (`pylae.engine.set_log_steps`)."""
        self._put_steps, self._told = put_steps, LogSettings()
        self._changes: dict[str, LogChange] = {}
        self._ends: dict[str, float] = {}
        self._before: dict[str, int] = {}
        self._steps: list[str] = []
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None

    def follow(self, told: LogSettings) -> None:
        """Takes over what a configuration says. Changes stay until their time is over."""
        with self._lock:
            self._told = told
            self._apply()

    def change(self, values: Mapping[str, str], lasting: timedelta, by: str) -> None:
        """Changes levels of areas, the `level` of all, or the `format`, for a while."""
        until, end = datetime.now(UTC) + lasting, time.monotonic() + lasting.total_seconds()
        with self._lock:
            for what, value in values.items():
                self._changes[what], self._ends[what] = LogChange(what, value, until, by), end
            said = ", ".join(f"{what}={value}" for what, value in sorted(values.items()))
            self._say(f"log: {said} until {until.isoformat(timespec='seconds')}, by {by}")
            self._wake()

    def end(self, by: str) -> bool:
        """Ends all changes. Returns whether there was any."""
        with self._lock:
            there = bool(self._changes)
            self._changes, self._ends = {}, {}
            if there:
                self._say(f"log: as configured again, by {by}")
                self._wake()
            return there

    def changes(self) -> list[LogChange]:
        """Returns what is changed now."""
        with self._lock:
            return [self._changes[what] for what in sorted(self._changes)]

    @property
    def format(self) -> str:
        """How lines of standard error are written: `text` or `json`."""
        return "json" if STYLE.json else "text"

    @staticmethod
    def levels() -> dict[str, str]:
        """Returns the level of each area."""
        found = {area: logging.getLogger(f"{ROOT}.{area}").getEffectiveLevel() for area in AREAS}
        return {area: logging.getLevelName(level).lower() for area, level in found.items()}

    def stop(self) -> None:
        """Leaves the loggers of the process as they were. May be called again."""
        with self._lock:
            self._told, self._changes, self._ends = LogSettings(), {}, {}
            self._apply()
            self._wake()

    def _say(self, text: str) -> None:
        """Applies what has changed, and says so before or after, whichever is heard."""
        heard = log.isEnabledFor(logging.INFO)
        if heard:
            log.info("%s", text)
        self._apply()
        if not heard:
            log.info("%s", text)

    def _apply(self) -> None:
        changed = {what: change.value for what, change in self._changes.items()}
        level = changed.get(ALL) or self._told.level
        self._set(ROOT, level)
        # The audit is asked for by a setting of its own.
        self._set(_AUDIT, level and "info")
        steps = []
        for area in AREAS:
            # A change for all areas counts more than what is configured for one.
            own = changed.get(area) or (None if ALL in changed else self._told.areas.get(area))  # type: ignore[call-overload]
            self._set(f"{ROOT}.{area}", own)
            if (own or level) == "debug":
                steps.append(area)
        style = changed.get(FORMAT) or self._told.format
        STYLE.json = style == "json"
        if steps != self._steps:
            self._steps = steps
            self._put_steps(steps)

    def _set(self, name: str, level: str | None) -> None:
        """Sets the level of a logger, or has it be what it was."""
        logger = logging.getLogger(name)
        if level is not None:
            self._before.setdefault(name, logger.level)
            logger.setLevel(_LEVELS[level])
        elif name in self._before:
            logger.setLevel(self._before.pop(name))

    def _wake(self) -> None:
        """Has the next change end in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ends:
            self._timer = threading.Timer(max(0.0, min(self._ends.values()) - time.monotonic()), self._expire)
            self._timer.name, self._timer.daemon = "pylae-log-levels", True
            self._timer.start()

    def _expire(self) -> None:
        with self._lock:
            now = time.monotonic()
            over = sorted(what for what, end in self._ends.items() if end <= now)
            for what in over:
                del self._changes[what], self._ends[what]
            if over:
                self._say(f"log: {', '.join(over)} as configured again: the time is over")
            self._wake()
