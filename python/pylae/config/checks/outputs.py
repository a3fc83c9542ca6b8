"""Checks of what the gateway tells others: access logs that are only sent, and where to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pylae.config.document.nodes import Finding, Step
from pylae.config.models.config import Config
from pylae.config.models.route import Route
from pylae.policies.access_log import ONLY_SENT, AccessLog


def unsent_logs(routes: Iterable[tuple[int, Route]], config: Config) -> Iterator[Finding]:
    """Finds access logs that would only be sent, where there is no collector for them."""
    if config.telemetry is not None and config.telemetry.logs is not None:
        return
    places: list[tuple[tuple[Step, ...], object]] = [(("policies",), config.policies.access_log)]
    places += [(("routes", index), route.access_log) for index, route in routes]
    for place, policy in places:
        if isinstance(policy, AccessLog) and policy.output == ONLY_SENT:
            text = "lines would go nowhere: there is no collector for them"
            hint = "add `telemetry: {logs: http://HOST:4318}`; for a file of this name, write ./otlp"
            yield Finding((*place, "access_log", "output"), text, hint)


def weak_collectors(config: Config) -> Iterator[Finding]:
    """Finds collectors to which everything goes where anyone can read it, and one to which nothing goes."""
    if config.telemetry is None:
        return
    yield from (found.below(("telemetry",)) for found in config.telemetry.weaknesses())
    logs = (config.policies.access_log, *(route.access_log for route in config.routes))
    if config.telemetry.logs is not None and not any(isinstance(log, AccessLog) for log in logs):
        hint = "add `policies: {access_log: {output: otlp}}`, or leave out `logs`"
        yield Finding(("telemetry", "logs"), "nothing is sent: there is no access log", hint)
