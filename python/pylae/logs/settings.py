"""Settings of the gateway's own log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args

from pydantic import model_validator

from pylae.config.models.base import Settings

if TYPE_CHECKING:
    from pylae.settings.fields import LogSettingsFields

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
LogArea = Literal[
    "admin",
    "auth",
    "cluster",
    "config",
    "engine",
    "health",
    "hooks",
    "listeners",
    "registry",
    "requests",
    "store",
    "telemetry",
    "tls",
    "upstream",
]
AREAS: tuple[str, ...] = get_args(LogArea)
"""What records are about. Each area has a logger, `pylae.AREA`."""


class LogSettings(Settings):
    """The gateway's own log, which is not the access log: its level, in all or by area, and its format.

    A text is short for `level`. `pylae log` changes both for a while without a reload.

    Example:
        ```yaml
        log:
          level: info
          format: json
          areas: {upstream: debug, health: warning}
        ```
    """

    short = {"type": "string"}

    level: LogLevel | None = None
    """Least level of the records that are written. `debug` also writes the steps of the data plane. The default is
    `info`, or what a program that embeds the gateway has set."""
    format: LogFormat | None = None
    """`text` for people, or `json`: an object per line. It is that of standard error under `pylae run`; a program that
    embeds the gateway formats records itself. The default is `text`."""
    areas: dict[LogArea, LogLevel] = {}
    """Levels of areas, instead of `level`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[LogSettingsFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"level": value} if isinstance(value, str) else value
