from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from pylae.runtime import records
from pylae.runtime.records import Waiting, waiting


class Slow(logging.Handler):
    """A handler that waits for somebody."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entered.set()
        self.go.wait()
        self.messages.append(record.getMessage())


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    one = logging.getLogger(f"{__name__}.alone")
    one.setLevel(logging.DEBUG)
    one.propagate = False
    yield one
    one.handlers.clear()
    one.filters.clear()


def test_nobody_waits_for_a_handler_and_what_was_dropped_is_counted_and_said(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "CAPACITY", 4)
    dropped: list[int] = []
    slow, taking = Slow(), Waiting(logger.name, dropped.append)
    logger.addHandler(slow)
    logger.addFilter(taking)
    logger.info("first")
    assert slow.entered.wait(10)
    for number in range(6):
        logger.info("%d", number)
    assert sum(dropped) == 2
    assert not taking.flush(0)
    slow.go.set()
    assert taking.flush(10)
    said = "2 log records were dropped because their handlers did not take them in time"
    assert slow.messages == ["first", "0", "1", "2", "3", said]


def test_a_handler_that_raises_ends_nothing(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Raising(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise ValueError(record.getMessage())

    slow = Slow()
    slow.go.set()
    logger.addHandler(slow)
    logger.addHandler(Raising())
    monkeypatch.setattr(logging, "raiseExceptions", True)
    with waiting([logger.name], lambda _: None):
        logger.info("one")
        logger.info("two")
    assert slow.messages == ["one", "two"]
    assert "ValueError: two" in capsys.readouterr().err
    logger.handlers.pop()
    logger.info("three")
    assert slow.messages == ["one", "two", "three"]
