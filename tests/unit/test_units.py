from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pylae.units import (
    DURATION_HELP,
    ByteSize,
    Duration,
    Rate,
    RequestRate,
    Wait,
    parse_duration,
    parse_rate,
    parse_size,
    size,
)


class Sample(BaseModel):
    duration: Duration = timedelta(seconds=1)
    wait: Wait = timedelta(0)
    size: ByteSize = 0
    rate: Rate = RequestRate(1, timedelta(minutes=1))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (30, 30),
        (0.25, 0.25),
        ("30", 30),
        ("1.5", 1.5),
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("1d", 86400),
        ("2w", 1209600),
        (" 1.5h ", 5400),
        (timedelta(seconds=7), 7),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    assert parse_duration(written).total_seconds() == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "5 m",
        "1h 30m",
        "5x",
        "-5s",
        -1,
        True,
        None,
        [],
        "1e9",
        "5m!",
        "٣s",
        float("nan"),
        float("inf"),
        1e300,
        "9" * 400,
    ],
)
def test_not_durations(written: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(written)


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        assert parse_duration(text) >= timedelta(0)
    except ValueError as error:
        # Whatever the text is, it is not repeated.
        assert str(error) in (f"not a duration; {DURATION_HELP}", "a duration cannot be longer than ten years")


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (0, 0),
        (1000, 1000),
        ("1000", 1000),
        ("64KB", 65536),
        ("64 KiB", 65536),
        ("10MB", 10 * 2**20),
        ("10m", 10 * 2**20),
        ("1.5kb", 1536),
        ("1G", 2**30),
        ("2TB", 2**41),
        ("5B", 5),
    ],
)
def test_sizes(written: object, count: int) -> None:
    assert parse_size(written) == count


@pytest.mark.parametrize(
    "written", ["", "KB", "5iB", "5 bits", "0.3B", -1, "-1KB", True, 1.0, None, "99999TB", "9" * 400]
)
def test_not_sizes(written: object) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(written)


@pytest.mark.parametrize(
    ("written", "limit", "seconds"),
    [
        (100, 100, 60),
        ("100", 100, 60),
        ("100/minute", 100, 60),
        ("10/s", 10, 1),
        ("10/sec", 10, 1),
        ("5 per hour", 5, 3600),
        ("10000/day", 10000, 86400),
        ("50/5m", 50, 300),
    ],
)
def test_rates(written: object, limit: int, seconds: float) -> None:
    assert parse_rate(written) == RequestRate(limit, timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "written", ["", "x", "0", 0, -5, "10/", "10/fortnight", "/s", True, 1.5, None, "10/0s", "9" * 5000]
)
def test_not_rates(written: object) -> None:
    with pytest.raises(ValueError, match="rate"):
        parse_rate(written)


def test_plan_form() -> None:
    sample = Sample.model_validate({"duration": "5m", "wait": 0, "size": "1KB", "rate": "10/s"})
    assert sample.model_dump(mode="json") == {
        "duration": 300.0,
        "wait": 0.0,
        "size": 1024,
        "rate": {"limit": 10, "per": 1.0},
    }


def test_zero_is_a_wait_but_no_duration() -> None:
    with pytest.raises(ValidationError, match="longer than zero"):
        Sample.model_validate({"duration": 0})


def test_schema_takes_what_people_write() -> None:
    properties = Sample.model_json_schema()["properties"]
    assert properties["duration"]["type"] == ["number", "string"]
    assert properties["size"]["type"] == ["integer", "string"]


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "0"), (1000, "1000"), (1024, "1KB"), (1536, "1536"), (15 * 2**20, "15MB"), (2**30, "1GB"), (2**50, "1024TB")],
)
def test_sizes_are_written_as_they_are_read(number: int, written: str) -> None:
    assert size(number) == written
    assert parse_size(written) == number
