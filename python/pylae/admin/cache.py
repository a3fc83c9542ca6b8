"""The response cache: what it holds, and making it forget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

from fastapi import APIRouter
from pydantic import Field, model_validator

from pylae.admin.body import Body

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "cache"

_Text = Annotated[str, Field(min_length=1, max_length=8192)]


class Cache(Body):
    """The response cache."""

    usage: dict[str, Any] | None
    """What it holds; null if no route has had one."""
    exchanges: dict[str, int]
    """How exchanges of routes with a cache were served since the start."""


class Purge(Body):
    """What is to be forgotten: exactly one of these."""

    url: _Text | None = None
    """Answers to this URL, for all users and in all variants; a path alone means any host."""
    prefix: _Text | None = None
    """Answers to URLs that begin so."""
    service: _Text | None = None
    """Answers of this service."""
    tag: _Text | None = None
    """Answers that carry this tag."""
    everything: bool = False
    """All answers."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(one is not None for one in (self.url, self.prefix, self.service, self.tag)) + self.everything != 1:
            raise ValueError("exactly one of url, prefix, service, tag and everything is needed")
        return self


class Purged(Body):
    """What a purge did."""

    purged: int
    """Answers that were forgotten."""


def router(runtime: Runtime) -> APIRouter:
    """Its paths."""
    topic = APIRouter(prefix="/cache")

    @topic.get("")
    def usage() -> Cache:
        """What the cache holds, and how it does."""
        stats = runtime.engine.stats()
        return Cache(usage=stats["cache"], exchanges=stats["totals"]["cache"])

    @topic.post("/purge")
    def purge(what: Purge) -> Purged:
        """Makes the cache forget."""
        return Purged(purged=runtime.engine.purge_cache(**what.model_dump(exclude={"everything"})))

    return topic
