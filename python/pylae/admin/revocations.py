"""Revocations: how to make one, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Self

from fastapi import APIRouter
from pydantic import ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

from pylae.access.scopes import OPERATE, READ
from pylae.admin.body import Body, one_text
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.errors import EngineError
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "revocations"

_Text = Annotated[str, Field(min_length=1, max_length=8192)]


class Revocation(Body):
    """What to revoke. Set exactly one of `user` and `jti`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [one_text("user"), one_text("jti")],
            "examples": [{"user": "7", "ttl": "12h"}, {"jti": "5f0c9a", "ttl": 3600}],
        }
    )

    user: _Text | None = None
    """Id of a user. Whatever the user was issued up to now is refused."""
    jti: _Text | None = None
    """The `jti` of a token, which is refused."""
    ttl: Duration = timedelta(days=30)
    """How long. The longest lifetime of a token is enough."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.user is None) == (self.jti is None):
            raise ValueError("exactly one of user and jti is needed")
        return self


class Revoked(Body):
    """The result of a revocation."""

    delayed: bool
    """Whether other nodes of the cluster learn of it later, because the store does not answer."""


class Revocations(Body):
    """The revocations that the gateway knows. It keeps only hashes, so it cannot list them."""

    number: int
    """How many there are. Those that have ended count for up to a minute, or without a cluster until room is needed."""
    current: bool | None
    """Whether these are all of the cluster, as of when the store last answered; null without a cluster."""
    unpublished: int | None
    """How many of them other nodes must still be told; null without a cluster."""


def is_delayed(stats: Mapping[str, Any]) -> bool:
    """Whether other nodes learn only later of what happens now."""
    feed = stats["feed"]
    return feed is not None and not (feed["available"] and feed["current"])


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/revocations")

    @topic.get("")
    @needs(READ)
    def get_revocations() -> Revocations:
        """Shows how many revocations the gateway knows."""
        stats = runtime.engine.stats()
        feed = stats["feed"]
        return Revocations(
            number=stats["revocations"],
            current=feed and feed["current"],
            unpublished=feed and feed["unpublished_revocations"],
        )

    @topic.post("", responses=refusals({409: "There are too many revocations to add one."}))
    @needs(OPERATE, audited=("user", "jti", "ttl"))
    def revoke(what: Revocation) -> Revoked:
        """Refuses a token, or what a user was issued so far, from now on. In a cluster, all nodes do."""
        kind, value = ("jti", what.jti) if what.jti is not None else ("user", what.user)
        try:
            runtime.engine.revoke(kind, value or "", what.ttl.total_seconds())
        except EngineError as error:
            raise HTTPException(409, str(error)) from None
        return Revoked(delayed=is_delayed(runtime.engine.stats()))

    return topic
