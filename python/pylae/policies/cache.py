"""The response cache."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pylae.config.models.base import Settings, refusal
from pylae.units import ByteSize, Wait

if TYPE_CHECKING:
    from pylae.settings.fields import CacheFields

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TAG = re.compile(r"[!-+\--~]{1,128}")


def _field_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise refusal("is not the name of a header field")
    # Names of fields have no case; the plan has them in lower case.
    return name.lower()


def _tag(tag: str) -> str:
    if not _TAG.fullmatch(tag):
        raise refusal("must be 1 to 128 visible ASCII characters without comma")
    return tag


def _one(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _lower(value: object) -> object:
    return [name.lower() if isinstance(name, str) else name for name in value] if isinstance(value, list) else value


def _fraction(value: object) -> object:
    return {True: 0.1, False: 0.0}[value] if isinstance(value, bool) else value


Names = Annotated[
    tuple[Annotated[str, AfterValidator(_field_name)], ...],
    BeforeValidator(_one, json_schema_input_type=list[str] | str),
    Field(max_length=16),
]
Normalized = Annotated[
    tuple[Literal["accept-language"], ...],
    BeforeValidator(_lower),
    BeforeValidator(_one, json_schema_input_type=list[str] | str),
]
Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(_fraction, json_schema_input_type=bool | float)]
Tags = Annotated[
    tuple[Annotated[str, AfterValidator(_tag)], ...],
    BeforeValidator(_one, json_schema_input_type=list[str] | str),
    Field(max_length=32),
]


class Cache(Settings):
    """Answers GET and HEAD from memory where HTTP allows it (RFC 9111).

    `true` takes all defaults. A duration alone is short for `ttl`: `cache: 5m`.
    """

    short = {"type": ["string", "number"]}

    ttl: Wait = timedelta(seconds=300)
    """How long a response is fresh if the service does not say so itself (`Cache-Control`, `Expires`)."""
    error_ttl: Wait = timedelta(0)
    """How long a 404 or 410 is fresh if the service does not say so itself. 0 does not keep them. Other errors are kept
    only as long as the service says."""
    heuristic: Fraction = 0.0
    """For responses that have `Last-Modified` but no freshness: the fraction of their age for which they stay fresh, up
    to a day (RFC 9111 section 4.2.2). `true` is 0.1, `false` is 0, which switches it off."""
    override: bool = False
    """Use `ttl` even if the service states a different freshness. `no-store`, `private` and `no-cache` still apply."""
    per_user: bool = True
    """Keep separate responses for each authenticated user. With `false`, responses to authenticated requests are kept
    only if the service sends `public`, `s-maxage` or `must-revalidate` (RFC 9111 section 3.5)."""
    vary: Names = ()
    """Request fields that distinguish stored responses, besides those in the service's `Vary`. Their values are those
    that the service receives: `X-User-ID`, `X-User-Role` and `X-User-Email` are the authenticated user's, not what the
    client sent."""
    normalize: Normalized = ()
    """Request fields to compare by meaning. With `Accept-Language`, the order of languages with the same weight does
    not matter."""
    max_entry: ByteSize = 1024 * 1024
    """Largest body to keep, at most a sixteenth of `limits.cache_size`."""
    stale_while_revalidate: Wait = timedelta(0)
    """How long after it expires a response may still be served while the gateway fetches a new one, if the service does
    not say so itself (RFC 5861)."""
    stale_if_error: Wait = timedelta(0)
    """How long after it expires a response may be served when the service fails, if the service does not say so itself
    (RFC 5861)."""
    wait: Wait = timedelta(seconds=5)
    """How long a request waits while another request fetches the same response. After that it asks the service itself.
    0 does not wait."""
    client_directives: bool = True
    """Whether clients can ask for a fresh response with `Cache-Control` (RFC 9111)."""
    ignore_cookies: bool = False
    """Cache responses to requests with cookies like all others. With `false` they are kept only if the service sends
    `public` or `s-maxage`, or varies by `Cookie`."""
    set_cookie: Literal["bypass", "strip"] = "bypass"
    """What to do with responses that set cookies: `bypass` does not keep them, `strip` keeps them without the cookies.
    The client whose request reached the service gets the cookies in both cases."""
    cache_status: bool = True
    """Add `Cache-Status` to responses (RFC 9211)."""
    tags: Tags = ()
    """Tags by which stored responses can be purged, besides those in the service's `Cache-Tag`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CacheFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        alone = isinstance(value, str | int | float | timedelta) and not isinstance(value, bool)
        return {"ttl": value} if alone else value
