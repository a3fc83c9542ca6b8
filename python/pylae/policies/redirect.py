"""Redirects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

from pydantic import model_validator

from pylae.config.models.base import Settings

if TYPE_CHECKING:
    from pylae.settings.fields import RedirectFields


class Redirect(Settings):
    """Answers with a redirect. A text is short for `to`. The route needs no service.

    `to` is a URL or a path. The gateway replaces these names in it:

    - `{host}`: host and port of the request; the host alone if a port follows it, as in `https://{host}:8443`,
    - `{path}`: path of the request,
    - `{name}`: the value of the path parameter `name`.

    A path parameter cannot be part of the host: its sender could then redirect others to any host. If the host is
    `{host}`, requests without one (HTTP/1.0 without `Host`) get 400.

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
    """URL or path to redirect to."""
    status: Literal[301, 302, 303, 307, 308] = 308
    """301 and 308 are permanent and may be cached; 302 and 307 are temporary. 307 and 308 keep method and body. 303
    makes the client send a GET."""
    keep_query: bool = True
    """Append the query of the request."""
    insecure_only: bool = False
    """Redirect only requests that did not come over TLS. Use it to redirect to https if all listeners share the
    route."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RedirectFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"to": value} if isinstance(value, str) else value
