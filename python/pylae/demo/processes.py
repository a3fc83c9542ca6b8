"""Programs that the demo runs beside the services, and that end with it, however it ends."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

_TIED = Path(__file__).with_name("tied.py")


class DemoProcess:
    """A program that was started. It ends with the thread that has started it, which should be the main thread.

    Two threads call `on_line` with each line of its standard output and error, and whether it is the latter. When it
    has ended, `on_end` is called with its exit code, negative for a signal.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        on_line: Callable[[str, bool], None],
        on_end: Callable[[int], None],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._on_line, self._on_end = on_line, on_end
        self._process = subprocess.Popen(  # noqa: S603 (what the demo starts)
            [sys.executable, "-I", "-S", str(_TIED), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **(env or {})},
            start_new_session=True,  # Ctrl-C is for the demo, which then stops this
        )
        self._threads = [
            threading.Thread(target=self._read, args=(self._process.stdout, False), daemon=True),
            threading.Thread(target=self._wait, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def terminate(self) -> None:
        """Asks it to end, unless it has."""
        self._process.terminate()

    def stop(self, patience: float) -> None:
        """Waits until it has ended, and kills it if that takes longer than `patience`."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join()

    def _read(self, pipe: IO[str] | None, is_error: bool) -> None:
        with pipe or io.StringIO() as lines:  # it is there: it was asked for
            for line in lines:
                self._on_line(line.rstrip("\n"), is_error)

    def _wait(self) -> None:
        self._read(self._process.stderr, is_error=True)
        self._on_end(self._process.wait())
