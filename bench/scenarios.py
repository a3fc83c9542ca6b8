"""What is asked of every gateway. A scenario is one entry of `SCENARIOS`; `README.md` says how to add one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Route:
    """One route to the origin: either a path prefix or a regular expression over the whole path."""

    prefix: str | None = None
    pattern: str | None = None


@dataclass(frozen=True)
class Scenario:
    """The gateway's configuration and the request that is sent to it."""

    name: str
    title: str
    path: str
    routes: tuple[Route, ...] = (Route(prefix="/"),)
    headers: tuple[str, ...] = ()
    """Request headers, each `NAME: VALUE`."""
    require: tuple[str, ...] = ()
    """Response headers that every answer of a gateway must carry, each `NAME` or `NAME: VALUE`."""
    features: frozenset[str] = frozenset()
    """What a gateway must do beyond routing and proxying; a peer that does not list them all is not measured."""
    connections: int = 64


def _regex_routes(count: int) -> tuple[Route, ...]:
    return tuple(Route(pattern=rf"^/api/r{index}/(\d+)$") for index in range(count))


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("proxy", "GET, 180 B of JSON", "/json"),
        Scenario("cached", "the same, from the gateway's cache", "/json", features=frozenset({"cache"})),
        Scenario("routes500", "the last of 500 regex routes", "/api/r499/123456", routes=_regex_routes(500)),
        Scenario("body64k", "GET, 64 KiB", "/body/64k"),
        Scenario("body1m", "GET, 1 MiB", "/body/1m"),
    )
}
