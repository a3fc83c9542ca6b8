"""Copies of requests to another service."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import Field, model_validator

from pylae.config.models.base import Positive, Settings, Share
from pylae.units import ByteSize, Duration

if TYPE_CHECKING:
    from pylae.settings.fields import MirrorFields


class Mirror(Settings):
    """Sends a copy of each request that is forwarded to another service too. A text is short for `service`.

    The copy is sent when the exchange is over and its answer is thrown away: neither delays anybody. Requests whose
    body is longer than `max_body` and those beyond `max_in_flight` are not copied; the statistics count them.

    Example:
        ```yaml
        services:
          users: {instances: ["http://users:8000"]}
          shadow: {instances: ["http://users-next:8000"]}
        routes:
          - prefix: /users
            service: users
            auth_required: false
            mirror: {service: shadow, share: 0.1}
        ```
    """

    short = {"type": "string"}

    service: str
    """Name of the service that gets the copies."""
    share: Share = 1
    """Part of the requests that is copied, chosen by request id."""
    max_body: Annotated[ByteSize, Field(le=16 * 1024 * 1024)] = 64 * 1024
    """Size of a body. More than 64 KB is kept in memory for the copy while it is forwarded."""
    max_in_flight: Positive = 100
    """Copies under way at once, per worker."""
    timeout: Duration = timedelta(seconds=5)
    """Time for a copy to be sent and answered."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[MirrorFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"service": value} if isinstance(value, str) else value
