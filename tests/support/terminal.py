"""A pseudo-terminal: what a person would see who starts a program in one, and what typing does."""

from __future__ import annotations

import fcntl
import os
import pty
import queue
import re
import subprocess
import termios
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

_PATIENCE = 30.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A program that has a terminal of its own, in a session of its own, so that Ctrl-C is for it."""

    def __init__(self, *command: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, b"\x28\x00\xc8\x00\x00\x00\x00\x00")  # 40 rows of 200 columns
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env={**os.environ, "TERM": "xterm", **(env or {})},
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)
        self.raw = ""
        """All that was shown so far, colours included."""
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                # Nobody has the other end any more.
                data = b""
            self._pieces.put(data.decode(errors="replace") if data else None)
            if not data:
                return

    @property
    def text(self) -> str:
        """All that was shown so far, without colours."""
        return _COLOUR.sub("", self.raw).replace("\r\n", "\n")

    def read_until(self, pattern: str) -> re.Match[str]:
        """Waits until what is shown, without colours, has this pattern."""
        while not (found := re.search(pattern, self.text)):
            try:
                piece = self._pieces.get(timeout=_PATIENCE)
            except queue.Empty:
                raise AssertionError(f"did not show {pattern!r} but: {self.text}") from None
            assert piece is not None, f"ended without {pattern!r} after: {self.text}"
            self.raw += piece
        return found

    def shows(self, pattern: str) -> bool:
        """Whether what is shown by now has this pattern; waits for nothing."""
        while not self._pieces.empty():
            piece = self._pieces.get()
            assert piece is not None, f"ended without {pattern!r} after: {self.text}"
            self.raw += piece
        return re.search(pattern, self.text) is not None

    def type(self, text: str) -> None:
        """Types; `\\x03` is Ctrl-C."""
        os.write(self._ours, text.encode())

    def wait(self) -> int:
        """Reads what is left, waits for the end and gives the exit code."""
        while (piece := self._pieces.get(timeout=_PATIENCE)) is not None:
            self.raw += piece
        return self.process.wait(_PATIENCE)

    def stop(self) -> None:
        """Kills it if it is still there."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
