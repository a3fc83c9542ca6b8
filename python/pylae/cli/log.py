"""Log records as lines for people, on standard error."""

from __future__ import annotations

import logging
import os
import time

import click

_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


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


def to_standard_error() -> None:
    """Lets Pylae's records appear, unless the program that is run says otherwise."""
    logger = logging.getLogger("pylae")
    if not logger.handlers:
        logger.addHandler(Lines())
        logger.setLevel(logging.DEBUG if os.environ.get("PYLAE_DEBUG") else logging.INFO)
        logger.propagate = False
