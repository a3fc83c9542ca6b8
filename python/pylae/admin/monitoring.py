"""How the gateway is doing: for Prometheus, for people, for orchestrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from pylae.admin.body import Body
from pylae.errors import EngineError

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "monitoring"

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class ServiceHealth(Body):
    """A verdict on what one service has served within the last minute, and the figures behind it."""

    status: Literal["healthy", "degraded", "unhealthy"]
    """The verdict, by the thresholds in `health`."""
    requests: int
    """Exchanges."""
    errors: int
    """Answers with 5xx."""
    mean_duration: float | None
    """Seconds; null if nothing came."""


class Health(Body):
    """A verdict on the last minute and the figures behind it."""

    status: Literal["healthy", "degraded", "unhealthy"]
    """The verdict, by the thresholds in `health`."""
    reasons: list[str]
    """One sentence for each threshold that is exceeded, and for each open breaker."""
    window: float
    """Seconds that the figures cover."""
    requests: int
    """Exchanges."""
    errors: int
    """Answers with 5xx."""
    error_rate: float
    """Share of them, 0 to 1."""
    mean_duration: float | None
    """Seconds; null if nothing came."""
    services: dict[str, ServiceHealth]
    """Each service by itself."""


class State(Body):
    """Whether something can be relied on."""

    status: Literal["live", "ready", "stuck", "stopping", "stopped"]
    """What it is doing."""


def router(runtime: Runtime) -> APIRouter:
    """Its paths."""
    topic = APIRouter()

    @topic.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """All figures in the text format of Prometheus."""
        return Response(runtime.metrics(), media_type=_PROMETHEUS)

    @topic.get("/metrics/summary")
    def summary() -> dict[str, Any]:
        """Counts, errors, durations and states per service and route; durations are in seconds."""
        return runtime.engine.summary()

    @topic.get("/health", responses={503: {"model": Health, "description": "Unhealthy"}})
    def health(always: bool = False) -> Response:
        """How good the service of the last minute was. 503 if it is unhealthy; 200 `always` for those who read it."""
        verdict = runtime.health()
        return JSONResponse(verdict.as_dict(), 503 if verdict.status == "unhealthy" and not always else 200)

    # No function that waits: probes are answered whatever else is under way. The engine answers them itself where it
    # can, in the same words.
    @topic.get("/live", responses={503: {"model": State, "description": "Stuck"}})
    @topic.head("/live", responses={503: {"model": State, "description": "Stuck"}})
    async def live(response: Response) -> State:
        """Whether requests are served: 503 while no worker answers. Needs no token."""
        return told(response, 0)

    @topic.get("/ready", responses={503: {"model": State, "description": "Not ready"}})
    @topic.head("/ready", responses={503: {"model": State, "description": "Not ready"}})
    async def ready(response: Response) -> State:
        """Whether connections are accepted. 503 from when a stop was asked for. Needs no token."""
        return told(response, 1)

    def told(response: Response, which: int) -> State:
        try:
            state = State.model_validate({"status": runtime.engine.liveness()[which]})
        except EngineError:
            state = State(status="stopped")
        response.status_code = 200 if state.status in ("live", "ready") else 503
        return state

    return topic
