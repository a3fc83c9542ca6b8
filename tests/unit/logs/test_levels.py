"""Levels of the log: what is configured, what is changed for a while, and what a program has set."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest

from pylae.logs.levels import LogLevels
from pylae.logs.record import STYLE
from pylae.logs.settings import AREAS, LogSettings
from support.peer import wait_until

LONG = timedelta(hours=1)
ROOT = logging.getLogger("pylae")


@pytest.fixture
def steps() -> list[list[str]]:
    """The areas whose steps were wanted, one entry per change."""
    return []


@pytest.fixture
def levels(steps: list[list[str]]) -> Iterator[LogLevels]:
    made = LogLevels(lambda areas: steps.append(list(areas)))
    yield made
    made.stop()
    STYLE.json = False


def of(area: str) -> str:
    return LogLevels.levels()[area]


def test_nothing_configured_leaves_all_as_a_program_has_set_it(levels: LogLevels, steps: list[list[str]]) -> None:
    before = {name: logging.getLogger(f"pylae.{name}").level for name in AREAS}
    levels.follow(LogSettings())
    assert {name: logging.getLogger(f"pylae.{name}").level for name in AREAS} == before
    assert steps == []


def test_an_area_has_its_own_level_and_the_others_that_of_all(levels: LogLevels, steps: list[list[str]]) -> None:
    levels.follow(LogSettings(level="warning", areas={"upstream": "debug", "health": "error"}))
    assert (of("upstream"), of("health"), of("config")) == ("debug", "error", "warning")
    assert steps == [["upstream"]]
    assert logging.getLogger("pylae.audit").isEnabledFor(logging.INFO)
    levels.follow(LogSettings(level="debug", areas={"requests": "info"}))
    assert of("upstream") == "debug"
    assert steps[-1] == [area for area in AREAS if area != "requests"]


def test_the_end_leaves_the_loggers_as_they_were(levels: LogLevels, steps: list[list[str]]) -> None:
    before = ROOT.level
    levels.follow(LogSettings(level="error", areas={"tls": "debug"}))
    levels.change({"hooks": "debug", "level": "info"}, LONG, "me")
    levels.stop()
    assert ROOT.level == before
    assert all(logging.getLogger(f"pylae.{area}").level == logging.NOTSET for area in AREAS)
    assert steps[-1] == []


def test_a_change_counts_more_than_what_is_configured_and_the_nearest_most(levels: LogLevels) -> None:
    levels.follow(LogSettings(level="error", areas={"upstream": "warning"}))
    levels.change({"level": "info"}, LONG, "me")
    assert (of("upstream"), of("tls")) == ("info", "info")
    levels.change({"upstream": "debug"}, LONG, "you")
    assert (of("upstream"), of("tls")) == ("debug", "info")
    # A reload does not end it.
    levels.follow(LogSettings(areas={"tls": "error"}))
    assert (of("upstream"), of("tls")) == ("debug", "info")
    assert [(one.what, one.value, one.by) for one in levels.changes()] == [
        ("level", "info", "me"),
        ("upstream", "debug", "you"),
    ]
    assert levels.end("me")
    assert not levels.end("me")
    assert of("tls") == "error"
    assert levels.changes() == []


def test_a_change_ends_by_itself_and_says_so(levels: LogLevels, caplog: pytest.LogCaptureFixture) -> None:
    levels.follow(LogSettings(level="info"))
    levels.change({"upstream": "debug", "format": "json"}, timedelta(milliseconds=1), "me")
    wait_until(lambda: not levels.changes())
    wait_until(lambda: of("upstream") == "info")
    assert levels.format == "text"
    told = [record.getMessage() for record in caplog.records]
    assert [text.split(" until")[0] for text in told] == [
        "log: format=json, upstream=debug",
        "log: format, upstream as configured again: the time is over",
    ]


def test_a_later_change_of_the_same_area_counts_as_long_as_it_lasts(levels: LogLevels) -> None:
    levels.change({"upstream": "debug"}, timedelta(milliseconds=1), "me")
    levels.change({"upstream": "error"}, LONG, "you")
    levels.change({"tls": "debug"}, timedelta(milliseconds=1), "me")
    wait_until(lambda: [one.what for one in levels.changes()] == ["upstream"])
    assert of("upstream") == "error"


def test_it_is_said_also_where_the_change_is_to_silence(levels: LogLevels, caplog: pytest.LogCaptureFixture) -> None:
    levels.follow(LogSettings(level="info"))
    levels.change({"level": "error"}, LONG, "me")
    levels.end("me")
    told = [record.getMessage() for record in caplog.records]
    assert [text.split(" until")[0] for text in told] == ["log: level=error", "log: as configured again, by me"]


@pytest.mark.parametrize(
    "wrong", [{"level": "loud"}, {"areas": {"upsteam": "debug"}}, {"areas": {"tls": "trace"}}, {"format": "xml"}, 7]
)
def test_what_is_no_level_area_or_format_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="validation error"):
        LogSettings.model_validate(wrong)


def test_a_text_is_short_for_the_level() -> None:
    assert LogSettings.model_validate("warning") == LogSettings(level="warning")
