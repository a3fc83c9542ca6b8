"""The file in the state folder in which lines of the audit are before they are in the store."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pylae import state
from pylae.state.owner import acting, make_folder

NAME = "audit.jsonl"
MOST = 16 * 1024 * 1024
"""Bytes of the file."""


class AuditFile:
    """The file. All threads can use it, and another gateway that uses the folder while this one ends."""

    def __init__(self, folder: Path) -> None:
        """Removes what a killed process has left half done."""
        self._folder = folder
        self.path = folder / NAME
        state.sweep(folder, NAME)

    @property
    def size(self) -> int:
        """Bytes in it; 0 if there is none."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def append(self, lines: Sequence[bytes]) -> int:
        """Appends lines, and returns how many of them had room. They are on the disk then. Raises OSError."""
        with self._opened() as descriptor:
            room = MOST - os.fstat(descriptor).st_size
            fitting = 0
            for one in lines:
                if (room := room - len(one)) < 0:
                    break
                fitting += 1
            data = memoryview(b"".join(lines[:fitting]))
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        return fitting

    def read(self) -> bytes:
        """Returns what is in it. Raises OSError."""
        with self._opened() as descriptor:
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def cut(self, size: int) -> None:
        """Removes the first bytes of it. Raises OSError."""
        with self._opened() as descriptor:
            rest = os.pread(descriptor, os.fstat(descriptor).st_size, size)
            if rest:
                state.write(self.path, rest)
            else:
                state.remove(self.path)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Opens it, with a lock that nobody else has."""
        make_folder(self._folder)
        with acting():
            while True:
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(self.path, flags, 0o600)
                try:
                    # Some file systems have no locks.
                    with contextlib.suppress(OSError):
                        fcntl.flock(descriptor, fcntl.LOCK_EX)
                    # If not, it was cut before it was locked.
                    if os.fstat(descriptor).st_nlink:
                        yield descriptor
                        return
                finally:
                    os.close(descriptor)
