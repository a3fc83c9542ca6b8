"""Notices changes of configuration files."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pylae.config.document.include import Pattern, held

_SETTLED = 2_000_000_000
"""Age of a file in nanoseconds from which its modification time identifies its content."""


@dataclass(frozen=True, slots=True)
class _Seen:
    signature: tuple[int, ...] | None
    settled: bool
    digest: str | None


class Watch:
    """Compares files with the content that was read. The owner calls `changed` regularly.

    A change is reported once two consecutive looks see the same content, so that a file is not read while it is
    written. Contents are compared, so touching a file, or replacing it with an equal one, is not a change.
    """

    def __init__(self, files: Mapping[Path, str | None], now: Callable[[], int] = time.time_ns) -> None:
        self._now = now
        self._read = dict(files)
        self._seen: dict[Path, _Seen] = {}

    def follow(self, files: Mapping[Path, str | None]) -> None:
        """Compares with these contents from now on. None stands for a file that could not be read."""
        self._read = dict(files)
        self._seen = {path: seen for path, seen in self._seen.items() if path in self._read}

    def pass_over(self) -> None:
        """Compares with what the last look has seen from now on: it was read, and cannot be used."""
        self._read |= {path: seen.digest for path, seen in self._seen.items()}

    def changed(self) -> bool:
        """Returns true if any file differs from what was read, and has not changed since the last look."""
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
            # Root read the file, and the user that the gateway switched to cannot. Compare its signature instead.
            if before is None:
                return self._read[path]
            return before.digest if before.signature == signature else None
