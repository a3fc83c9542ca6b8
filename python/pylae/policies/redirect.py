"""Sends clients elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

from pydantic import model_validator

from pylae.config.models.base import Settings

if TYPE_CHECKING:
    from pylae.settings.fields import RedirectFields


class Redirect(Settings):
    """Answers with a redirect. A text is short for `to`. The route needs no service.

    `to` is a URL or a path. In it, `{host}` stands for the host and port that the request is for (the host alone where
    a port follows: `https://{host}:8443`), `{path}` for its path, and names of path parameters for what they captured.
    A captured value cannot stand in the host part, where it could lead a client to a host of its sender's choice. Where
    `{host}` is the host part, a request that names none (HTTP/1.0 without `Host`) is answered with 400.

    Example:
        ```yaml
        routes:
          - {path: "/v1/users/{id}", auth_required: false, redirect: "/v2/users/{id}"}
          - prefix: /
            auth_required: false
            redirect: {to: "https://www.example.org{path}", status: 301, keep_query: false}
        ```
    """

    short = {"type": "string"}

    to: str
    """Where to."""
    status: Literal[301, 302, 303, 307, 308] = 308
    """301 and 308 may be remembered for ever, 302 and 307 not; 307 and 308 keep method and body, 303 asks for GET."""
    keep_query: bool = True
    """Whether the query of the request is appended."""
    insecure_only: bool = False
    """Whether clients that use TLS already pass, for redirects to https on all listeners."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RedirectFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"to": value} if isinstance(value, str) else value
