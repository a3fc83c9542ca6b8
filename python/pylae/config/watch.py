"""Notices that the files of a configuration have changed, however they were written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pylae.config.document.include import Pattern, held

_SETTLED = 2_000_000_000
"""Age in nanoseconds from which a file's time of change can be trusted to tell two contents apart."""


@dataclass(frozen=True, slots=True)
class _Seen:
    signature: tuple[int, ...] | None
    settled: bool
    digest: str | None


class Watch:
    """Compares files with what was read of them. The owner calls `changed` every now and then.

    A change is reported when two looks in a row see the same content, so that a file is not read while it is written.
    Contents are compared, so touching a file or renaming an equal one over it is no change.
    """

    def __init__(self, files: Mapping[Path, str | None], now: Callable[[], int] = time.time_ns) -> None:
        self._now = now
        self._read = dict(files)
        self._seen: dict[Path, _Seen] = {}

    def follow(self, files: Mapping[Path, str | None]) -> None:
        """From now on compares with these contents; None is a file that could not be read."""
        self._read = dict(files)
        self._seen = {path: seen for path, seen in self._seen.items() if path in self._read}

    def changed(self) -> bool:
        """Whether any file differs from what was read, and was the same at the last look already."""
        before = self._seen
        self._seen = {path: self._look(path, before.get(path)) for path in self._read}
        differs = any(seen.digest != self._read[path] for path, seen in self._seen.items())
        calm = all(path in before and before[path].digest == seen.digest for path, seen in self._seen.items())
        return differs and calm

    def _look(self, path: Path, before: _Seen | None) -> _Seen:
        if isinstance(path, Pattern):
            return _Seen(None, False, held(path))
        try:
            stat = path.stat()
            signature = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
            if before is not None and before.settled and before.signature == signature:
                return before
            return _Seen(signature, stat.st_mtime_ns < self._now() - _SETTLED, self._digest(path, signature, before))
        except OSError:
            return _Seen(None, False, None)

    def _digest(self, path: Path, signature: tuple[int, ...], before: _Seen | None) -> str | None:
        try:
            return held(path)
        except PermissionError:
            # What root has read and the user that the gateway has become cannot: the same as long as it looks so.
            if before is None:
                return self._read[path]
            return before.digest if before.signature == signature else None
