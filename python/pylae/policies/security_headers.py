"""Response fields that make browsers stricter."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pylae.settings import Settings, also, refusal

_TEXT = re.compile(r"[!-~]+( [!-~]+)*")


def _off(value: Any) -> Any:
    if value is True:
        raise refusal("must be a text, or `false` to leave the field out")
    return None if value is False else value


def _field_text(text: str) -> str:
    """Visible ASCII and single spaces: nothing in it can end the field or the head."""
    if not _TEXT.fullmatch(text):
        raise refusal("must be visible ASCII characters with single spaces between")
    return text


def _hsts(value: Any) -> Any:
    return {True: "auto", False: "off"}[value] if isinstance(value, bool) else value


FieldText = Annotated[str, Field(max_length=8192), AfterValidator(_field_text)]
Sent = Annotated[FieldText | None, BeforeValidator(_off, json_schema_input_type=FieldText | Literal[False] | None)]


class SecurityHeaders(Settings):
    """Sets these fields on every response. `false` or `null` leaves a field out."""

    content_type_options: Sent = "nosniff"
    """`X-Content-Type-Options`: the browser believes the content type."""
    frame_options: Sent = "DENY"
    """`X-Frame-Options`: who may show the page in a frame."""
    xss_protection: Sent = "1; mode=block"
    """`X-XSS-Protection`, for old browsers."""
    referrer_policy: Sent = "strict-origin-when-cross-origin"
    """`Referrer-Policy`: how much of the address other sites are told."""
    content_security_policy: Annotated[Sent, Field(validation_alias=also("content_security_policy"))] = None
    """`Content-Security-Policy`: what the page may load; left out unless given."""
    strict_transport_security: Sent = "max-age=31536000; includeSubDomains"
    """`Strict-Transport-Security` (RFC 6797): the browser uses TLS only, for so long."""
    hsts: Annotated[
        Literal["auto", "always", "off"],
        BeforeValidator(_hsts, json_schema_input_type=Literal["auto", "always", "off"] | bool),
    ] = "auto"
    """When `strict_transport_security` is sent: `auto` on TLS, `always` on every listener (for a gateway behind a TLS
    terminator), `off` never."""
