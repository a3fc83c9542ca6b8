"""Response headers that make browsers stricter."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, BeforeValidator, Field

from pylae.config.models.base import Settings, refusal
from pylae.units import Wait

if TYPE_CHECKING:
    from pylae.settings.fields import HstsFields, SecurityHeadersFields


def _off(value: Any) -> Any:
    if value is True:
        raise refusal("must be a text, or `false` to leave the header out")
    return None if value is False else value


def _field_text(text: str) -> str:
    """Checks for visible ASCII with single spaces, so that the text cannot end the field or the head."""
    if not _TEXT.fullmatch(text):
        raise refusal("must be visible ASCII characters with single spaces between")
    return text


_TEXT = re.compile(r"[!-~]+( [!-~]+)*")
FieldText = Annotated[str, Field(max_length=8192), AfterValidator(_field_text)]
Optional = Annotated[FieldText | None, BeforeValidator(_off, json_schema_input_type=FieldText | Literal[False] | None)]


def _hsts(value: Any) -> Any:
    if value is None or value is False:
        return {"when": "off"}
    if value is True:
        return {}
    return {"when": value} if isinstance(value, str) else value


class Hsts(Settings):
    """`Strict-Transport-Security` (RFC 6797). A single word is short for `when`."""

    short = {"type": ["string", "boolean", "null"]}

    when: Literal["auto", "always", "off"] = "auto"
    """`auto` sends the field over TLS only. `always` sends it on every listener, for gateways behind a TLS terminator.
    `off` never sends it."""
    max_age: Wait = timedelta(days=365)
    """How long browsers remember to use TLS only."""
    include_subdomains: bool = True
    """Apply the rule to all subdomains too."""
    preload: bool = False
    """Ask browsers to add the host to their built-in lists."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HstsFields]) -> None: ...


class SecurityHeaders(Settings):
    """Adds security headers to responses that do not have them. `false` leaves a field out.

    The policy looks at the response that the client would get: fields set by the service, a hook or `transform` stay as
    they are, and fields removed by `transform` are added.
    """

    nosniff: bool = True
    """`X-Content-Type-Options: nosniff`: browsers do not guess the content type."""
    frame_options: Optional = "DENY"
    """`X-Frame-Options`: which sites may show the page in a frame."""
    xss_protection: Optional = "1; mode=block"
    """`X-XSS-Protection`, for old browsers."""
    referrer_policy: Optional = "strict-origin-when-cross-origin"
    """`Referrer-Policy`: how much of the page's address other sites see."""
    hsts: Annotated[Hsts, BeforeValidator(_hsts)] = Hsts()
    """`Strict-Transport-Security`: browsers use TLS only."""
    csp: Optional = None
    """`Content-Security-Policy`. Not sent unless given."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[SecurityHeadersFields]) -> None: ...
