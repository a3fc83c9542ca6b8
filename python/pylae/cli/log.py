"""Log records as lines for people, on standard error, and standard error that nobody waits for."""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
import threading
import time

import click

_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
_DESCRIPTOR = 2
_FAREWELL = 0.5
"""Seconds that the end waits for whoever reads standard error."""
_LONGEST = 64 * 1024
"""Characters after which a line that has no end is written all the same."""


class Lines(logging.Handler):
    """Prints the time, the level unless it is the usual one, and the message."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        try:
            level = record.levelname
            mark = "" if level == "INFO" else click.style(f"{level.lower()}: ", fg=_COLOURS.get(level))
            text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))}  {mark}{record.getMessage()}"
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
            click.echo(text, err=True, color=False if os.environ.get("NO_COLOR") else None)
        except Exception:
            self.handleError(record)


class StandardError(io.TextIOBase):
    """Standard error, written by a native thread: what it does not take in time is dropped and counted."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self) -> None:
        super().__init__()
        # Of this thread alone it may be held twice: a signal's handler may print, too.
        self._lock = threading.RLock()
        self._begun = ""
        self._process = os.getpid()

    def write(self, text: str) -> int:
        """Has whole lines written; the beginning of one waits for its end."""
        with self._lock:
            whole, end, rest = (self._begun + text).rpartition("\n")
            self._begun = rest
            if len(rest) > _LONGEST:
                whole, end, self._begun = whole + end + rest, "\n", ""
        if end:
            self._pass_on(whole + end)
        return len(text)

    def _pass_on(self, lines: str) -> None:
        from pylae.engine import write_stderr

        if os.getpid() == self._process:
            write_stderr(lines.encode(self.encoding, self.errors).decode(self.encoding))
        else:
            # The thread is not in a process that was forked.
            os.write(_DESCRIPTOR, lines.encode(self.encoding, self.errors))

    def finish(self) -> None:
        """Waits, for a bounded time, until everything is written."""
        from pylae.engine import flush_stderr

        with self._lock:
            begun, self._begun = self._begun, ""
        if begun:
            self._pass_on(begun + "\n")
        flush_stderr(_FAREWELL)

    def writable(self) -> bool:
        """It is."""
        return True

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(_DESCRIPTOR)

    def fileno(self) -> int:
        """The descriptor of the process."""
        return _DESCRIPTOR


def to_standard_error() -> None:
    """Lets Pylae's records appear, unless the program that is run says otherwise."""
    logger = logging.getLogger("pylae")
    if not logger.handlers:
        logger.addHandler(Lines())
        logger.setLevel(logging.DEBUG if os.environ.get("PYLAE_DEBUG") else logging.INFO)
        logger.propagate = False


def without_waiting() -> None:
    """Has nothing that is printed to standard error wait for whoever reads it, from now to the end of the process."""
    if _is_real(sys.stderr):
        sys.stderr = standard_error = StandardError()
        atexit.register(standard_error.finish)


def _is_real(stream: object) -> bool:
    """Whether a stream is standard error itself, and not what somebody has put in its place."""
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == _DESCRIPTOR
    except (OSError, ValueError):
        return False
