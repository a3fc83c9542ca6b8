"""What the store has of a fleet: nothing of it is trusted."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pylae.errors import ConfigError, Problem, StoreError
from pylae.fleet.records import MOST_PROBLEMS, MOST_TEXT, NodeName, Report, Rollout, read, told

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ROLLOUT = Rollout(
    number=7, previous=6, author="a", started=NOW, observe=30, max_errors=0.01, min_requests=100,
    first=NodeName(id="0" * 16, name="gate-1"),
)  # fmt: skip
REPORT = Report(id="0" * 16, name="gate-1", release="0.1.0", started=NOW, in_force=6, target=7)


def test_a_record_is_what_it_was() -> None:
    assert read(Rollout, "key", ROLLOUT.encoded()) == ROLLOUT
    assert read(Report, "key", REPORT.encoded()) == REPORT


def test_what_a_later_version_adds_is_passed_over() -> None:
    more = REPORT.encoded()[:-1] + b',"more":{"of":"it"}}'
    assert read(Report, "key", more) == REPORT


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Rollout, b""),
        (Rollout, b"[" * 100_000),
        (Rollout, b"{}"),
        (Rollout, ROLLOUT.encoded().replace(b'"version":1', b'"version":2')),
        (Rollout, ROLLOUT.encoded().replace(b'"checking"', b'"begun"')),
        (Rollout, ROLLOUT.encoded().replace(b'"number":7', b'"number":"7"')),
        (Rollout, ROLLOUT.encoded().replace(b'"author":"a"', b'"author":"%s"' % (b"a" * 1000))),
        (Report, REPORT.encoded().replace(b'"requests":0', b'"requests":-1')),
        (Report, REPORT.encoded().replace(b'"durations":{}', b'"durations":{"x":1}')),
        (Report, REPORT.encoded().replace(b'"before":{}', b'"before":{"requests":1}')),
    ],
)
def test_what_is_no_record_is_refused(kind: type[Rollout | Report], value: bytes) -> None:
    with pytest.raises(
        StoreError, match="fleet/x in the store is not what this version of Pylae writes there"
    ) as caught:
        read(kind, "fleet/x", value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("stage", "node", "target"),
    [
        ("checking", "0", 6),
        ("admitting", "0", 7),
        ("observing", "0", 7),
        ("observing", "1", 6),
        ("done", "0", 6),
        ("taken_back", "0", 6),
        ("cancelled", "0", 6),
    ],
)
def test_who_should_have_it(stage: str, node: str, target: int) -> None:
    assert ROLLOUT.model_copy(update={"stage": stage}).target_of(node * 16, 6) == target


def test_reasons_are_bounded() -> None:
    problems = [Problem("f", 1, 1, "routes", "x" * 5000) for _ in range(100)]
    found = told(ConfigError(problems))
    assert len(found) == MOST_PROBLEMS and max(map(len, found)) <= MOST_TEXT
    assert found[-1] == "and 81 more problems"
    assert told(ConfigError([])) == ("refused without a reason",)
