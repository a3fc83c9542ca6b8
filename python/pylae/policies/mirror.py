"""Mirroring: copies of requests to another service."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import Field, model_validator

from pylae.config.models.base import Positive, Settings, Share
from pylae.units import ByteSize, Duration

if TYPE_CHECKING:
    from pylae.settings.fields import MirrorFields


class Mirror(Settings):
    """Sends a copy of each forwarded request to another service. A text is short for `service`.

    The gateway sends the copy after the request is over and discards the response, so copies never delay a client. It
    does not copy requests whose body is longer than `max_body`, nor more than `max_in_flight` at once; the statistics
    count those that it leaves out.

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
    """Name of the service that receives the copies."""
    share: Share = 1
    """Fraction of the requests to copy, from 0 to 1. The request id decides which ones."""
    max_body: Annotated[ByteSize, Field(le=16 * 1024 * 1024)] = 64 * 1024
    """Largest request body to copy, at most 16 MB. Above 64 KB, the gateway holds the whole body in memory for the
    copy."""
    max_in_flight: Positive = 100
    """Most copies in progress at once, per worker."""
    timeout: Duration = timedelta(seconds=5)
    """Total time to send a copy and read its response."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[MirrorFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"service": value} if isinstance(value, str) else value
