"""The nodes of the cluster, as this one sees them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from pylae.access.scopes import READ
from pylae.admin.body import Body
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "nodes"


class Node(Body):
    """A node of the cluster."""

    name: str
    """Name of the node."""
    id: str
    """What tells it apart from others of the same name. Each start has another one."""
    this: bool
    """Whether it is the node that answers."""
    version: str
    """Version of Pylae."""
    protocol: int
    """Version of what nodes say to each other. Neighbouring versions work together."""
    configuration: str
    """A digest of its configuration, without what nodes may have of their own. Equal on nodes that do the same."""
    started: datetime
    """Time of the start, by its own clock."""
    silent: float
    """Seconds since its last word. A node says that it lives once a second."""
    round_trip: float | None
    """Seconds that the store took for the answer to its last word but one."""


class Nodes(Body):
    """The nodes of the cluster that live, as this one last saw them."""

    cluster: str
    """Name of the cluster."""
    available: bool
    """Whether this node is connected to the server of the store that knows the nodes. If it is not, what it says of
    others is old."""
    problem: str | None
    """Why the store, or a part of it, is not available."""
    nodes: list[Node]
    """The nodes, sorted by name."""
    disagreements: list[str]
    """One sentence for each thing that should be the same on all nodes, and is not."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/nodes")

    @topic.get("", responses=refusals({404: "The gateway is not a node of a cluster."}))
    @needs(READ)
    def list_nodes() -> Nodes:
        """Lists the nodes of the cluster that live, and what they disagree about."""
        stats = runtime.engine.stats()
        store, feed = stats["store"], stats["feed"]
        if store is None or feed is None:
            raise HTTPException(404, "this gateway is not a node of a cluster")
        members = sorted(store["members"], key=lambda one: (one["name"], one["id"]))
        return Nodes(
            cluster=store["cluster"],
            available=feed["available"],
            problem=store["problem"],
            nodes=[_node(one, this=one["id"] == store["id"]) for one in members],
            disagreements=store["disagreements"],
        )

    return topic


def _node(member: dict[str, Any], *, this: bool) -> Node:
    return Node(
        name=member["name"],
        id=member["id"],
        this=this,
        version=member["version"],
        protocol=member["protocol"],
        configuration=member["configuration"],
        started=datetime.fromtimestamp(member["since"], UTC),
        silent=member["silent"],
        round_trip=None if member["round_trip"] is None else member["round_trip"] / 1e6,
    )
