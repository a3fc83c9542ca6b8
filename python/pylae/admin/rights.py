"""What the caller may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request

from pylae.access.scopes import CONFIGURE, OPERATE, READ
from pylae.admin.body import Body
from pylae.admin.caller import caller_of
from pylae.admin.endpoint import needs, topic_router

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "rights"


class Rights(Body):
    """What the caller may do."""

    name: str
    """Name of the token; `admin` for the gateway's own token, `local` at the socket in the state folder without one."""
    scopes: list[str]
    """Which of `read`, `operate` and `configure` the caller may do."""


def router(_runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/rights")

    @topic.get("")
    @needs(READ)
    async def get_rights(request: Request) -> Rights:
        """Shows who the caller is and what it may do."""
        caller = caller_of(request)
        scopes = [one for one in (READ, OPERATE, CONFIGURE) if caller.bearer.scopes.allow(one)]
        return Rights(name=caller.name, scopes=scopes)

    return topic
