"""The last hour: figures every few seconds, and since when something is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query

from pylae.access.scopes import READ
from pylae.admin.body import Body
from pylae.admin.endpoint import needs, topic_router
from pylae.runtime.timeline import INTERVAL

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime
    from pylae.runtime.timeline import Trouble

TAG = "timeline"

_MOST, _LONGEST = 32, 8192
"""Services whose figures are told at once, and characters of their names."""


class TroubleSeen(Body):
    """Something that is or was wrong."""

    service: str
    """Name of the service."""
    instance: str | None
    """URL of the instance; null if it is the service."""
    kind: Literal["down", "ejected", "draining", "failing", "open", "half_open", "errors"]
    """`down`, `ejected` and `draining` are states of an instance. `failing`: most attempts at it fail. `open` and
    `half_open` are states of its breaker, or of the service's. `errors`: most answers of the service are 5xx."""
    why: str | None
    """What is known of the reason."""
    since: datetime
    """When it was noticed: at most some seconds after it began."""
    until: datetime | None
    """When it was noticed to be over; null while it lasts."""


class SeriesSeen(Body):
    """The figures of a service, or of the gateway, one for each time. Null where there were no requests."""

    requests: list[float | None]
    """Requests since the time before."""
    errors: list[float | None]
    """5xx responses since the time before."""
    p50: list[float | None]
    """Median duration of the last minute, in seconds."""
    p99: list[float | None]
    """Duration that 99 % of the last minute did not exceed, in seconds."""


class TimelineSeen(Body):
    """The last hour, or what there is of it since the start."""

    interval: float
    """Seconds between two times."""
    times: list[float]
    """Times, in seconds since 1970."""
    gateway: SeriesSeen
    """The figures of the gateway."""
    services: dict[str, SeriesSeen]
    """The figures of the services that were asked for."""
    troubles: list[TroubleSeen]
    """What is wrong now, the latest first, then what is over, the latest first."""


def seen(troubles: Iterable[Trouble]) -> list[TroubleSeen]:
    """Returns what is or was wrong, as the admin API tells it."""
    return [
        TroubleSeen(
            service=one.service,
            instance=one.instance,
            kind=one.kind,
            why=one.why,
            since=datetime.fromtimestamp(one.since, UTC),
            until=None if one.until is None else datetime.fromtimestamp(one.until, UTC),
        )
        for one in troubles
    ]


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/timeline")

    @topic.get("")
    @needs(READ)
    def get_timeline(
        service: Annotated[
            str,
            Query(
                max_length=_LONGEST,
                description=f"Names of services whose figures are wanted too, with commas between; {_MOST} at most.",
                examples=["orders,users"],
            ),
        ] = "",
        last: Annotated[int, Query(ge=1, le=720, description="How many times at most.")] = 720,
    ) -> TimelineSeen:
        """Shows the figures of the last hour, a value every few seconds, and since when something is wrong."""
        names = list(dict.fromkeys(filter(None, service.split(","))))[:_MOST]
        times, series = runtime.timeline.series(names)
        found = {
            name: SeriesSeen.model_validate({key: values[-last:] for key, values in columns.items()})
            for name, columns in series.items()
        }
        return TimelineSeen(
            interval=INTERVAL,
            times=times[-last:],
            gateway=found.pop(""),
            services=found,
            troubles=seen(runtime.timeline.troubles()),
        )

    return topic
