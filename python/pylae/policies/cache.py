"""Repeated reads are answered from memory."""

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
    """Answers GET and HEAD from memory where HTTP allows it (RFC 9111). `true` is all defaults.

    A time alone is short for `ttl`: `cache: 5m`.
    """

    short = {"type": ["string", "number"]}

    ttl: Wait = timedelta(seconds=300)
    """How long an answer is fresh when the service does not say so itself (Cache-Control, Expires)."""
    error_ttl: Wait = timedelta(0)
    """The same for 404 and 410; 0 is not at all. Other errors are kept only as long as the service says."""
    heuristic: Fraction = 0.0
    """How much of the time since it last changed (Last-Modified) an answer is taken to be fresh when the service does
    not say for how long, at most a day (RFC 9111 section 4.2.2): `true` is a tenth, `false` is not at all."""
    override: bool = False
    """Whether `ttl` counts even where the service says something else. `no-store`, `private` and `no-cache` are heeded
    all the same."""
    per_user: bool = True
    """Whether every authenticated user has answers of their own. Without it, answers to authenticated requests are kept
    only if the service calls them `public` or gives `s-maxage` or `must-revalidate` (RFC 9111 section 3.5)."""
    vary: Names = ()
    """Request fields by which answers differ, besides those that the service names in Vary. They count as the service
    gets them: `X-User-ID`, `X-User-Role` and `X-User-Email` are the user's, whatever the client says."""
    normalize: Normalized = ()
    """Request fields that are compared by what they mean: with `Accept-Language`, languages of the same weight are the
    same in whatever order."""
    max_entry: ByteSize = 1024 * 1024
    """Largest body that is kept; at most a sixteenth of `limits.cache_size`."""
    stale_while_revalidate: Wait = timedelta(0)
    """How long behind its freshness an answer is still given while it is fetched anew, unless the service says
    (RFC 5861)."""
    stale_if_error: Wait = timedelta(0)
    """How long behind its freshness an answer is given when the service fails, unless the service says (RFC 5861)."""
    wait: Wait = timedelta(seconds=5)
    """How long a request waits for another's fetch of the same answer before it asks the service itself; 0 is not at
    all."""
    client_directives: bool = True
    """Whether clients can ask for fresh answers with Cache-Control, as RFC 9111 has it."""
    ignore_cookies: bool = False
    """Whether answers to requests with cookies count like others. If not, they are kept only if the service says
    `public` or `s-maxage`, or varies by Cookie."""
    set_cookie: Literal["bypass", "strip"] = "bypass"
    """What becomes of answers that set cookies: they are not kept, or kept without the cookies (`strip`). Whoever made
    the service answer gets the cookies either way."""
    cache_status: bool = True
    """Whether responses carry `Cache-Status` (RFC 9211)."""
    tags: Tags = ()
    """Words by which the answers can be purged, besides those in the service's `Cache-Tag`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CacheFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        alone = isinstance(value, str | int | float | timedelta) and not isinstance(value, bool)
        return {"ttl": value} if alone else value
