"""Hands log records to a thread of their own, so that a slow reader of the log delays nothing else."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pylae.logs.record import ROOT
from pylae.logs.settings import AREAS

CAPACITY = 4096
"""Most records that wait. More are dropped and counted."""
FAREWELL = 0.5
"""Seconds that the end waits for the remaining records."""


LOGGERS = (
    *(ROOT, *(f"{ROOT}.{area}" for area in AREAS), "pylae.audit"),
    *("asyncio", "uvicorn.error", "uvicorn.asgi"),
)
"""The loggers of a running gateway: its own, one per area, and those of the admin API and of asynchronous hooks."""
_COMPLAINING = logging.Handler()
"""Reports exceptions of handlers on standard error, as `logging` does."""


class Waiting(logging.Filter):
    """Hands the records of the loggers that it filters to their handlers on a thread of its own.

    Handlers may be the program's own, and wait for a full pipe or for a host that does not answer. What `QueueListener`
    of the library waits for at its end has no bound.
    """

    def __init__(self, name: str, count_dropped: Callable[[int], Any]) -> None:
        """`count_dropped` is told how many records were dropped, and the logger of this name once it flows again."""
        super().__init__("")
        self._logger, self._count_dropped = logging.getLogger(name), count_dropped
        self._process = os.getpid()
        self._records: queue.Queue[logging.LogRecord | None] = queue.Queue(CAPACITY)
        self._lock, self._dropped, self._ended = threading.Lock(), 0, False
        self._thread = threading.Thread(target=self._run, name="pylae-records", daemon=True)
        self._thread.start()

    def filter(self, record: logging.LogRecord) -> bool:
        """Takes a record; never lets it go on, except in a process that was forked, which has no such thread."""
        if os.getpid() != self._process:
            return True
        try:
            self._records.put_nowait(record)
        except queue.Full:
            with self._lock:
                self._dropped += 1
            self._count_dropped(1)
        return False

    def _run(self) -> None:
        while not self._ended or not self._records.empty():
            record = self._records.get()
            self._hand_over(record)
            if self._dropped and self._records.empty():
                with self._lock:
                    dropped, self._dropped = self._dropped, 0
                self._hand_over(self._loss(dropped))
            self._records.task_done()

    def _hand_over(self, record: logging.LogRecord | None) -> None:
        if record is not None:
            try:
                logging.getLogger(record.name).callHandlers(record)
            except Exception:
                # Whoever logged cannot be told any more.
                _COMPLAINING.handleError(record)

    def _loss(self, dropped: int) -> logging.LogRecord:
        text = "%d log records were dropped because their handlers did not take them in time"
        return self._logger.makeRecord(self._logger.name, logging.WARNING, __file__, 0, text, (dropped,), None)

    def end(self) -> None:
        """Waits for the remaining records, for a bounded time, and ends the thread."""
        self.flush()
        self._ended = True
        with suppress(queue.Full):
            # It may wait for a record that does not come any more.
            self._records.put_nowait(None)

    def flush(self, patience: float = FAREWELL) -> bool:
        """Waits until handlers have all records, for at most `patience` seconds. Returns whether they have."""
        end = time.monotonic() + patience
        with self._records.all_tasks_done:
            while self._records.unfinished_tasks:
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._records.all_tasks_done.wait(left)
        return True


@contextmanager
def waiting(names: Sequence[str], count_dropped: Callable[[int], Any]) -> Iterator[None]:
    """While the context lasts, logging by one of these loggers does not wait for handlers."""
    taking, loggers = Waiting(names[0], count_dropped), [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(taking)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(taking)
        taking.end()
