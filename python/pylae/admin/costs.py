"""What policies and hooks cost, by route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query

from pylae.access.scopes import READ
from pylae.admin.body import Body
from pylae.admin.endpoint import needs, topic_router

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "costs"


class Spending(Body):
    """What was spent. Times are in seconds."""

    calls: int
    """Requests that a policy has seen, estimated from a sample of exchanges; calls of a hook."""
    seconds: float
    """Time of workers. That of policies is estimated."""
    waited: float
    """Time that exchanges waited besides: for the store, an authenticator, or a hook that does not run on a worker."""
    rejections: int
    """Requests that a policy refused with 4xx."""
    failures: int
    """Requests that a policy ended with 5xx; calls of a hook that failed, took too long or were refused."""
    over_budget: int
    """Calls of a hook that kept a worker longer than its `budget`."""


class HookState(Body):
    """How a hook is doing."""

    run: Literal["worker", "coroutine", "loop", "pool"]
    """Where it runs now."""
    budget: float | None
    """Seconds that one call may keep a worker; null if that is not bounded."""
    demoted: bool
    """Whether it was moved off the workers, because it kept them longer than its budget."""


class Cost(Spending):
    """What one policy or hook of one route has cost since the start."""

    kind: Literal["policy", "hook"]
    """What it is."""
    route: str
    """Name of the route; empty in the early stage and for the function of an authenticator."""
    name: str
    """Name of the policy or the hook."""
    share: float
    """Its share of the time of all policies and hooks within the window, waits included, from 0 to 1."""
    recent: Spending
    """The same within the window."""
    hook: HookState | None
    """How a hook is doing; null for a policy."""


class Costs(Body):
    """What policies and hooks cost."""

    window: float
    """Time span of `recent`, in seconds: the last minute, or since the start."""
    costs: list[Cost]
    """Policies and hooks that have cost something, those that took most time in the last minute first."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/costs")

    @topic.get("")
    @needs(READ)
    def list_costs(
        most: Annotated[int, Query(ge=1, le=10_000, description="Most policies and hooks to list.")] = 100,
        route: Annotated[str | None, Query(max_length=200, description="Only those of this route.")] = None,
    ) -> Costs:
        """Lists what policies and hooks cost, dearest first."""
        found = runtime.engine.costs()
        whole = sum(_time(one["recent"]) for one in found["costs"])
        wanted = [one for one in found["costs"] if route is None or one["route"] == route][:most]
        listed = [{**one, "share": _time(one["recent"]) / whole if whole else 0.0} for one in wanted]
        return Costs.model_validate({"window": found["window"], "costs": listed})

    return topic


def _time(spending: dict[str, float]) -> float:
    return spending["seconds"] + spending["waited"]
