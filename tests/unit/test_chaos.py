"""The faults of `make chaos`: the table is complete, and a verdict can be green and red. The rest is no test of CI."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from chaos import soak
from chaos.client import Load
from chaos.faults import _MODULES, FAULTS, reloads
from chaos.fronts import FRONTS, PylaeFront
from chaos.run import Outcome, attempt, main, markdown, planted_table
from chaos.stage import Check, Stage

RESULTS = Path(__file__).parents[2] / "chaos" / "results"


def test_names_are_unique() -> None:
    assert len(FAULTS) == sum(len(module.FAULTS) for module in _MODULES)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_says_what_it_does_and_has_a_mistake_to_plant(name: str) -> None:
    fault = FAULTS[name]
    assert fault.what
    assert all(fault.plants.values())
    assert fault.plants
    assert set(fault.peers) < set(FRONTS)
    assert PylaeFront.name not in fault.peers


def test_each_mistake_was_planted_and_seen() -> None:
    report = (RESULTS / "plants.md").read_text(encoding="utf-8")
    missing = [
        f"{fault.name}/{plant}"
        for fault in FAULTS.values()
        for plant, what in fault.plants.items()
        if f"| {fault.name} | `{plant}`: {what} | yes | " not in report
    ]
    assert missing == [], "plant them: python -m chaos.run --plants --out chaos/results/plants.md"


def test_the_readme_names_each_fault() -> None:
    readme = (RESULTS.parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in FAULTS if f"`{name}`" not in readme] == []


def test_the_list_names_each_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(what in listed for fault in FAULTS.values() for what in (fault.what, *fault.plants.values()))


@pytest.mark.parametrize("words", [["--faults", "nonsense"], ["--plant", "stop/nonsense"]])
def test_what_is_no_fault_or_mistake_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert "choose from" in capsys.readouterr().err


def test_reloads_are_green_and_a_restart_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloads, "COUNT", 4)
    green = attempt(FAULTS["reloads"])
    assert green.verdict == "green", green.checks
    red = attempt(FAULTS["reloads"], planted="restart")
    assert red.verdict == "red"
    assert "20 WebSockets stay" in {check.what for check in red.checks if not check.passed}
    report = markdown([green, red])
    assert "| reloads | pylae | **green** |" in report
    assert "| reloads | pylae | **red** |" in report


def test_what_meets_a_pause_of_the_clients_is_not_counted() -> None:
    load = Load()
    load.times = [(1.0, 0.004), (2.0, 0.9), (3.0, 0.004)]
    assert load.p99() == 900
    load.pauses = [(1.05, 1.2)]
    assert load.p99() == 4
    load.pauses = [(0.0, 4.0)]
    assert load.p99() == float("inf")


def _outcome(planted: dict[str, bool]) -> Outcome:
    return Outcome(FAULTS["stop"], "pylae", tuple(Check(what, passed, "") for what, passed in planted.items()), 1)


def test_a_mistake_is_seen_only_by_what_is_green_without_it() -> None:
    without = {"stop": _outcome({"a": True, "b": False, "c": True})}
    seen, unseen = _outcome({"a": False, "b": False, "c": True}), _outcome({"a": True, "b": False, "c": True})
    lines = planted_table([("killed", seen), ("deaf", unseen)], without).splitlines()
    assert [line.split(" | ")[2:] for line in lines if line.startswith("| stop")] == [
        ["yes", "a", "b |"],
        ["no", "", "b |"],
    ]
    assert lines[-2:] == ["- stop: b", "- stop: c"]


def _samples(growth: float) -> list[soak.Sample]:
    """An hour in which memory grows by so many bytes a second."""
    noise = itertools.cycle((0, 3_000_000, -2_000_000))
    return [soak.Sample(at, int(60_000_000 + at * growth) + next(noise)) for at in range(3600)]


@pytest.mark.parametrize(("growth", "red"), [(0, set()), (1_000, set()), (5_000, {"memory"})])
def test_a_soak_is_red_if_memory_grows(growth: float, red: set[str], tmp_path: Path) -> None:
    load = Load()
    load.statuses[200] = 1
    stage = Stage(tmp_path, PylaeFront)
    soak.judge(stage, 3600, _samples(growth), {"h1": load}, [True])
    assert {check.what.split()[0] for check in stage.checks if not check.passed} == red


@pytest.mark.parametrize(
    ("after", "red"), [((50, 20), set()), ((80, 20), {"descriptors"}), ((52, 40), {"threads"}), ((0, 0), None)]
)
def test_a_soak_is_red_if_something_is_left_open(after: tuple[int, int], red: set[str] | None, tmp_path: Path) -> None:
    stage = Stage(tmp_path, PylaeFront)
    soak.judge_rest(stage, (50, 20), after)
    found = {check.what.split()[0] for check in stage.checks if not check.passed}
    assert found == ({"descriptors", "threads"} if red is None else red)


def test_a_soak_is_red_if_a_request_fails(tmp_path: Path) -> None:
    load = Load()
    load.statuses.update({200: 10, 502: 1})
    stage = Stage(tmp_path, PylaeFront)
    soak.judge(stage, 3600, _samples(0), {"h1": load}, [True])
    assert [check for check in stage.checks if not check.passed] == [
        Check("h1: none failed", False, "1 of 11 failed (1 502)")
    ]
