"""Health and metrics: for Prometheus, for people, for orchestrators."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from pylae.access.scopes import READ
from pylae.admin.body import Body
from pylae.admin.endpoint import OPEN, needs, topic_router
from pylae.errors import EngineError

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "monitoring"

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_MOST_RANGES = 32
_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)


class ServiceHealth(Body):
    """The health of a service in the last minute, and its figures."""

    status: Literal["healthy", "degraded", "unhealthy"]
    """The health by the thresholds in `health`."""
    requests: int
    """Number of requests."""
    errors: int
    """Number of 5xx responses, without those of maintenance."""
    mean_duration: float | None
    """Mean duration in seconds; null without requests."""


class Health(Body):
    """The health of the gateway in the last minute, and its figures."""

    status: Literal["healthy", "degraded", "unhealthy"]
    """The health by the thresholds in `health`."""
    reasons: list[str]
    """One sentence for each exceeded threshold and each open circuit breaker."""
    window: float
    """Time span of the figures, in seconds."""
    requests: int
    """Number of requests."""
    errors: int
    """Number of 5xx responses, without those of maintenance."""
    error_rate: float
    """Share of 5xx responses, from 0 to 1."""
    mean_duration: float | None
    """Mean duration in seconds; null without requests."""
    services: dict[str, ServiceHealth]
    """The health of each service."""
    maintenance: list[str]
    """What is switched to maintenance: `gateway`, `service NAME`, `route NAME`. It makes nothing unhealthy."""


class State(Body):
    """The result of a probe."""

    status: Literal["live", "ready", "joining", "stuck", "stopping", "stopped"]
    """The state."""


def prefers_openmetrics(accept: str) -> bool:
    """Returns whether an `Accept` field (RFC 9110 section 12.5.1) names OpenMetrics 1.0, and likes it best.

    Ranges with `*` never mean it: who does not know it gets what everybody knows.
    """
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for one in accept.split(",")[:_MOST_RANGES]:
        kind, *parameters = (part.strip() for part in one.split(";"))
        said = {
            name.strip().lower(): value.strip(' "') for name, _, value in (one.partition("=") for one in parameters)
        }
        kind = kind.lower()
        if kind not in best or (kind != "text/plain" and said.get("version", "1.0.0") != "1.0.0"):
            continue
        best[kind] = max(best[kind], _quality(said.get("q", "1")))
    return 0 < best["application/openmetrics-text"] >= best["text/plain"]


def _quality(text: str) -> float:
    return float(text) if _QUALITY.fullmatch(text) else 0.0


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router()

    @topic.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses={
            200: {
                "description": "The metrics.",
                "content": {
                    "text/plain": {"schema": {"type": "string"}},
                    "application/openmetrics-text": {"schema": {"type": "string"}},
                },
            }
        },
    )
    @needs(READ)
    def get_metrics(request: Request) -> Response:
        """Returns all metrics in the text format of Prometheus, or in OpenMetrics if `Accept` prefers it."""
        wanted = prefers_openmetrics(", ".join(request.headers.getlist("accept")))
        kind = _OPENMETRICS if wanted else _PROMETHEUS
        return Response(runtime.metrics(openmetrics=wanted), media_type=kind, headers={"Vary": "Accept"})

    @topic.get("/metrics/summary")
    @needs(READ)
    def get_summary() -> dict[str, Any]:
        """Returns counts, errors, durations (in seconds) and states for each service and route."""
        return runtime.engine.summary()

    @topic.get(
        "/health", response_model=Health, responses={503: {"model": Health, "description": "The gateway is unhealthy."}}
    )
    @needs(READ)
    def get_health(
        always: Annotated[bool, Query(description="Answer 200 also if it is unhealthy.")] = False,
    ) -> Response:
        """Returns the health of the last minute. The status is 503 if it is unhealthy; with `always` it is 200."""
        verdict = runtime.health()
        return JSONResponse(verdict.as_dict(), 503 if verdict.status == "unhealthy" and not always else 200)

    # These never wait, so that probes get an answer whatever else is in progress. The engine usually answers them
    # itself, in the same words.
    @topic.get("/live", responses={503: {"model": State, "description": "No worker responds."}})
    @topic.head("/live", responses={503: {"model": State, "description": "No worker responds."}})
    @needs(OPEN)
    async def get_liveness(response: Response) -> State:
        """Whether the gateway serves requests: 503 if no worker responds. Needs no token."""
        return told(response, 0)

    @topic.get("/ready", responses={503: {"model": State, "description": "Send it no new clients."}})
    @topic.head("/ready", responses={503: {"model": State, "description": "Send it no new clients."}})
    @needs(OPEN)
    async def get_readiness(response: Response) -> State:
        """Whether the gateway accepts connections: 503 once it was told to stop, and while it joins its cluster.

        Needs no token.
        """
        return told(response, 1)

    def told(response: Response, which: int) -> State:
        try:
            state = State.model_validate({"status": runtime.engine.liveness()[which]})
        except EngineError:
            state = State(status="stopped")
        response.status_code = 200 if state.status in ("live", "ready") else 503
        return state

    return topic
