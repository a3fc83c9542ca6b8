"""Cross-origin resource sharing (CORS)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pylae.config.models.base import Settings, refusal, split_words
from pylae.units import Wait

if TYPE_CHECKING:
    from pylae.settings.fields import CorsFields

_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://((\*\.)?{_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]+\])(:[0-9]{{1,5}})?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def _origin(text: str) -> str:
    origin = text.strip().lower()
    if origin == "*":
        return origin
    if origin == "null":
        raise refusal("`null` is the origin of every sandboxed page, so it allows any site", "list real origins")
    if not _ORIGIN.fullmatch(origin):
        raise refusal(
            "is not an origin: write scheme, host and port, and no path",
            'write it like "https://app.example.org" or "https://*.example.org"',
        )
    # Browsers leave the default port out.
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0], "\n"))


def field_name(text: str) -> str:
    """Checks that a text is a name of a field or method, or `*`."""
    if not _TOKEN.fullmatch(text):
        raise refusal("must be a name: letters, digits and hyphens")
    return text


def _upper(text: str) -> str:
    return field_name(text).upper()


def _one_or_many(value: Any) -> Any:
    return split_words(value) if isinstance(value, str) else value


Names = Annotated[
    tuple[Annotated[str, AfterValidator(field_name)], ...],
    BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
]


class Cors(Settings):
    """Lets web pages of other origins call the gateway (CORS, Fetch standard).

    Origins alone are short for `origins`: `cors: "*"`.

    The gateway answers preflights itself, before authentication, with the policy of the route that would take the
    announced request. All responses, also errors of the gateway, get the fields that let a page of an allowed origin
    read them. These replace the CORS fields of the service.

    CORS does not replace authentication. Requests from other origins still reach the service; browsers only keep the
    response from the page.

    Example:
        ```yaml
        cors:
          origins: ["https://app.example.org", "https://*.example.com"]
          methods: [GET, POST]
          headers: [Authorization, Content-Type]
          expose: [X-Request-ID]
          credentials: true
          max_age: 1h
        ```
    """

    short = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}

    origins: Annotated[
        tuple[Annotated[str, AfterValidator(_origin)], ...],
        BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ] = ("*",)
    """Origins that may call: exact ones, `https://*.example.org` for all subdomains, or `*` for every origin."""
    methods: Annotated[
        tuple[Annotated[str, AfterValidator(_upper)], ...],
        BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
    ] = ("*",)
    """Methods that a preflight may ask for. `*` allows every method of the route."""
    headers: Names = ("*",)
    """Request fields that a page may send. `*` allows every field that it asks for, `Authorization` too."""
    expose: Names = ()
    """Response fields that a page may read, besides those that browsers always expose."""
    credentials: bool = False
    """Allow cookies and other credentials. Requires a list of `origins`."""
    max_age: Wait = timedelta(days=1)
    """How long a browser may cache the answer to a preflight. Browsers have upper limits of their own."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CorsFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"origins": value} if isinstance(value, str | list | tuple) else value

    @model_validator(mode="after")
    def _fits(self) -> Cors:
        if self.credentials and "*" in self.origins:
            raise refusal("credentials cannot be allowed for every origin", "list the `origins`")
        if self.credentials and "*" in self.expose:
            raise refusal("browsers ignore `expose: *` together with `credentials`", "list the names")
        return self
