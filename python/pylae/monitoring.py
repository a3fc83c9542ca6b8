"""The health of the gateway by its own figures: healthy, degraded or unhealthy, and why."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Unpack

from pydantic import Field, model_validator

from pylae.config.models.base import Positive, Settings, refusal
from pylae.units import Wait

if TYPE_CHECKING:
    from pylae.settings.fields import ThresholdsFields

__all__ = ["Health", "MetricsCollector", "ServiceHealth", "Thresholds", "judge"]

Share = Annotated[float, Field(gt=0, le=1)]

_MOST = 5
"""Most services to name in a reason."""


class Thresholds(Settings):
    """When the gateway or a service counts as degraded or unhealthy, by the requests of the last minute.

    Example:
        ```yaml
        health:
          degraded_errors: 0.02
          unhealthy_errors: 0.2
          degraded_duration: 500ms
          minimum_requests: 20
        ```
    """

    degraded_errors: Share = 0.05
    """Share of 5xx responses above which it is degraded, from 0 to 1."""
    unhealthy_errors: Share = 0.1
    """Share of 5xx responses above which it is unhealthy, from 0 to 1."""
    degraded_duration: Wait | None = timedelta(seconds=1)
    """Mean duration above which it is degraded. `null` switches this off, for services whose requests take long on
    purpose. Event streams and WebSockets do not count."""
    minimum_requests: Positive = 1
    """Fewest requests in the last minute for any of these thresholds to apply."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ThresholdsFields]) -> None: ...

    @model_validator(mode="after")
    def _ascending(self) -> Thresholds:
        if self.unhealthy_errors < self.degraded_errors:
            raise refusal("`unhealthy_errors` must not be lower than `degraded_errors`")
        return self


Status = Literal["healthy", "degraded", "unhealthy"]

_GRAVITY: Sequence[Status] = ("healthy", "degraded", "unhealthy")


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """The health of one service, and its figures."""

    status: Status
    requests: int
    errors: int
    """Number of 5xx responses, without those of maintenance."""
    mean_duration: float | None
    """Mean duration in seconds; None without requests."""


@dataclass(frozen=True, slots=True)
class Health:
    """The health of the gateway, and its figures."""

    status: Status
    reasons: tuple[str, ...]
    """One sentence for each exceeded threshold; none if healthy."""
    window: float
    """Time span of the figures, in seconds."""
    requests: int
    errors: int
    """Number of 5xx responses, without those of maintenance."""
    error_rate: float
    """Share of 5xx responses, from 0 to 1."""
    mean_duration: float | None
    """Mean duration in seconds; None without requests."""
    services: Mapping[str, ServiceHealth]
    """The health of each service."""
    maintenance: tuple[str, ...] = ()
    """What is switched to maintenance, in words. It makes nothing unhealthy, and its answers are no errors."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the same as a dict for JSON."""
        return {**asdict(self), "reasons": list(self.reasons), "maintenance": list(self.maintenance)}


def judge(
    summary: Mapping[str, Any], thresholds: Thresholds, troubles: Mapping[str, str | None] | None = None
) -> Health:
    """Returns the health by a summary (`pylae.engine.Engine.summary`), of the gateway and of each service.

    A failing service makes the gateway degraded but not unhealthy, because the other services still work. So do a hook
    that is stuck or over its budget, a shortage of descriptors or memory, and a store that is not available. `troubles`
    say why instances of services cannot be looked up (`pylae.registry`); they may be outdated then.
    """
    recent, found = summary["recent"], summary["services"]
    by_service = {name: _judged(service["recent"], thresholds) for name, service in found.items()}
    status, reasons = _judged(recent, thresholds)
    told = {kind: f"{reason}{_WORST[kind](found)}" for kind, reason in reasons.items()}
    # A reason that holds for the whole gateway is given once, with the services that caused it.
    told |= {
        f"{kind} of {name}": f"{name}: {reason}"
        for name, (_, reasons) in by_service.items()
        for kind, reason in reasons.items()
        if kind not in told
    }
    told |= {
        f"breaker of {name}": f"{name}: the circuit breaker opened: {why}"
        for name, why in summary["breaker_reasons"].items()
    }
    told |= {f"stuck {number}": reason for number, reason in enumerate(summary["stuck"])}
    told |= {f"over budget {number}": reason for number, reason in enumerate(summary["over_budget"])}
    told |= {
        f"overload of {one['resource']}": _short(one)
        for one in summary["overload"]["resources"]
        if one["state"] in _ACTIONS and one["limit"]
    }
    if (feed := summary.get("feed")) and not feed["current"]:
        told["revocations"] = "what other nodes of the cluster have revoked is not known: the store has not told it"
    if (store := summary["store"]) and store["problem"]:
        what = "a part of the store" if 0 < store["connected"] < store["servers"] else "the store"
        away = f"has not been available for {store['unavailable_for']:.0f} s"
        told["store"] = f"{what} of cluster {store['cluster']} {away}: {store['problem']}"
    if unknown := [f"{service}: {trouble}" for service, trouble in (troubles or {}).items() if trouble]:
        told["discovery"] = f"instances cannot be looked up{_named(unknown)}"
    requests, errors = recent["requests"], recent["errors"]
    return Health(
        status=_worse(status, "degraded") if told else status,
        reasons=tuple(told.values()),
        window=recent["window"],
        requests=requests,
        errors=errors,
        error_rate=errors / requests if requests else 0.0,
        mean_duration=recent["mean"],
        services={
            name: ServiceHealth(by_service[name][0], figures["requests"], figures["errors"], figures["mean"])
            for name, figures in ((name, service["recent"]) for name, service in found.items())
        },
    )


def _judged(recent: Mapping[str, Any], thresholds: Thresholds) -> tuple[Status, dict[str, str]]:
    """Returns the health by the figures of the last minute, and one sentence for each kind of exceeded threshold."""
    requests, errors, mean = recent["requests"], recent["errors"], recent["mean"]
    if requests < thresholds.minimum_requests:
        return "healthy", {}
    status: Status = "healthy"
    reasons = {}
    rate = errors / requests
    if rate > thresholds.degraded_errors:
        status = "unhealthy" if rate > thresholds.unhealthy_errors else "degraded"
        bound = thresholds.unhealthy_errors if status == "unhealthy" else thresholds.degraded_errors
        reasons["errors"] = f"{rate:.1%} of {requests} responses were errors (5xx), more than {bound:.4g} of all"
    longest = thresholds.degraded_duration
    if longest is not None and mean is not None and mean > longest.total_seconds():
        status = _worse(status, "degraded")
        reasons["duration"] = f"responses took {mean:.3g} s on average, more than {longest.total_seconds():g} s"
    return status, reasons


def _short(one: Mapping[str, Any]) -> str:
    """Yields what the gateway itself is short of, and what it does about it."""
    use = f"{one['used'] / one['limit']:.0%} of {_RESOURCES[one['resource']](one['limit'])} are in use"
    return f"{use}: {_ACTIONS[one['state']]}"


def _worse(one: Status, other: Status) -> Status:
    return max(one, other, key=_GRAVITY.index)


def _failing(services: Mapping[str, Any]) -> str:
    """Returns the services with the most errors."""
    figures = {name: service["recent"] for name, service in services.items()}
    worst = sorted((name for name in figures if figures[name]["errors"]), key=lambda name: -figures[name]["errors"])
    return _named([f"{name} {figures[name]['errors']} of {figures[name]['requests']}" for name in worst])


def _slow(services: Mapping[str, Any]) -> str:
    """Returns the slowest services."""
    means = {name: service["recent"]["mean"] or 0.0 for name, service in services.items()}
    worst = sorted((name for name in means if means[name]), key=lambda name: -means[name])
    return _named([f"{name} {means[name]:.3g} s" for name in worst])


def _named(services: list[str]) -> str:
    return f": {', '.join(services[:_MOST])}" if services else ""


_WORST = {"errors": _failing, "duration": _slow}

_ACTIONS = {
    "shedding": "idle connections are closed",
    "refusing": "new requests are refused",
    "paused": "no connections are accepted",
}
_RESOURCES: Mapping[str, Callable[[int], str]] = {
    "descriptors": lambda limit: f"{limit} file descriptors",
    "memory": lambda limit: f"{limit >> 20} MB of memory",
}


class Measured(Protocol):
    """The figures of a running gateway."""

    def metrics(self) -> str:
        """Returns the metrics in the text format of Prometheus."""
        ...

    def summary(self) -> dict[str, Any]:
        """Returns the figures of its requests."""
        ...

    def health(self) -> Health:
        """Returns its health."""
        ...


class MetricsCollector:
    """The figures of a running gateway as plain dicts, by service and method.

    The engine counts, so there is nothing to record; each call reads the current figures. Both methods raise
    EngineError if the gateway is not running.
    """

    def __init__(self, gateway: Measured) -> None:
        self._gateway = gateway

    def get_metrics_summary(self) -> dict[str, Any]:
        """Returns figures since the start of the gateway.

        `request_counts`, `error_counts` (status 400 and above) and `average_response_times` (seconds) have keys
        `service:METHOD`; requests without a route have the service `(none)`. `cache_stats` has `hits` and `misses` by
        service. `active_connections` is the number of open client connections.
        """
        requests, errors, hits, misses = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
        timed = Counter[str]()
        seconds: defaultdict[str, float] = defaultdict(float)
        for name, labels, value in _samples(self._gateway.metrics()):
            service = labels.get("service", "")
            key = f"{service}:{labels.get('method', '')}"
            if name == "pylae_requests_total":
                requests[key] += int(value)
                if labels["status"] in ("4xx", "5xx"):
                    errors[key] += int(value)
            elif name == "pylae_request_duration_seconds_sum":
                seconds[key] += value
            elif name == "pylae_request_duration_seconds_count":
                timed[key] += int(value)
            elif name == "pylae_cache_requests_total" and labels["result"] in ("hit", "stale", "revalidated"):
                hits[service] += int(value)
            elif name == "pylae_cache_requests_total" and labels["result"] == "miss":
                misses[service] += int(value)
        return {
            "request_counts": dict(requests),
            "error_counts": dict(errors),
            "cache_stats": {"hits": dict(hits), "misses": dict(misses)},
            "active_connections": self._gateway.summary()["connections"]["active"],
            "average_response_times": {key: seconds[key] / count for key, count in timed.items() if count},
        }

    def get_health_status(self) -> dict[str, Any]:
        """Returns the health of the last minute.

        `status` is `healthy`, `degraded` or `unhealthy`, by the thresholds under `health`, with the `reasons`.
        `error_rates` are percentages of responses with status 500 and above, by `service:METHOD`.
        `average_response_time` is in seconds, 0.0 without requests. `active_connections` is the number of open client
        connections.
        """
        health, summary = self._gateway.health(), self._gateway.summary()
        recent = {
            f"{service}:{method}": figures["recent"]
            for service, found in summary["services"].items()
            for method, figures in found["methods"].items()
        }
        return {
            "status": health.status,
            "reasons": list(health.reasons),
            "error_rates": {
                key: 100 * one["errors"] / one["requests"] for key, one in recent.items() if one["requests"]
            },
            "average_response_time": health.mean_duration or 0.0,
            "active_connections": summary["connections"]["active"],
        }


_COUNTER = re.compile(r"^# HELP (\w+)_total (.*)\n# TYPE \1_total counter$", re.MULTILINE)


def as_openmetrics(page: str) -> str:
    """Returns metrics in the text format 0.0.4, without histograms, in OpenMetrics 1.0.

    There, the family of a counter has a name without `_total` (section "Counter" of the specification).
    """
    return _COUNTER.sub(r"# HELP \1 \2\n# TYPE \1 counter", page)


_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def _samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yields the samples with labels from the metrics (text format 0.0.4). Names of services contain no escapes."""
    for line in page.splitlines():
        found = _SAMPLE.fullmatch(line)
        if found and found[2]:
            yield found[1], dict(_LABEL.findall(found[2])), float(found[3])
