"""Lets pages of other origins call the gateway, and only those that may."""

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
        raise refusal("`null` is the origin of every sandboxed page, whoever wrote it", "list real origins")
    if not _ORIGIN.fullmatch(origin):
        raise refusal(
            "is not an origin: scheme, host and port, nothing behind them",
            'write it like "https://app.example.org" or "https://*.example.org"',
        )
    # Browsers leave the default port out.
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0], "\n"))


def field_name(text: str) -> str:
    """A name of a field or method, or `*`."""
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
    """Cross-origin resource sharing after the Fetch standard. Origins alone are short for `origins`: `cors: "*"`.

    Preflights are answered here, before authentication, by the route that takes the announced request. A response,
    whoever gave it, carries the fields that let a page of an allowed origin read it; what the instance says about
    cross-origin access is replaced. A request of another origin is served all the same, but its page cannot read the
    answer: this is a rule for browsers and does not replace authentication.

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
    """Who may call: exact origins, `https://*.example.org` for every name below, or `*` for every origin."""
    methods: Annotated[
        tuple[Annotated[str, AfterValidator(_upper)], ...],
        BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
    ] = ("*",)
    """Methods that a preflight may announce; `*` is every method that the route takes."""
    headers: Names = ("*",)
    """Request fields that a page may send; `*` is whatever it asks for, `Authorization` too."""
    expose: Names = ()
    """Response fields that a page may read besides the ones that every page may."""
    credentials: bool = False
    """Whether cookies and other credentials may go along. Needs `origins` to be listed."""
    max_age: Wait = timedelta(days=1)
    """How long a browser may remember the answer to a preflight (browsers have bounds of their own)."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CorsFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"origins": value} if isinstance(value, str | list | tuple) else value

    @model_validator(mode="after")
    def _fits(self) -> Cors:
        if self.credentials and "*" in self.origins:
            raise refusal("credentials cannot be given to every origin", "list the `origins`")
        if self.credentials and "*" in self.expose:
            raise refusal("`expose: *` means nothing to a browser that sends credentials", "list the names")
        return self
