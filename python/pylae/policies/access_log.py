"""The access log: one line per request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from pydantic import Field

from pylae.config.models.base import Settings
from pylae.config.models.condition import Expression
from pylae.policies.cors import Names

if TYPE_CHECKING:
    from pylae.settings.fields import AccessLogFields

ONLY_SENT = "otlp"
"""The output of a log that is only sent to a collector."""
NO_FILES = ("stdout", "stderr", ONLY_SENT)
"""Outputs that are no files."""


class AccessLog(Settings):
    """Writes one line per request.

    Requests that matched no route have a line too, and so do requests whose client went away (status 499).

    A slow or full disk never delays a request, because a separate thread writes the lines. If it cannot keep up, the
    gateway drops lines and counts them in the statistics. The gateway's own log says when lines begin to be lost, and
    later how many were lost.

    Credentials are replaced by `***`: the values of `Authorization`, `Proxy-Authorization`, `Cookie`, `Set-Cookie` and
    `X-API-Key`, and of query parameters such as `token`, `api_key` and `password`. Query parameters are also masked
    inside other fields, such as `Referer` and `Location`. Names under `mask` are masked in the latest exchanges of the
    admin API too.

    Log rotation needs no signal: once the file is renamed or removed, the next line opens it again. SIGUSR1 reopens it
    at once. The gateway does not wait for the reader of a named pipe: without a reader, lines are dropped and counted.
    If a full disk or pipe cuts a line short, the gateway completes that line before it writes the next.

    Example:
        ```yaml
        access_log:
          output: access.log
          format: json
          request_headers: [X-Tenant]
          response_headers: [X-Cache]
          mask: [X-Internal-Token, session]
        ```
    """

    main = ("output",)

    output: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")] = "stdout"
    """Where lines go: `stdout`, `stderr`, `otlp`, or the path of a file. Lines are appended to the file. With `otlp`
    they go only to the collector of `telemetry.logs`, which gets the lines of all outputs."""
    format: Literal["json", "common", "combined"] = "json"
    """`json` writes every field. `common` and `combined` are the formats of Apache and nginx."""
    request_headers: Names = ()
    """Request fields to add to each line. In JSON they are under `request_headers`."""
    response_headers: Names = ()
    """Response fields to add to each line. In JSON they are under `response_headers`."""
    mask: Names = ()
    """Further header fields and query parameters whose values are replaced by `***`."""
    filter: Expression | None = None
    """A condition in CEL: only requests that meet it have a line, e.g. `response.status >= 500`. A request for which it
    cannot be told has one. The [guide](../guide/conditions.md) lists what it may use. Without it, all requests have
    one."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AccessLogFields]) -> None: ...
