"""What runs, since when, and what it has counted."""

from __future__ import annotations

import os
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from pylae.admin.body import Body

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "status"


class Status(Body):
    """A running gateway at a glance."""

    version: str
    """Version of Pylae."""
    pid: int
    """Process."""
    started: datetime
    """Its start."""
    revision: str
    """Names the configuration in force."""
    applied: int
    """Plans applied, changes of instances included."""
    source: str
    """File or program that the configuration comes from."""
    overridden: bool
    """Whether a configuration applied over this API stands in its place."""
    listeners: list[str]
    """Addresses that clients connect to."""
    totals: dict[str, Any]
    """Counts over all workers since the start."""


def router(runtime: Runtime) -> APIRouter:
    """Its paths."""
    topic = APIRouter()
    pid = os.getpid()
    try:
        installed = version("pylae")
    except PackageNotFoundError:
        installed = "unknown"

    @topic.get("/status")
    def status() -> Status:
        """The gateway at a glance."""
        stats = runtime.engine.stats()
        return Status(
            version=installed,
            pid=pid,
            started=runtime.started,
            revision=runtime.revision,
            applied=stats["applied"],
            source=str(runtime.origin),
            overridden=runtime.override.in_force,
            listeners=runtime.engine.addresses(),
            totals=stats["totals"],
        )

    return topic
