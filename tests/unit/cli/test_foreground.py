"""Lines for requests: what they ask of the engine, and when they end."""

from __future__ import annotations

import queue
from types import SimpleNamespace
from typing import Any

import pytest

from pylae.cli import foreground
from pylae.cli.foreground import RequestLines
from pylae.errors import EngineError


class Engine:
    """Gives these answers, and then is not there any more."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._answers = list(answers)

    def exchanges(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        self.asked.append((arguments, options))
        if not self._answers:
            raise EngineError("the engine is not running")
        return self._answers.pop(0)


def answer(cursor: int, *times: str, missed: int = 0, passed_over: int = 0) -> dict[str, Any]:
    exchanges = [{"timestamp": time} for time in times]
    return {"exchanges": exchanges, "cursors": [cursor], "missed": missed, "passed_over": passed_over}


def lines(engine: Engine, monkeypatch: pytest.MonkeyPatch, *, wanted: bool = True) -> list[str]:
    """What is printed until the engine has gone."""
    monkeypatch.setattr(foreground, "_LOOK", 0.0)
    printed: queue.SimpleQueue[str] = queue.SimpleQueue()
    gateway: Any = SimpleNamespace(engine=engine)
    printing = RequestLines(gateway, printed.put, lambda exchange: str(exchange["timestamp"]), lambda: wanted)
    printing.start()
    printing._thread.join(10)
    printing.stop()
    return [printed.get() for _ in range(printed.qsize())]


def test_the_data_plane_does_nothing_more_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads what is kept anyway: nobody is said to watch, for whom more would be kept."""
    engine = Engine(answer(2, "b", "a"), answer(3, "c"))
    assert lines(engine, monkeypatch) == ["a", "b", "c"]
    assert engine.asked == [(([],), {}), (([2],), {}), (([3],), {})]


def test_what_is_left_out_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(answer(1, "a", passed_over=3), answer(2, "b", missed=2, passed_over=3), answer(3, passed_over=3))
    assert lines(engine, monkeypatch) == ["a", "… 3 left out", "b", "… 2 left out"]


def test_nothing_is_printed_while_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(answer(1, "a", passed_over=3))
    assert lines(engine, monkeypatch, wanted=False) == []
