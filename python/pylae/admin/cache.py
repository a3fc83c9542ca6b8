"""The response cache: its usage, and how to purge it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

from fastapi import APIRouter
from pydantic import ConfigDict, Field, StrictBool, model_validator

from pylae.access.scopes import OPERATE, READ
from pylae.admin.body import Body, one_text
from pylae.admin.endpoint import needs, topic_router
from pylae.admin.revocations import is_delayed

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "cache"

_Text = Annotated[str, Field(min_length=1, max_length=8192)]


class Cache(Body):
    """The response cache."""

    usage: dict[str, Any] | None
    """Bytes and entries in the cache; null if no route has had a cache."""
    exchanges: dict[str, int]
    """How requests to routes with a cache were served since the start."""


class Purge(Body):
    """What to purge. Set exactly one field."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                *(one_text(name) for name in ("url", "prefix", "service", "tag")),
                {"required": ["everything"], "properties": {"everything": {"const": True}}},
            ],
            "examples": [{"tag": "product-42"}, {"url": "https://shop.example/products/42"}, {"everything": True}],
        }
    )

    url: _Text | None = None
    """Responses for this URL, for all users and variants. A path alone, from its `/`, means any host."""
    prefix: _Text | None = None
    """Responses for URLs that begin with this."""
    service: _Text | None = None
    """Responses of this service."""
    tag: _Text | None = None
    """Responses with this tag."""
    everything: StrictBool = False
    """All responses."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(one is not None for one in (self.url, self.prefix, self.service, self.tag)) + self.everything != 1:
            raise ValueError("exactly one of url, prefix, service, tag and everything is needed")
        return self


class Purged(Body):
    """The result of a purge."""

    purged: int
    """Number of responses that were removed here."""
    delayed: bool
    """Whether other nodes of the cluster learn of it later, because the store does not answer."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/cache")

    @topic.get("")
    @needs(READ)
    def get_cache() -> Cache:
        """Shows the usage of the cache, and how it served requests."""
        stats = runtime.engine.stats()
        return Cache(usage=stats["cache"], exchanges=stats["totals"]["cache"])

    @topic.post("/purge")
    @needs(OPERATE, audited=("url", "prefix", "service", "tag", "everything"))
    def purge_cache(what: Purge) -> Purged:
        """Removes responses from the cache. In a cluster, all nodes do."""
        purged = runtime.engine.purge_cache(**what.model_dump(exclude={"everything"}))
        return Purged(purged=purged, delayed=is_delayed(runtime.engine.stats()))

    return topic
