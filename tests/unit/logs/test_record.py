"""A record of the log as JSON."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from pylae.logs.record import JsonFormatter, as_json


def record(name: str, message: str, *args: object, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, __file__, 1, message, args, None)
    made.created = 1772446530.25
    made.__dict__.update(extra)
    return made


def test_a_line_has_time_level_area_event_and_what_a_step_says() -> None:
    line = as_json(record("pylae.upstream", "%s", "attempt begun id=one", event="step", fields={"id": "one"}))
    assert json.loads(line) == {
        "timestamp": "2026-03-02T10:15:30.250000Z",
        "level": "warning",
        "area": "upstream",
        "event": "step",
        "message": "attempt begun id=one",
        "fields": {"id": "one"},
    }


def test_what_is_not_known_is_left_out_and_others_have_the_name_of_their_logger() -> None:
    found = [json.loads(as_json(record(name, "hello"))) for name in ("pylae", "uvicorn.error", "pylaelike")]
    assert [set(one) - {"timestamp", "level", "message"} for one in found] == [set(), {"logger"}, {"logger"}]
    assert found[1]["logger"] == "uvicorn.error"


def test_it_is_one_line_whatever_is_said() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError:
        made = record("pylae.hooks", "two\nlines \x1b[31m \udcff ü")
        made.exc_info = sys.exc_info()
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert "\x1b" not in line
    found = json.loads(line)
    assert found["message"] == "two\nlines \x1b[31m \udcff ü"
    assert found["exception"].endswith("ValueError: a\nb")
