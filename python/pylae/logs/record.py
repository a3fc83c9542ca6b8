"""A record of the log as a line: for people, or as JSON for programs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

ROOT = "pylae"
"""The logger that those of the areas are below."""
_ERRORS = logging.Formatter()


class Style:
    """How lines are written in this process."""

    json = False
    """Whether each is a JSON object."""


STYLE = Style()


def area_of(record: logging.LogRecord) -> str | None:
    """Returns what a record is about; None if the gateway has not written it, or does not say."""
    root, _, area = record.name.partition(".")
    return area if root == ROOT and area else None


def as_json(record: logging.LogRecord) -> str:
    """Returns a record as a JSON object on one line.

    It has the time in UTC (RFC 3339), the level and the message, and if known the area, the event, what a step says by
    name, and an exception. Records of other libraries have the name of their logger.
    """
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    line: dict[str, Any] = {"timestamp": at, "level": record.levelname.lower()}
    if area := area_of(record):
        line["area"] = area
    elif record.name != ROOT:
        line["logger"] = record.name
    if event := getattr(record, "event", None):
        line["event"] = event
    line["message"] = record.getMessage()
    if fields := getattr(record, "fields", None):
        line["fields"] = fields
    if record.exc_info:
        line["exception"] = _ERRORS.formatException(record.exc_info)
    return json.dumps(line, ensure_ascii=False, default=str)


class JsonFormatter(logging.Formatter):
    """Formats records as JSON, for handlers of a program that embeds a gateway."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line."""
        return as_json(record)
