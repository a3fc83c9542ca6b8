"""Whom to ask about, to see who is near a limit: gateways keep hashes of clients, so they cannot list them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

MOST = 40
"""Most questions. Clients that were refused come first, then those with the most exchanges."""
_AUTO = "auto"
"""Counts by user, or by address where there is none."""
_KNOWN = frozenset({"user", "ip", "route", "global", _AUTO})
"""Keys whose values the log of exchanges has."""


class Asked(NamedTuple):
    """A question about a client."""

    client: str
    """The client as people know it: its user, or its address."""
    question: dict[str, Any]
    """The body of `POST /limits/look`."""


def candidates(limits: Sequence[Mapping[str, Any]], exchanges: Iterable[Mapping[str, Any]]) -> list[Asked]:
    """Returns the questions about clients of these exchanges."""
    by_route: dict[str, list[Mapping[str, Any]]] = {}
    for limit in limits:
        if limit["key"] and _KNOWN.issuperset(limit["key"]):
            by_route.setdefault(limit["route"], []).append(limit)
    weights: dict[tuple[str, str | None, str | None, int], int] = {}
    for exchange in exchanges:
        for index, limit in enumerate(by_route.get(exchange["route"] or "", ())):
            user, ip = _holder(limit["key"], exchange["user"], exchange["client"])
            key = (exchange["route"], user, ip, index)
            weights[key] = weights.get(key, 0) + (1000 if exchange["status"] == 429 else 1)
    chosen = sorted(weights, key=lambda key: weights[key], reverse=True)[:MOST]
    return [_asked(by_route[route][index], user, ip) for route, user, ip, index in chosen]


def _holder(key: Sequence[str], user: str | None, ip: str | None) -> tuple[str | None, str | None]:
    by_user = "user" in key or (_AUTO in key and user is not None)
    by_ip = "ip" in key or (_AUTO in key and user is None)
    return (user if by_user else None), (ip if by_ip else None)


def _asked(limit: Mapping[str, Any], user: str | None, ip: str | None) -> Asked:
    question = {key: limit[key] for key in ("route", "policy", "name")}
    question |= {key: value for key, value in (("user", user), ("ip", ip)) if value is not None}
    return Asked(" from ".join(part for part in (user, ip) if part) or "all together", question)
