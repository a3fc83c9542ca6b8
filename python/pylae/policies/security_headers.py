"""Response fields that make browsers stricter."""

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
        raise refusal("must be a text, or `false` to leave the field out")
    return None if value is False else value


def _field_text(text: str) -> str:
    """Visible ASCII and single spaces: nothing in it can end the field or the head."""
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
    """`auto` sends it on TLS, `always` on every listener (for a gateway behind a TLS terminator), `off` never."""
    max_age: Wait = timedelta(days=365)
    """How long a browser remembers to use TLS only."""
    include_subdomains: bool = True
    """Whether it goes for all names below the host too."""
    preload: bool = False
    """Whether the host asks to be in the browsers' built-in lists."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[HstsFields]) -> None: ...


class SecurityHeaders(Settings):
    """Adds these fields to every response that does not carry them already. `false` leaves a field out.

    What counts is the response that the client would get: a field that the service, a hook or `transform` sets stays
    as it is, one that `transform` takes out is added.
    """

    nosniff: bool = True
    """`X-Content-Type-Options: nosniff`: the browser believes the content type."""
    frame_options: Optional = "DENY"
    """`X-Frame-Options`: who may show the page in a frame."""
    xss_protection: Optional = "1; mode=block"
    """`X-XSS-Protection`, for old browsers."""
    referrer_policy: Optional = "strict-origin-when-cross-origin"
    """`Referrer-Policy`: how much of the address other sites are told."""
    hsts: Annotated[Hsts, BeforeValidator(_hsts)] = Hsts()
    """`Strict-Transport-Security`."""
    csp: Optional = None
    """`Content-Security-Policy`; none unless given."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[SecurityHeadersFields]) -> None: ...
