"""Log records as lines on standard error, which a slow reader cannot block."""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
import threading
import time

import click

from pylae.logs.record import ROOT, STYLE, area_of, as_json

_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
_DESCRIPTOR = 2
_FAREWELL = 0.5
"""Seconds to wait at the end for the reader of standard error."""
_LONGEST = 64 * 1024
"""Characters after which an unfinished line is written anyway."""


class Lines(logging.Handler):
    """Prints the time, the level if it is not the usual one, and the message; or JSON, if that is configured."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        try:
            text = as_json(record) if STYLE.json else _for_people(record)
            click.echo(text, err=True, color=False if os.environ.get("NO_COLOR") else None)
        except Exception:
            self.handleError(record)


class _Foreign(logging.Formatter):
    """Formats warnings of other libraries, which have no handler of their own."""

    def format(self, record: logging.LogRecord) -> str:
        return as_json(record) if STYLE.json else super().format(record)


def _for_people(record: logging.LogRecord) -> str:
    level = record.levelname
    # Steps are many, and easier to read with their area.
    area = f"{area_of(record)}: " if level == "DEBUG" and area_of(record) else ""
    mark = "" if level == "INFO" else click.style(f"{level.lower()}: ", fg=_COLOURS.get(level))
    text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))}  {mark}{area}{record.getMessage()}"
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


class StandardError(io.TextIOBase):
    """Standard error, written by a native thread. Lines that it cannot write in time are dropped and counted."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self) -> None:
        super().__init__()
        # A reentrant lock, because a signal handler on the same thread may print too.
        self._lock = threading.RLock()
        self._begun = ""
        self._process = os.getpid()

    def write(self, text: str) -> int:
        """Writes complete lines, and keeps an unfinished one until its end."""
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
            # A forked process does not have the thread.
            os.write(_DESCRIPTOR, lines.encode(self.encoding, self.errors))

    def finish(self) -> None:
        """Waits until everything is written, for a limited time."""
        from pylae.engine import flush_stderr

        with self._lock:
            begun, self._begun = self._begun, ""
        if begun:
            self._pass_on(begun + "\n")
        flush_stderr(_FAREWELL)

    def writable(self) -> bool:
        """Returns true."""
        return True

    def isatty(self) -> bool:
        """Returns true if it is a terminal."""
        return os.isatty(_DESCRIPTOR)

    def fileno(self) -> int:
        """Returns the descriptor of the process."""
        return _DESCRIPTOR


def to_standard_error() -> None:
    """Shows Pylae's log records, unless the program configures logging itself."""
    logger = logging.getLogger(ROOT)
    if not logger.handlers:
        logger.addHandler(Lines())
        logger.setLevel(logging.DEBUG if os.environ.get("PYLAE_DEBUG") else logging.INFO)
        logger.propagate = False
        if logging.lastResort is not None:
            logging.lastResort.setFormatter(_Foreign())


def without_waiting() -> None:
    """Makes standard error non-blocking for the rest of the process: no print waits for its reader."""
    if _is_real(sys.stderr):
        sys.stderr = standard_error = StandardError()
        atexit.register(standard_error.finish)


def _is_real(stream: object) -> bool:
    """Returns true if a stream is standard error itself and was not replaced."""
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == _DESCRIPTOR
    except (OSError, ValueError):
        return False
