"""WebSocket settings of a route."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Unpack

from pydantic import model_validator

from pylae.config.models.base import Settings, refusal
from pylae.units import ByteSize, Duration

if TYPE_CHECKING:
    from pylae.settings.fields import WebSocketFields


class WebSocket(Settings):
    """Allows WebSocket connections on the route (RFC 6455). `true` takes the defaults.

    For compressed messages (permessage-deflate), sizes are those of the compressed data.

    Example:
        ```yaml
        websocket: {idle_timeout: 5m, max_message: 1MB}
        ```
    """

    main = ("idle_timeout",)

    idle_timeout: Duration = timedelta(minutes=5)
    """Longest silence. If neither side sends a frame for so long, not even a ping, the gateway closes both with a Close
    frame (1001). It also cuts the connection off if one side does not read for so long what the other has sent."""
    max_message: ByteSize | None = 16 * 1024 * 1024
    """Largest message, over all its frames. A larger one closes both sides (1009). `null` means no limit."""
    max_frame: ByteSize | None = None
    """Largest frame. A larger one closes both sides (1009). By default only `max_message` applies."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[WebSocketFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> WebSocket:
        if self.max_frame is not None and self.max_message is not None and self.max_frame > self.max_message:
            raise refusal("`max_frame` is larger than `max_message`", "a frame is never larger than its message")
        return self
