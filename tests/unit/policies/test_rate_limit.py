from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pylae.policies.rate_limit import RateLimit, RateLimits


def limits(written: Any) -> list[dict[str, Any]]:
    dumped: list[dict[str, Any]] = RateLimits.model_validate(written).model_dump(mode="json")["limits"]
    return dumped


@pytest.mark.parametrize(
    ("written", "short"),
    [
        (100, [(100, 60.0)]),
        ("100", [(100, 60.0)]),
        ("10/s", [(10, 1.0)]),
        ({"limit": 50, "per": "1m"}, [(50, 60.0)]),
        ([5, "6/hour", {"limit": 7}], [(5, 60.0), (6, 3600.0), (7, 60.0)]),
        ({"limits": [5]}, [(5, 60.0)]),
        (RateLimits(limits=(RateLimit(limit=1),)), [(1, 60.0)]),
    ],
)
def test_short_forms(written: object, short: list[tuple[int, float]]) -> None:
    assert [(limit["limit"], limit["per"]) for limit in limits(written)] == short


def test_dump_is_the_plan() -> None:
    assert limits(1) == [
        {
            "limit": 1,
            "per": 60.0,
            "algorithm": "token_bucket",
            "key": ["auto"],
            "burst": None,
            "cost": 1,
            "scope": "route",
            "headers": True,
        }
    ]


def test_keys() -> None:
    assert limits({"limit": 1, "key": "ip + header:X-A"})[0]["key"] == ["ip", "header:x-a"]
    assert limits({"limit": 1, "key": ["user", "route"]})[0]["key"] == ["user", "route"]


@pytest.mark.parametrize(
    "written",
    [
        [],
        "",
        0,
        True,
        {},
        {"per": "1m"},
        {"limit": 1, "key": "header:"},
        {"limit": 1, "key": []},
        {"limit": 1, "cost": 2},
        {"limit": 1, "burst": 5, "algorithm": "fixed_window"},
        {"limits": [1], "limit": 1},
    ],
)
def test_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        limits(written)
