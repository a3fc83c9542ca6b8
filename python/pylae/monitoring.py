"""How the gateway is doing, judged by its own figures: healthy, degraded or unhealthy, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pylae.settings import Positive, Settings, refusal
from pylae.units import Wait

__all__ = ["Health", "Thresholds", "judge"]

Share = Annotated[float, Field(gt=0, le=1)]

_WORST = 5
"""Services that are named in a reason."""


class Thresholds(Settings):
    """When the gateway counts as degraded and as unhealthy, by what its routes served within the last minute.

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
    """Share of answers with 5xx above which it is degraded."""
    unhealthy_errors: Share = 0.1
    """Share of answers with 5xx above which it is unhealthy."""
    degraded_duration: Wait | None = timedelta(seconds=1)
    """Mean duration above which it is degraded; `null` where long exchanges are meant, such as streams."""
    minimum_requests: Positive = 1
    """Exchanges below which nothing is concluded."""

    @model_validator(mode="after")
    def _ascending(self) -> Thresholds:
        if self.unhealthy_errors < self.degraded_errors:
            raise refusal("unhealthy_errors must not be below degraded_errors")
        return self


@dataclass(frozen=True, slots=True)
class Health:
    """A verdict and the figures behind it."""

    status: Literal["healthy", "degraded", "unhealthy"]
    reasons: tuple[str, ...]
    """One sentence for each threshold that is exceeded; none when healthy."""
    window: float
    """Seconds that the figures cover."""
    requests: int
    errors: int
    """Answers with 5xx."""
    error_rate: float
    """Share of them, 0–1."""
    mean_duration: float | None
    """Seconds; None if nothing came."""

    def as_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {**asdict(self), "reasons": list(self.reasons)}


def judge(
    summary: Mapping[str, Any], thresholds: Thresholds, troubles: Mapping[str, str | None] | None = None
) -> Health:
    """The verdict on a summary (`pylae.engine.Engine.summary`).

    `troubles` say what keeps the instances of services from being looked up (`pylae.registry`): they may be old.
    """
    recent = summary["recent"]
    requests, errors, mean = recent["requests"], recent["errors"], recent["mean"]
    rate = errors / requests if requests else 0.0
    status: Literal["healthy", "degraded", "unhealthy"] = "healthy"
    reasons = []
    if requests >= thresholds.minimum_requests:
        if rate > thresholds.degraded_errors:
            unhealthy = rate > thresholds.unhealthy_errors
            status = "unhealthy" if unhealthy else "degraded"
            bound = thresholds.unhealthy_errors if unhealthy else thresholds.degraded_errors
            reasons.append(
                f"{rate:.1%} of {requests} answers were errors (5xx), over {bound:.4g} of all{_failing(summary)}"
            )
        longest = thresholds.degraded_duration
        if longest is not None and mean is not None and mean > longest.total_seconds():
            status = "degraded" if status == "healthy" else status
            reasons.append(f"answers took {mean:.3g} s on average, over {longest.total_seconds():g} s{_slow(summary)}")
    if found := [f"{service}: {trouble}" for service, trouble in (troubles or {}).items() if trouble]:
        status = "degraded" if status == "healthy" else status
        reasons.append(f"instances cannot be looked up{_named(found)}")
    return Health(status, tuple(reasons), recent["window"], requests, errors, rate, mean)


def _failing(summary: Mapping[str, Any]) -> str:
    """Which services failed most."""
    figures = {name: service["recent"] for name, service in summary["services"].items()}
    worst = sorted((name for name in figures if figures[name]["errors"]), key=lambda name: -figures[name]["errors"])
    return _named([f"{name} {figures[name]['errors']} of {figures[name]['requests']}" for name in worst])


def _slow(summary: Mapping[str, Any]) -> str:
    """Which services were slowest."""
    means = {name: service["recent"]["mean"] or 0.0 for name, service in summary["services"].items()}
    worst = sorted((name for name in means if means[name]), key=lambda name: -means[name])
    return _named([f"{name} {means[name]:.3g} s" for name in worst])


def _named(services: list[str]) -> str:
    return f": {', '.join(services[:_WORST])}" if services else ""
