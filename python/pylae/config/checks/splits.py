"""Checks of splits: repeated members, and settings without effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pylae.config.document.nodes import Finding
from pylae.config.models.config import Config
from pylae.config.models.route import Route


def repeated_members(routes: Iterable[tuple[int, Route]]) -> Iterator[Finding]:
    """Finds members of a split that repeat the service of another."""
    for index, route in routes:
        for place, member in enumerate(route.split):
            earlier = [other for other in route.split[:place] if other.service == member.service]
            if any(not other.when and not member.when for other in earlier):
                text, hint = "the same service is a member twice", "add the weights up in one of them"
            elif any(other.share and member.share for other in earlier):
                text, hint = "another member of this service has a weight already", "give only one of them a weight"
            else:
                continue
            yield Finding(("routes", index, "split", place, "service"), text, hint)


def useless_splits(config: Config) -> Iterator[Finding]:
    """Finds settings of splits that have no effect, or one that is rarely intended."""
    for index, route in enumerate(config.routes):
        if route.split:
            yield from _useless(index, route)
    yield from _contended_cookies(config)


def _useless(index: int, route: Route) -> Iterator[Finding]:
    shares = [member for member in route.split if member.share]
    only = route.split[0]
    if len(route.split) == 1 and only.when is None and only.headers == type(only.headers)():
        text = "a split with one member has no effect"
        yield Finding(("routes", index, "split"), text, f"write `service: {only.service}`")
    if not shares:
        text = "requests that match no `when` get 503, because no member has a weight"
        yield Finding(("routes", index, "split"), text, "give one of them a weight, or put `headers` on the route")
    for place, member in enumerate(route.split):
        if member.when and member.when in [other.when for other in route.split[:place]]:
            text = "this `when` has no effect, because an earlier member has the same one"
            yield Finding(("routes", index, "split", place, "when"), text)
    if route.sticky and sum(1 for member in route.split if member.share or not member.when) < 2:
        text = "`sticky` has no effect, because at most one member is chosen by weight"
        yield Finding(("routes", index, "sticky"), text, "a `when` is evaluated for each request")


def _contended_cookies(config: Config) -> Iterator[Finding]:
    """Finds routes that share a cookie although they split between different services."""
    seen: dict[str, tuple[int, frozenset[str]]] = {}
    for index, route in enumerate(config.routes):
        if not route.split or not route.sticky:
            continue
        services = frozenset(member.service for member in route.split if member.share or not member.when)
        first, others = seen.setdefault(route.sticky.cookie, (index, services))
        if others != services:
            text = (
                f"routes[{first}] uses the same cookie for other services, so the routes overwrite each other's choice"
            )
            yield Finding(("routes", index, "sticky"), text, "give it another name: `sticky: {cookie: …}`")
