"""The last hour of a gateway: its figures every few seconds, and since when something is wrong, and what is over."""

from __future__ import annotations

import logging
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pylae.errors import EngineError

log = logging.getLogger("pylae.telemetry")

INTERVAL = 5.0
"""Seconds between two readings."""
LASTING = 720
"""Readings that are kept: those of an hour."""
MOST_SERVICES = 256
"""Services whose figures are kept. The first that have requests."""
MOST_TROUBLES = 512
"""Troubles that last, and as many that are over."""
FAILING = 0.5
"""Share of failed attempts above which an instance counts as failing, and of 5xx above which a service does."""
_FEWEST = 3
"""Fewest attempts or requests between two readings for that."""
_CALM = 3
"""Readings without the trouble after which failures count as over: attempts may be rare, and fail now and then."""
COLUMNS = ("requests", "errors", "p50", "p99")
"""Of each reading: requests and 5xx since the one before, and durations of the last minute in seconds."""

Kind = Literal["down", "ejected", "draining", "failing", "open", "half_open", "errors"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong for a while.

    Attributes:
        service: Name of the service.
        instance: URL of the instance; None if it is the service.
        kind: `down`, `ejected` and `draining` are states of an instance. `failing`: most attempts at it fail. `open`
            and `half_open`: its breaker, or that of the service. `errors`: most answers of the service are 5xx.
        why: What is known of the reason.
        since: When it was noticed, in seconds since 1970.
        until: When it was noticed to be over; None while it lasts.
    """

    service: str
    instance: str | None
    kind: Kind
    why: str | None
    since: float
    until: float | None = None


_Key = tuple[str, str | None, Kind]


class Series:
    """The figures of a service, or of the gateway. Readings without requests have no durations (NaN)."""

    def __init__(self) -> None:
        self.columns = {name: array("f") for name in COLUMNS}
        self.total = (0, 0)
        """Requests and errors since the start of the gateway, at the last reading."""

    def add(self, figures: Mapping[str, Any]) -> tuple[int, int]:
        """Adds a reading; returns the requests and errors since the one before."""
        requests, errors = figures["requests"] - self.total[0], figures["errors"] - self.total[1]
        self.total = figures["requests"], figures["errors"]
        recent = figures["recent"]
        nothing = float("nan")
        values = (requests, errors, recent["p50"], recent["p99"])
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(nothing if value is None else value)
        if len(self.columns["requests"]) > LASTING:
            for column in self.columns.values():
                del column[0]
        return requests, errors


class Timeline:
    """Reads the figures of the engine every few seconds. All threads can use it."""

    def __init__(
        self,
        stats: Callable[[], Mapping[str, Any]],
        summary: Callable[[], Mapping[str, Any]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`stats` and `summary` are those of the engine; they raise EngineError once it has stopped."""
        self._stats, self._summary, self._clock = stats, summary, clock
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=LASTING)
        self._series: dict[str, Series] = {}
        self._attempts: dict[tuple[str, str], tuple[int, int]] = {}
        self._lasting: dict[_Key, Trouble] = {}
        self._calm: dict[_Key, int] = {}
        self._over: deque[Trouble] = deque(maxlen=MOST_TROUBLES)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Reads from now on, on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="pylae-timeline", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends that."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL):
            try:
                self.read()
            except EngineError:
                return
            except Exception:
                # Nothing but this picture depends on it.
                log.exception("fault in the timeline")

    def read(self) -> None:
        """Takes one reading. Raises EngineError."""
        stats, summary, now = self._stats(), self._summary(), self._clock()
        with self._lock:
            self._times.append(now)
            for name in [name for name in self._series if name and name not in summary["services"]]:
                del self._series[name]
            found = dict(self._states(stats["services"]))
            self._of("", summary)
            for name, figures in summary["services"].items():
                requests, errors = self._of(name, figures)
                if requests >= _FEWEST and errors / requests >= FAILING:
                    found[name, None, "errors"] = f"{errors} of {requests} answers were 5xx"
            self._note(found, now)

    def _of(self, name: str, figures: Mapping[str, Any]) -> tuple[int, int]:
        series = self._series.get(name)
        if series is None:
            if not figures["requests"] or len(self._series) > MOST_SERVICES:
                return 0, 0
            series = self._series[name] = Series()
        return series.add(figures)

    def _states(self, services: list[Mapping[str, Any]]) -> Iterator[tuple[_Key, str | None]]:
        before, self._attempts = self._attempts, {}
        for service in services:
            name, breaker = service["name"], service["breaker"]
            if breaker and breaker["state"] != "closed":
                yield (name, None, breaker["state"]), breaker["reason"]
            for one in service["instances"]:
                url, breaker = one["url"], one["breaker"]
                if one["state"] != "up":
                    yield (name, url, one["state"]), None
                if breaker and breaker["state"] != "closed":
                    yield (name, url, breaker["state"]), breaker["reason"]
                self._attempts[name, url] = counts = one["attempts"], one["failures"]
                attempts, failures = (
                    new - old for new, old in zip(counts, before.get((name, url), counts), strict=True)
                )
                if attempts >= _FEWEST and failures / attempts >= FAILING:
                    yield (name, url, "failing"), f"{failures} of {attempts} attempts failed"

    def _note(self, found: Mapping[_Key, str | None], now: float) -> None:
        for key, why in found.items():
            self._calm.pop(key, None)
            if key not in self._lasting and len(self._lasting) < MOST_TROUBLES:
                self._lasting[key] = Trouble(*key, why, now)
        for key in [key for key in self._lasting if key not in found]:
            calm = self._calm[key] = self._calm.get(key, 0) + 1
            if key[2] not in ("failing", "errors") or calm >= _CALM:
                trouble = self._lasting.pop(key)
                del self._calm[key]
                self._over.append(Trouble(*key, trouble.why, trouble.since, now))

    def troubles(self) -> list[Trouble]:
        """What is wrong now, the latest first, and then what is over, the latest first."""
        with self._lock:
            lasting = sorted(self._lasting.values(), key=lambda one: -one.since)
            return [*lasting, *reversed(self._over)]

    def series(self, services: Sequence[str] = ()) -> tuple[list[float], dict[str, dict[str, list[float | None]]]]:
        """The times of readings, in seconds since 1970, and the figures by `COLUMNS` of the gateway, whose name is
        empty, and of services by their names.

        A reading before the first request of a service has no figures.
        """
        with self._lock:
            count = len(self._times)
            return list(self._times), {name: _columns(self._series.get(name), count) for name in ("", *services)}


def _columns(series: Series | None, count: int) -> dict[str, list[float | None]]:
    if series is None:
        return {name: [None] * count for name in COLUMNS}
    missing = count - len(series.columns["requests"])
    return {
        name: [*([None] * missing), *(None if value != value else value for value in column)]
        for name, column in series.columns.items()
    }
