"""The gateway's own log: its levels and its format, and how to change them for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Self

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field, model_validator

from pylae.access.scopes import OPERATE, READ
from pylae.admin.body import Body
from pylae.admin.caller import caller_of
from pylae.admin.endpoint import needs, topic_router
from pylae.logs.levels import ALL, FORMAT
from pylae.logs.settings import LogArea, LogFormat, LogLevel
from pylae.units import Duration, between

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "log"

LONGEST = timedelta(days=1)
"""How long a change may last. What is to last longer belongs in the configuration."""


class LogOrder(Body):
    """What to change, and for how long."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["level"]}, {"required": ["areas"]}, {"required": ["format"]}],
            "examples": [{"areas": {"upstream": "debug"}, "lasting": "10m"}, {"level": "warning"}],
        }
    )

    level: Annotated[LogLevel | None, Field(json_schema_extra={"type": "string"})] = None
    """Level of all areas, also of those for which the configuration has another."""
    areas: Annotated[dict[LogArea, LogLevel], Field(max_length=32)] = {}
    """Levels of areas."""
    format: LogFormat | None = None
    """Format of the lines on standard error under `pylae run`."""
    lasting: Annotated[Duration, between(timedelta(seconds=1), LONGEST)] = timedelta(minutes=10)
    """How long, at most a day. Then it is as configured again."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.level is None and self.format is None and not self.areas:
            raise ValueError("one of level, areas and format is needed")
        return self


class LogChange(Body):
    """Something that is changed for a while."""

    what: str
    """An area, `level` for all areas, or `format`."""
    value: str
    """What it is meanwhile."""
    until: str
    """When it ends, in UTC."""
    by: str
    """Who has changed it."""


class LogState(Body):
    """The levels and the format in force."""

    areas: dict[str, str]
    """The level of each area."""
    format: str
    """`text` or `json`."""
    changes: list[LogChange]
    """What is changed for a while."""


class LogReset(Body):
    """The result of an end of all changes."""

    changed: bool
    """Whether there was any."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/log")
    levels = runtime.log_levels

    def state() -> LogState:
        changes = [
            LogChange(what=one.what, value=one.value, until=one.until.isoformat(timespec="seconds"), by=one.by)
            for one in levels.changes()
        ]
        return LogState(areas=levels.levels(), format=levels.format, changes=changes)

    @topic.get("")
    @needs(READ)
    def get_log() -> LogState:
        """Shows the level of each area of the gateway's own log, its format, and what is changed for a while."""
        return state()

    @topic.put("")
    @needs(OPERATE, audited=("level", "areas", "format", "lasting"))
    def change_log(request: Request, order: LogOrder) -> LogState:
        """Changes levels or the format for a while; they return to what is configured by themselves.

        It holds for this gateway, from the next record on, and outlives reloads but no restart.
        """
        values: dict[str, str] = {}
        values.update(order.areas.items())
        values |= {ALL: order.level} if order.level else {}
        values |= {FORMAT: order.format} if order.format else {}
        levels.change(values, order.lasting, caller_of(request).name)
        return state()

    @topic.delete("")
    @needs(OPERATE)
    def reset_log(request: Request) -> LogReset:
        """Ends all changes: the log is as configured again."""
        return LogReset(changed=levels.end(caller_of(request).name))

    return topic
