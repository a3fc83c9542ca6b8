"""Whom the dashboard asks about, to see who is near a limit."""

from __future__ import annotations

from typing import Any

from pylae.dashboard.near import MOST, candidates


def limit(*key: str, route: str = "orders", name: str = "default") -> dict[str, Any]:
    return {"route": route, "policy": "rate_limit", "name": name, "key": list(key)}


def exchange(user: str | None = None, client: str = "10.0.0.1", route: str | None = "orders", status: int = 200) -> Any:
    return {"user": user, "client": client, "route": route, "status": status}


def asked(limits: list[dict[str, Any]], exchanges: list[Any]) -> list[tuple[str, Any, Any]]:
    found = candidates(limits, exchanges)
    return [(one.client, one.question.get("user"), one.question.get("ip")) for one in found]


def test_a_client_is_what_the_key_counts_by() -> None:
    both = [exchange("ada"), exchange(None)]
    assert asked([limit("auto")], both) == [("ada", "ada", None), ("10.0.0.1", None, "10.0.0.1")]
    assert asked([limit("ip")], both) == [("10.0.0.1", None, "10.0.0.1")]
    assert asked([limit("user", "ip")], [exchange("ada")]) == [("ada from 10.0.0.1", "ada", "10.0.0.1")]
    assert asked([limit("global")], both) == [("all together", None, None)]


def test_what_the_log_does_not_have_cannot_be_asked() -> None:
    assert asked([limit("header:x-tenant"), limit("user", "header:x-tenant")], [exchange("ada")]) == []
    assert asked([limit("auto", route="other")], [exchange("ada"), exchange("ada", route=None)]) == []


def test_each_limit_is_asked_by_its_name() -> None:
    found = candidates([limit("user", name="burst"), limit("user", name="day")], [exchange("ada")])
    assert [one.question for one in found] == [
        {"route": "orders", "policy": "rate_limit", "name": name, "user": "ada"} for name in ("burst", "day")
    ]


def test_who_was_refused_comes_first_and_there_is_an_end() -> None:
    exchanges = [exchange(f"user-{number}") for number in range(2 * MOST) for _ in range(3)]
    exchanges.append(exchange("refused", status=429))
    found = asked([limit("user")], exchanges)
    assert len(found) == MOST
    assert found[0][0] == "refused"
