"""What a route says about WebSocket."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Unpack

from pydantic import model_validator

from pylae.config.models.base import Settings, refusal
from pylae.units import ByteSize, Duration

if TYPE_CHECKING:
    from pylae.settings.fields import WebSocketFields


class WebSocket(Settings):
    """Lets requests of the route become WebSockets (RFC 6455). `true` takes the defaults.

    Sizes are those of what is sent: of compressed messages (permessage-deflate) the compressed size.

    Example:
        ```yaml
        websocket: {idle_timeout: 5m, max_message: 1MB}
        ```
    """

    main = ("idle_timeout",)

    idle_timeout: Duration = timedelta(minutes=5)
    """Longest silence of both sides, after which both are sent a Close frame (1001); any frame ends it, pings too. Also
    the longest time that one side may leave untaken what is there for it, after which the connection is cut off."""
    max_message: ByteSize | None = 16 * 1024 * 1024
    """Largest message, over all its frames; a larger one closes both sides (1009). `null` is no bound."""
    max_frame: ByteSize | None = None
    """Largest frame; a larger one closes both sides (1009). Without it only `max_message` bounds frames."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[WebSocketFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> WebSocket:
        if self.max_frame is not None and self.max_message is not None and self.max_frame > self.max_message:
            raise refusal("`max_frame` is larger than `max_message`", "a frame is never larger than its message")
        return self
