"""The fleet: the nodes that follow a shared store, and how a configuration is rolled out to them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

from pylae.access.scopes import CONFIGURE, READ
from pylae.admin.body import Body
from pylae.admin.caller import caller_of
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.errors import StoreError
from pylae.fleet.fleet import Fleet
from pylae.fleet.records import Counted, Report, Rollout

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "fleet"


class Observed(Body):
    """What was counted during a roll-out."""

    requests: int
    """Requests that were answered."""
    errors: int
    """How many of them were answered with 5xx, by the gateway or by an instance."""
    p99: float | None
    """Seconds that 99 % of them did not exceed, by a sample. Null if there is none."""


class RolloutState(Body):
    """The latest roll-out."""

    number: int
    """Number of its configuration in the history."""
    previous: int
    """Number of what all nodes had before, and return to if it is taken back. 0 is nothing."""
    stage: str
    """`checking` by all nodes, `admitting` the first node, `observing` it; or how it ended: `done`, `refused`,
    `taken_back`, `cancelled`."""
    author: str
    """Who has begun it."""
    reason: str | None
    """What was said about it."""
    started: datetime
    """When it began."""
    ended: datetime | None
    """When it ended."""
    now: bool
    """Whether it was to be for all nodes at once, unobserved."""
    observe: float
    """Seconds for which the first node is observed."""
    first: str | None
    """Name of the node that has it before all others."""
    observed: datetime | None
    """Since when that node is observed."""
    verdict: str | None
    """Why it ended as it did."""
    unobserved: bool
    """Whether it has become the configuration of all nodes without a judgement."""
    node: str | None
    """The node that has refused it."""
    problems: list[str]
    """Why that node has refused it."""
    seen: Observed | None
    """What the first node has answered."""
    usual: Observed | None
    """What that was compared with."""


class FleetNode(Body):
    """A node that follows the store."""

    name: str
    """Name of the node: `cluster.node`, or the host's name with something unique."""
    id: str
    """What tells it apart from others of the same name. Each start has another one."""
    this: bool
    """Whether it is the node that answers."""
    version: str
    """Version of Pylae."""
    started: datetime
    """Time of the start, by its own clock."""
    in_force: int
    """Number of the configuration in force. 0 is none."""
    target: int
    """Number of the configuration that it should have."""
    problems: list[str]
    """Why it does not have that one."""
    requests: int
    """Requests that it has answered since its start."""
    errors: int
    """How many of them with 5xx."""
    adds: list[str]
    """Routes, services, hooks and authenticators that its code adds."""


class FleetState(Body):
    """The nodes that follow the store, and what they should have."""

    available: bool
    """Whether the store answers. If it does not, `nodes` has only this one, and the rest is old."""
    problem: str | None
    """Why it does not."""
    head: int
    """Number of the configuration that all nodes should have. 0: nobody has applied one yet."""
    nodes: list[FleetNode]
    """The nodes that live, sorted by name."""
    rollout: RolloutState | None
    """The latest roll-out, if there was one."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router()

    alone = {404: "This gateway has no shared store."}
    unknown = {404: "This gateway has no shared store, or nobody has applied a configuration yet."}

    @topic.get("/fleet", responses=refusals(alone))
    @needs(READ)
    def get_fleet() -> FleetState:
        """Lists the nodes that follow the same store: what each has in force, and why not what it should have."""
        return _state(_fleet_of(runtime))

    @topic.get("/rollout", responses=refusals(unknown))
    @needs(READ)
    def get_rollout() -> RolloutState:
        """Shows the latest roll-out: how far it is, or how it ended."""
        latest = _fleet_of(runtime).rollout()
        if latest is None:
            raise HTTPException(404, "nobody has applied a configuration to this fleet yet")
        return rollout_state(latest)

    @topic.post("/rollout/cancel", responses=refusals({**alone, 409: "No configuration is being rolled out."}))
    @needs(CONFIGURE)
    def cancel_rollout(request: Request) -> RolloutState:
        """Ends the roll-out that is going on. The node that has its configuration returns to what all others have."""
        return rollout_state(_fleet_of(runtime).cancel(caller_of(request).name))

    return topic


def _fleet_of(runtime: Runtime) -> Fleet:
    if not isinstance(runtime.fleet, Fleet):
        raise HTTPException(404, "this gateway has no shared store: it is alone")
    return runtime.fleet


def _state(fleet: Fleet) -> FleetState:
    present, problem = fleet.seen.present, fleet.seen.problem
    nodes: list[Report] = []
    if problem is None:
        try:
            nodes = fleet.nodes()
        except StoreError as error:
            problem = str(error)
    rollout = present.rollout if present else None
    shown = [_node(one, this=one.id == fleet.me.id) for one in nodes if one.id != fleet.me.id]
    shown.append(_node(fleet.report(), this=True))
    return FleetState(
        available=problem is None,
        problem=problem,
        head=present.head.number if present else 0,
        nodes=sorted(shown, key=lambda one: (one.name, one.id)),
        rollout=rollout_state(rollout) if rollout else None,
    )


def _node(report: Report, *, this: bool) -> FleetNode:
    failed = report.failed
    return FleetNode(
        name=report.name,
        id=report.id,
        this=this,
        version=report.release,
        started=report.started,
        in_force=report.in_force,
        target=report.target,
        problems=list(failed.problems) if failed and failed.number == report.target != report.in_force else [],
        requests=report.requests,
        errors=report.errors,
        adds=list(report.additions),
    )


def rollout_state(rollout: Rollout) -> RolloutState:
    """Returns a roll-out as people and programs see it."""
    return RolloutState(
        number=rollout.number,
        previous=rollout.previous,
        stage=rollout.stage,
        author=rollout.author,
        reason=rollout.reason,
        started=rollout.started,
        ended=rollout.ended,
        now=rollout.now,
        observe=rollout.observe,
        first=rollout.first.name if rollout.first else None,
        observed=rollout.observed,
        verdict=rollout.verdict,
        unobserved=rollout.unobserved,
        node=rollout.node,
        problems=list(rollout.problems),
        seen=_observed(rollout.seen),
        usual=_observed(rollout.usual),
    )


def _observed(counted: Counted | None) -> Observed | None:
    if counted is None:
        return None
    return Observed(requests=counted.requests, errors=counted.errors, p99=counted.p99)
