"""An overview of the running gateway."""

from __future__ import annotations

import os
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter

from pylae.access.scopes import READ
from pylae.admin.body import Body
from pylae.admin.endpoint import needs, topic_router

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "status"


class ClusterStatus(Body):
    """What a node knows of its cluster."""

    name: str
    """Name of the cluster."""
    node: str
    """Name of this node."""
    nodes: int
    """Number of live nodes, including this one."""
    available: bool
    """Whether all servers of the store are connected."""
    servers: int
    """Number of servers of the store that have keys."""
    connected: int
    """How many of them are connected."""
    problem: str | None
    """Why not all are."""


class HookHost(Body):
    """A process that runs hooks."""

    host: int
    """Its place among the hook hosts, from 0. Another process may take it."""
    process: int
    """Process id."""
    state: Literal["starting", "warm", "draining"]
    """Whether it takes calls, or no more, because another one takes its place."""
    calls: int
    """Number of calls that it was given."""
    in_flight: int
    """How many of them it has not answered."""
    memory: int
    """Resident memory in bytes."""


class Status(Body):
    """An overview of the running gateway."""

    version: str
    """Version of Pylae."""
    pid: int
    """Process id."""
    started: datetime
    """Time of the start."""
    revision: str
    """Revision of the current configuration."""
    applied: int
    """Number of plans applied, including changes of instances."""
    source: str
    """File or program of the configuration."""
    overridden: bool
    """Whether a configuration applied over this API replaces that of the file."""
    listeners: list[str]
    """Addresses that clients connect to."""
    totals: dict[str, Any]
    """Counts over all workers since the start."""
    cluster: ClusterStatus | None
    """The cluster that this gateway is a node of, if any."""
    hook_hosts: list[HookHost]
    """The processes that run hooks; none if the gateway itself does."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router()
    pid = os.getpid()
    try:
        installed = version("pylae")
    except PackageNotFoundError:
        installed = "unknown"

    @topic.get("/status")
    @needs(READ)
    def get_status() -> Status:
        """Shows an overview of the gateway."""
        stats = runtime.engine.stats()
        return Status(
            version=installed,
            pid=pid,
            started=runtime.started,
            revision=runtime.revision,
            applied=stats["applied"],
            source=str(runtime.origin),
            overridden=runtime.override.in_force and not runtime.kept.shared,
            listeners=runtime.engine.addresses(),
            totals=stats["totals"],
            cluster=_cluster(stats["store"]),
            hook_hosts=[HookHost(**host) for host in (runtime.hosts.listed() if runtime.hosts else ())],
        )

    return topic


def _cluster(store: dict[str, Any] | None) -> ClusterStatus | None:
    if store is None:
        return None
    return ClusterStatus(
        name=store["cluster"],
        node=store["node"],
        nodes=store["nodes"],
        available=store["available"],
        servers=store["servers"],
        connected=store["connected"],
        problem=store["problem"],
    )
