"""One line per exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from pydantic import Field

from pylae.config.models.base import Settings
from pylae.policies.cors import Names

if TYPE_CHECKING:
    from pylae.settings.fields import AccessLogFields


class AccessLog(Settings):
    """Writes one line per exchange, also for those that no route took or whose client went away (status 499).

    A line is put together by the worker and written by a thread of its own: a disk or pipe that is slow or full never
    delays a request. Lines that cannot be written in time are dropped and counted in the statistics; the gateway's own
    log says when that begins, and how many were lost once it is over. Credentials are never shown: the values of
    `Authorization`, `Proxy-Authorization`, `Cookie`, `Set-Cookie`, `X-API-Key` and of query parameters such as `token`,
    `api_key` and `password` are replaced by `***`, the latter in every field that is shown (a `Referer`, a `Location`)
    too. What `mask` names is not shown by the admin API's latest exchanges either.

    A file that is renamed or removed is opened again with the next line, so that log rotation needs no signal; SIGUSR1
    has it opened again at once. A named pipe is not waited for: while it has no reader, lines are dropped and counted.
    A line of which only a part could be written, because the disk was full or the pipe stuck, is completed before the
    next.

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
    """`stdout`, `stderr`, or the path of a file, which is appended to."""
    format: Literal["json", "common", "combined"] = "json"
    """`json` has all fields; `common` and `combined` are those of Apache and nginx."""
    request_headers: Names = ()
    """Request fields that are added, in JSON under `request_headers`."""
    response_headers: Names = ()
    """Response fields that are added, in JSON under `response_headers`."""
    mask: Names = ()
    """Further fields and query parameters whose values are replaced by `***`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AccessLogFields]) -> None: ...
