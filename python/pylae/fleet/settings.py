"""How a new configuration is rolled out to the nodes that share a store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Unpack

from pydantic import Field

from pylae.config.models.base import Positive, Settings, Share
from pylae.units import Duration, between

if TYPE_CHECKING:
    from pylae.settings.fields import RolloutSettingsFields


class RolloutSettings(Settings):
    """How this configuration is rolled out if the gateway has a shared `store`: to one node first, which is observed,
    then to all others, or back.

    Example:
        ```yaml
        rollout: {observe: 2m, max_errors: 0.005, min_requests: 1000}
        ```
    """

    observe: Annotated[Duration, between(timedelta(seconds=1), timedelta(hours=1))] = timedelta(seconds=30)
    """How long the first node is observed before all others follow."""
    max_errors: Share = 0.01
    """By how much the share of 5xx responses may be above that of the other nodes, from 0 to 1. If it is more, the
    configuration is taken back. So it is if the slowest hundredth of the requests takes more than twice as long."""
    min_requests: Annotated[Positive, Field(ge=10, le=1_000_000)] = 100
    """Fewest requests for a judgement. If there are fewer within `observe`, the roll-out goes on, and says so."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RolloutSettingsFields]) -> None: ...
