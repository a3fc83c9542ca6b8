"""Checks of what counts together: limits, and what a cluster shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from pylae.config.document.nodes import Finding
from pylae.config.models.config import Config
from pylae.config.models.route import Route
from pylae.policies import PolicySet
from pylae.policies.rate_limit import RateLimits

LIMITS = tuple(
    name
    for name, field in PolicySet.model_fields.items()
    if any(isinstance(kind, type) and issubclass(kind, RateLimits) for kind in get_args(field.annotation))
)
"""The policies that are limits."""

_NO_CLUSTER = "add `cluster`, or leave it out"


def sources_of_clusters(config: Config) -> Iterator[Finding]:
    """Finds sources that nodes should share where there is no cluster."""
    for name, service in config.services.items():
        discovery = service.discovery
        if discovery and config.cluster is None and getattr(discovery.settings, "scope", None) == "cluster":
            where = ("services", name, "discovery", discovery.kind, "scope")
            yield Finding(where, "there are no other nodes: the gateway is no node of a cluster", _NO_CLUSTER)


def shared_limits(routes: Iterable[tuple[int, Route]], config: Config) -> Iterator[Finding]:
    """Finds limits with `per_route: false` that have the same name but different values."""
    said: dict[tuple[str, str | None], object] = {}
    for index, route in routes:
        for policy, settings in _limits(route, config):
            for place, limit in enumerate(settings.limits):
                settled = limit.settle is not None
                figures = (limit.limit, limit.per, limit.algorithm, limit.burst or limit.limit, settled)
                if not limit.per_route and said.setdefault((policy, limit.name), figures) != figures:
                    where = ("policies",) if getattr(route, policy) is None else ("routes", index)
                    message = f"another route has a limit `{limit.name}` with `per_route: false` and other values"
                    yield Finding((*where, policy, "limits", place), message, "give one of them another `name`")


def limits_of_clusters(routes: Iterable[tuple[int, Route]], config: Config) -> Iterator[Finding]:
    """Finds limits that a cluster should count where there is none, or whose mode has no effect."""
    for index, route in routes:
        for policy, settings in _limits(route, config):
            where = (*(("policies",) if getattr(route, policy) is None else ("routes", index)), policy)
            written: list[tuple[tuple[str | int, ...], str | None]] = [
                (("limits", place), limit.scope) for place, limit in enumerate(settings.limits)
            ]
            if settings.concurrency is not None:
                written.append((("concurrency",), settings.concurrency.scope))
            for field, scope in written:
                if scope == "cluster" and config.cluster is None:
                    message = "no cluster could count it: the gateway is no node of one"
                    yield Finding((*where, *field, "scope"), message, _NO_CLUSTER)
            for place, limit in enumerate(settings.limits):
                if limit.scope == "node" and limit.mode == "exact":
                    message = "has no effect with `scope: node`: a node alone always counts exactly"
                    yield Finding((*where, "limits", place, "mode"), message, "leave it out")


def _limits(route: Route, config: Config) -> Iterator[tuple[str, RateLimits]]:
    """Yields the limits of a route, those of the gateway included that it has not switched off."""
    for policy in LIMITS:
        own = getattr(route, policy)
        settings = getattr(config.policies, policy) if own is None else own
        if settings:
            yield policy, settings
