"""The audit: a line for every call of the admin API that changes something, or was refused because of its scope.

A line is on the disk of this node before its call is answered, in a file of the state folder. One thread writes there,
and another one moves lines into the store: at once where several nodes share it, else when it is open or the file is
large. So no call waits for the store, and an idle gateway does not open it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pylae.access.audit_file import AuditFile
from pylae.errors import StoreError
from pylae.store.kept import Kept
from pylae.store.store import MOST_OPERATIONS, MOST_PAIRS, MOST_VALUE, Delete, Put, Store

log = logging.getLogger("pylae.admin")
audit_log = logging.getLogger("pylae.audit")

PREFIX = "audit/"
VERSION = 1
MOST_LINE = 8 * 1024
"""Bytes of a line."""
_LARGE = 256 * 1024
"""Bytes of the file from which on the store is opened for it."""
_WAITING = 4096
"""Lines that wait for the thread."""
_AT_ONCE = 512
_AGAIN = 2.0
"""Seconds until a store that is away is asked again."""
_PAUSE = 0.2
"""Seconds between two times that lines are moved into the store."""
_TRIM_AFTER = 500
"""Lines between two looks at how many the store has."""
_FAREWELL = 5.0
SAME = 600.0
"""Seconds in which the same refusal, over and over, is one line, and then another one that says how often."""
_MOST_SAME = 256
_COUNT = 5.0
"""Seconds between two looks at whether such a line is due."""


@dataclass(frozen=True, slots=True)
class Line:
    """What someone did.

    Attributes:
        time: When it was answered (ISO 8601, UTC).
        who: Name of the token, `admin` for the gateway's own one, or `local` for the socket in the state folder.
        token: Id of the token; None for the other two.
        user: User of the operating system; None but for `local`.
        address: Where the call came from; None at a socket.
        node: The node that was called.
        method: Method of the call.
        path: Path as in the OpenAPI document.
        arguments: Parameters, and fields of the body that are no secrets.
        status: Status of the answer.
        detail: Why it was refused; None if it was not.
        times: How often, if the same was refused over and over.
    """

    time: str
    who: str
    token: str | None
    user: str | None
    address: str | None
    node: str
    method: str
    path: str
    arguments: dict[str, Any]
    status: int
    detail: str | None
    times: int = 1


@dataclass(slots=True)
class _Repeated:
    """A refusal that has a line, how often it has come since, and until when those are counted."""

    line: Line
    until: float
    times: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A line that waits to be written."""

    key: str
    data: bytes
    written: Future[None]


def now() -> str:
    """Returns the time for a line."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Found:
    """A line in the store, with its id, which sorts by time."""

    id: str
    line: dict[str, Any]


class AuditLog:
    """The audit of a gateway. All threads can use it."""

    def __init__(self, kept: Kept, folder: Path, most: Callable[[], int], is_shown: Callable[[], bool]) -> None:
        """`most` says how many lines the store keeps, `is_shown` whether each is also a record of `pylae.audit`."""
        self._kept, self._most, self._is_shown = kept, most, is_shown
        self._file = AuditFile(folder)
        self._lines: queue.Queue[_Waiting | None] = queue.Queue(_WAITING)
        self._lock = threading.Lock()
        self._moving = threading.Lock()
        """Held while lines are moved into the store."""
        self._threads: list[threading.Thread] = []
        self._due, self._ended = threading.Event(), threading.Event()
        self._stopped = False
        self._start, self._number = secrets.token_hex(3), 0
        self._moved = _TRIM_AFTER
        self.unkept = 0
        """How many lines are in the gateway's log alone, because there was no room for them."""
        self._refused: dict[tuple[object, ...], _Repeated] = {}
        self._trouble: str | None = None

    def start(self) -> None:
        """Moves lines on that an earlier run has left, where several nodes share the store."""
        if self._kept.shared and self._file.size:
            self._due.set()
            self._begin()

    def record(self, line: Line) -> Future[None]:
        """Writes a line, soon. The result is there once it is on the disk, or in the gateway's log.

        An instance that is refused every second has a line in ten minutes.
        """
        if line.status >= 400 and self._is_counted(line):
            done: Future[None] = Future()
            done.set_result(None)
            return done
        return self._record(line)

    def _is_counted(self, line: Line) -> bool:
        """Counts a refusal that was there before. If it was not, those like it are counted from now on."""
        same = (line.who, line.token, line.address, line.method, line.path, line.status, line.detail)
        key = (*same, json.dumps(line.arguments))
        with self._lock:
            known, at = self._refused.get(key), time.monotonic()
            if known is not None and at < known.until:
                known.line, known.times = line, known.times + 1
                return True
            over = [self._refused.pop(key)] if known is not None else []
            while len(self._refused) >= _MOST_SAME:
                over.append(self._refused.pop(next(iter(self._refused))))
            self._refused[key] = _Repeated(line, at + SAME)
        self._say_times(over)
        return False

    def _say_times(self, over: Sequence[_Repeated]) -> None:
        for one in over:
            if one.times:
                self._record(replace(one.line, time=now(), times=one.times))

    def _count(self, *, all_of_them: bool) -> None:
        """Writes the lines that say how often something was refused, if they are due."""
        with self._lock:
            at = time.monotonic()
            over = [key for key, one in self._refused.items() if all_of_them or at >= one.until]
            found = [self._refused.pop(key) for key in over]
        self._say_times(found)

    def _record(self, line: Line) -> Future[None]:
        with self._lock:
            self._number += 1
            number = self._number
        key = f"{line.time[:26].replace(':', '-')}Z-{self._start}-{number:08d}"
        waiting = _Waiting(key, _encoded(line), Future())
        if self._is_shown():
            audit_log.info("%s", waiting.data.decode())
        self._begin()
        try:
            if self._stopped:
                raise queue.Full
            self._lines.put_nowait(waiting)
        except queue.Full:
            self._tell("too many wait to be written", [waiting])
            waiting.written.set_result(None)
        return waiting.written

    def _begin(self) -> None:
        with self._lock:
            if not self._threads and not self._stopped:
                for name, work in (("pylae-audit", self._write_always), ("pylae-audit-store", self._move_always)):
                    self._threads.append(threading.Thread(target=work, name=name, daemon=True))
                    self._threads[-1].start()

    def stop(self) -> None:
        """Writes what is left, and ends. May be called again."""
        self._count(all_of_them=True)
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        if self._threads:
            writing, moving = self._threads
            with contextlib.suppress(queue.Full):
                self._lines.put(None, timeout=_FAREWELL)
            writing.join(_FAREWELL)
            self._ended.set()
            self._due.set()
            moving.join(_FAREWELL)

    def _write_always(self) -> None:
        more = True
        while more:
            batch, more = self._batch()
            if batch:
                self._write(batch)
            self._count(all_of_them=False)
            if self._is_due():
                self._due.set()

    def _batch(self) -> tuple[list[_Waiting], bool]:
        """The next lines, none if there is something else to do by now; and whether there are more to come."""
        batch: list[_Waiting] = []
        try:
            one = self._lines.get(timeout=_COUNT if self._refused else None)
            while one is not None and len(batch) < _AT_ONCE:
                batch.append(one)
                one = self._lines.get_nowait()
        except queue.Empty:
            return batch, True
        if one is not None:
            batch.append(one)
        return batch, one is not None

    def _write(self, batch: Sequence[_Waiting]) -> None:
        """Appends lines to the file. What it has no room for is in the gateway's log."""
        try:
            fitting = self._file.append([one.key.encode() + b" " + one.data + b"\n" for one in batch])
            self._tell(f"{self._file.path} is full", batch[fitting:])
        except OSError as error:
            self._tell(f"{self._file.path} cannot be written: {error.strerror}", batch)
        finally:
            for one in batch:
                one.written.set_result(None)

    def _tell(self, why: str, lines: Sequence[_Waiting]) -> None:
        """Says lines in the gateway's log that are kept nowhere else."""
        self.unkept += len(lines)
        for one in lines:
            log.warning("audit, not kept because %s: %s", why, one.data.decode())

    def _is_due(self) -> bool:
        return self._file.size > (0 if self._kept.shared or self._kept.is_open else _LARGE)

    def _move_always(self) -> None:
        while not self._ended.is_set():
            self._due.wait()
            self._due.clear()
            pause = _PAUSE
            try:
                if self._is_due():
                    self.move()
            except StoreError as error:
                self._due.set()
                pause = _AGAIN
                if (said := str(error)) != self._trouble:
                    self._trouble = said
                    log.warning("lines of the audit wait in %s: %s", self._file.path, said)
            self._ended.wait(pause)
        # What is not moved by now is moved at the next start.
        with contextlib.suppress(StoreError):
            if self._is_due():
                self.move()

    def move(self) -> None:
        """Moves all lines of the file into the store. Raises StoreError."""
        with self._moving:
            store = self._kept.opened()
            if not self._file.size:
                return
            try:
                data = self._file.read()
            except OSError as error:
                raise StoreError(f"{self._file.path} cannot be read: {error.strerror}") from None
            # Lines are appended meanwhile. A line has the same key if it is put again.
            for puts in _batches(_puts(data)):
                store.txn([], puts)
                self._moved += len(puts)
            try:
                self._file.cut(len(data))
            except OSError as error:
                log.warning("%s cannot be cut: %s", self._file.path, error.strerror)
            if self._trouble is not None:
                self._trouble = None
                log.info("the lines of the audit that have waited are in the store")
            if self._moved >= _TRIM_AFTER:
                self._trim(store)
                self._moved = 0

    def _trim(self, store: Store) -> None:
        """Removes the oldest lines from the store, beyond the number that is kept."""
        keys: list[str] = []
        page = store.range(PREFIX)
        keys += [one.key for one in page.pairs]
        while page.more:
            page = store.range(PREFIX, after=keys[-1])
            keys += [one.key for one in page.pairs]
        old = keys[: max(0, len(keys) - self._most())]
        for begin in range(0, len(old), MOST_OPERATIONS):
            store.txn([], [Delete(key) for key in old[begin : begin + MOST_OPERATIONS]])

    def found(
        self,
        most: int,
        matches: Callable[[dict[str, Any]], bool],
        *,
        after: str | None = None,
        before: str | None = None,
    ) -> list[Found]:
        """Returns the latest lines that match, latest first, of those after and before an id. Raises StoreError."""
        self.move()
        store = self._kept.opened()
        latest: deque[Found] = deque(maxlen=most)
        key = PREFIX + after if after is not None else None
        while True:
            page = store.range(PREFIX, after=key, limit=MOST_PAIRS)
            for one in page.pairs:
                key = one.key
                line_id = one.key.removeprefix(PREFIX)
                if before is not None and line_id >= before:
                    return list(reversed(latest))
                line = _read(one.value)
                if line is None:
                    log.error("%s in %s is no line of the audit", one.key, store.where)
                elif matches(line):
                    latest.append(Found(line_id, line))
            if not page.more:
                return list(reversed(latest))


def _encoded(line: Line) -> bytes:
    document = {"version": VERSION, **asdict(line)}
    data = json.dumps(document).encode()
    if len(data) > MOST_LINE:
        cut = {**document, "arguments": {"cut": True}, "detail": (line.detail or "")[:500] or None}
        data = json.dumps(cut).encode()
    return data


def _puts(data: bytes) -> Iterator[Put]:
    for line in data.split(b"\n"):
        key, _, value = line.partition(b" ")
        if not value:
            continue
        try:
            yield Put(PREFIX + key.decode("ascii"), value)
        except (StoreError, UnicodeDecodeError):
            log.error("a line of the audit is damaged: %s", line[:MOST_LINE].decode(errors="replace"))


def _batches(puts: Iterator[Put]) -> Iterator[list[Put]]:
    batch: dict[str, Put] = {}
    length = 0
    for one in puts:
        if batch and (len(batch) == MOST_OPERATIONS or length + len(one.value) > MOST_VALUE):
            yield list(batch.values())
            batch, length = {}, 0
        batch[one.key] = one
        length += len(one.value)
    if batch:
        yield list(batch.values())


_FIELDS: dict[str, tuple[type, ...]] = {
    "time": (str,),
    "who": (str,),
    "token": (str, type(None)),
    "user": (str, type(None)),
    "address": (str, type(None)),
    "node": (str,),
    "method": (str,),
    "path": (str,),
    "arguments": (dict,),
    "status": (int,),
    "detail": (str, type(None)),
    "times": (int,),
}


def _read(value: bytes) -> dict[str, Any] | None:
    """Reads a line of the store; None if it is none."""
    try:
        found = json.loads(value) if len(value) <= 2 * MOST_LINE else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return None
    if not all(isinstance(found.get(name, ...), types) for name, types in _FIELDS.items()):
        return None
    return {name: found[name] for name in _FIELDS}
