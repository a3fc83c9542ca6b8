from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pylae.policies.address_limit import AddressLimits
from pylae.policies.rate_limit import RateLimit, RateLimits


def dumped(written: Any, model: type[RateLimits] = RateLimits) -> dict[str, Any]:
    return model.model_validate(written).model_dump(mode="json")


def limits(written: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dumped(written)["limits"]
    return found


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
            "name": "default",
            "limit": 1,
            "per": 60.0,
            "algorithm": "token_bucket",
            "key": ["auto"],
            "burst": None,
            "cost": 1,
            "settle": None,
            "per_route": True,
            "scope": None,
            "mode": "fast",
            "headers": True,
        }
    ]


def test_names() -> None:
    assert [limit["name"] for limit in limits([1, {"limit": 2, "name": "b"}, 3])] == ["default", "b", "default-3"]


@pytest.mark.parametrize(
    ("written", "count", "concurrency"),
    [
        ({"concurrency": 5}, 0, (5, ["auto"], True)),
        ({"concurrency": 5, "key": "ip", "per_route": False}, 0, (5, ["ip"], False)),
        ({"limit": 9, "concurrency": 5, "key": "ip"}, 1, (5, ["ip"], True)),
        ({"limit": 9, "concurrency": {"limit": 5, "key": "user"}, "key": "ip"}, 1, (5, ["user"], True)),
        ({"limits": [1, 2], "concurrency": 5}, 2, (5, ["auto"], True)),
        ({"limits": [], "concurrency": {"limit": 5}}, 0, (5, ["auto"], True)),
    ],
)
def test_concurrency(written: object, count: int, concurrency: tuple[int, list[str], bool]) -> None:
    found = dumped(written)
    assert len(found["limits"]) == count
    assert all(limit["key"] == ["ip"] for limit in found["limits"][:1] if count == 1)
    assert tuple(found["concurrency"][name] for name in ("limit", "key", "per_route")) == concurrency


def test_before_authentication_addresses_are_counted() -> None:
    found = dumped({"limit": 5, "concurrency": 2}, AddressLimits)
    assert found["limits"][0]["key"] == found["concurrency"]["key"] == ["ip"]
    for key in ("user", "auto", "ip+user"):
        with pytest.raises(ValidationError):
            dumped({"limit": 5, "key": key}, AddressLimits)


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
        {"limits": []},
        {"limits": [1] * 17},
        [{"limit": 1, "name": "a"}, {"limit": 1, "name": "a"}],
        {"limit": 1, "name": "a b"},
        {"concurrency": 0},
        {"concurrency": True},
        {"limit": 1, "concurrency": "5"},
    ],
)
def test_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        limits(written)
