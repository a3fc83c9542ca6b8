"""No client takes more than its share."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pylae.config.models.base import Positive, Settings, refusal
from pylae.units import Duration, parse_rate

if TYPE_CHECKING:
    from pylae.settings.fields import ConcurrencyFields, RateLimitFields, RateLimitsFields

_KEY = re.compile(r"auto|user|ip|route|global|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+")
MOST_LIMITS = 16
"""Limits that one policy may have: what the native side decides together."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST = timedelta(days=3660)
_COMMON = {"key", "scope", "headers"}
_WORDS = ("auto", "user", "ip", "route", "global", "header:NAME")


def _keys(value: Any) -> Any:
    """`ip+header:X-Tenant` as its parts: every distinct combination has a limit of its own."""
    return [part.strip() for part in value.split("+")] if isinstance(value, str) else value


def _key(value: Any) -> Any:
    if isinstance(value, str) and not _KEY.fullmatch(value):
        raise refusal(f"must be one of {', '.join(_WORDS)}", known=_WORDS)
    # Names of fields have no case; the plan has them in lower case.
    return value.lower() if isinstance(value, str) else value


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise refusal("must be letters, digits, `.`, `_` and `-`, at most 64 of them")
    return text


Key = Annotated[
    tuple[Annotated[str, BeforeValidator(_key)], ...],
    BeforeValidator(_keys, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]
Name = Annotated[str, AfterValidator(_name)]
Scope = Literal["route", "gateway"]


class RateLimit(Settings):
    """One limit. A number is requests per minute; a text is a rate such as "100/minute"."""

    short = {"type": ["integer", "string"]}

    name: Name | None = None
    """Name in header fields, unique in the policy, and the identity of the counts over reloads. `default` for the first
    limit of a list, `default-2` for the second and so on, if none is given."""
    limit: Positive
    """Requests admitted in a span of `per`."""
    per: Duration = timedelta(minutes=1)
    """The span that `limit` is for."""
    algorithm: Literal["token_bucket", "sliding_window", "fixed_window"] = "token_bucket"
    """`token_bucket` refills continuously; `sliding_window` admits no more than `limit` in any window, wherever it
    starts; `fixed_window` counts in windows aligned to UTC, for quotas."""
    key: Key = ("auto",)
    """Whose requests are counted together: `auto` (the user if known, else the address), `user`, `ip` (IPv6 by /64),
    `header:NAME`, `route`, `global`, or several of these joined by `+`. Requests without one of them share it."""
    burst: Positive | None = None
    """Capacity of a token bucket, if it is not `limit`."""
    cost: Positive = 1
    """What one request takes."""
    scope: Scope = "route"
    """`route` counts each route on its own; `gateway` counts all routes that have a limit of this name together."""
    headers: bool = True
    """Whether answers carry its `RateLimit-Policy` and `RateLimit`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RateLimitFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, int | str) and not isinstance(value, bool):
            rate = parse_rate(value)
            return {"limit": rate.limit, "per": rate.per}
        return value

    @model_validator(mode="after")
    def _fits(self) -> RateLimit:
        if self.burst is not None and self.algorithm != "token_bucket":
            raise refusal("`burst` is for the algorithm token_bucket only")
        if self.cost > (self.burst or self.limit):
            raise refusal("`cost` is larger than the limit, so that no request could ever pass")
        if (self.burst or 0) * self.per.total_seconds() > self.limit * _LONGEST.total_seconds():
            raise refusal("`burst` would take more than ten years to refill")
        return self


class Concurrency(Settings):
    """A bound on exchanges in flight, from the head of the request to the last byte of the answer."""

    short = {"type": "integer"}

    name: Name = "concurrency"
    """Name in header fields."""
    limit: Positive
    """Exchanges in flight at the same time."""
    key: Key = ("auto",)
    """Whose exchanges are counted together, as for a limit."""
    scope: Scope = "route"
    """As for a limit."""
    headers: bool = True
    """Whether answers tell of it."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ConcurrencyFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"limit": value} if isinstance(value, int) and not isinstance(value, bool) else value


L = TypeVar("L", bound=RateLimit)


def named(limits: tuple[L, ...]) -> tuple[L, ...]:
    """The same limits, each with a name of its own."""
    defaults = ["default", *(f"default-{number}" for number in range(2, len(limits) + 1))]
    names = [limit.name or default for limit, default in zip(limits, defaults, strict=False)]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise refusal(f"two limits have the name `{name}`")
    return tuple(_with_name(limit, name) for limit, name in zip(limits, names, strict=True))


def _with_name(limit: L, name: str) -> L:
    copied = limit.model_copy(update={"name": name})
    if limit.name is None:
        # Nobody has written it.
        copied.model_fields_set.discard("name")
    return copied


class RateLimits(Settings):
    """Limits that must all admit a request; a refusal by one takes nothing from the others.

    One limit alone, or a list of them, is short for `limits`; a limit alone may have `concurrency`, which then counts
    by the same key.
    """

    limits: Annotated[tuple[RateLimit, ...], Field(max_length=MOST_LIMITS), AfterValidator(named)] = ()
    """The limits."""
    concurrency: Concurrency | None = None
    """Bound on exchanges in flight. A number is short for `limit`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RateLimitsFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"limits": value}
        if isinstance(value, RateLimits) or (isinstance(value, dict) and "limits" in value):
            return value
        if isinstance(value, dict) and "concurrency" in value:
            return _with_concurrency(value)
        return {"limits": [value]}

    @model_validator(mode="after")
    def _some(self) -> RateLimits:
        if not self.limits and self.concurrency is None:
            raise refusal("needs a limit")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = super().__get_pydantic_json_schema__(schema, handler)
        full = handler.resolve_ref_schema(written)
        mapping, limits = dict(full), full["properties"]["limits"]
        full.clear()
        full["anyOf"] = [mapping, limits, _one(limits["items"], mapping["properties"]["concurrency"], handler)]
        return written


def _with_concurrency(written: dict[str, Any]) -> dict[str, Any]:
    """`{limit: …, concurrency: …}` or `{concurrency: …}` in its full form: both count by the same key."""
    limit = {name: value for name, value in written.items() if name != "concurrency"}
    concurrency = written["concurrency"]
    if isinstance(concurrency, int) and not isinstance(concurrency, bool):
        concurrency = {"limit": concurrency}
    if isinstance(concurrency, dict):
        concurrency = {**{name: limit[name] for name in _COMMON if name in limit}, **concurrency}
    alone = limit.keys() <= _COMMON
    return {"limits": [] if alone else [limit], "concurrency": concurrency}


def _one(limit: JsonSchemaValue, concurrency: JsonSchemaValue, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """Schema of a limit alone."""
    mapping, *short = handler.resolve_ref_schema(limit)["anyOf"]
    with_concurrency = {**mapping, "properties": {**mapping["properties"], "concurrency": concurrency}}
    bounded = {**with_concurrency, "required": ["concurrency"]}
    return {"anyOf": [with_concurrency, bounded, *short]}
