"""No client takes more than its share."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pylae.settings import Positive, Settings, refusal
from pylae.units import Duration, parse_rate

_KEY = re.compile(r"auto|user|ip|route|global|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WORDS = ("auto", "user", "ip", "route", "global", "header:NAME")


def _keys(value: Any) -> Any:
    """`ip+header:X-Tenant` as its parts: every distinct combination has a limit of its own."""
    return [part.strip() for part in value.split("+")] if isinstance(value, str) else value


def _key(value: Any) -> Any:
    if isinstance(value, str) and not _KEY.fullmatch(value):
        raise refusal(f"must be one of {', '.join(_WORDS)}", known=_WORDS)
    # Names of fields have no case; the plan has them in lower case.
    return value.lower() if isinstance(value, str) else value


class RateLimit(Settings):
    """One limit. A number is requests per minute; a text is a rate such as "100/minute"."""

    short = {"type": ["integer", "string"]}

    limit: Positive
    """Requests admitted in a span of `per`."""
    per: Duration = timedelta(minutes=1)
    """The span that `limit` is for."""
    algorithm: Literal["token_bucket", "sliding_window", "fixed_window"] = "token_bucket"
    """`token_bucket` refills continuously; `sliding_window` admits no more than `limit` in any window, wherever it
    starts; `fixed_window` counts in windows aligned to UTC, for quotas."""
    key: Annotated[
        tuple[Annotated[str, BeforeValidator(_key)], ...],
        BeforeValidator(_keys, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ] = ("auto",)
    """Whose requests are counted together: `auto` (the user if known, else the address), `user`, `ip` (IPv6 by /64),
    `header:NAME`, `route`, `global`, or several of these joined by `+`."""
    burst: Positive | None = None
    """Capacity of a token bucket, if it is not `limit`."""
    cost: Positive = 1
    """What one request takes."""
    scope: Literal["route", "gateway"] = "route"
    """`route` counts each route on its own; `gateway` counts all routes that carry the same limit together."""
    headers: bool = True
    """Whether responses carry `RateLimit-Policy` and `RateLimit`."""

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
        return self


class RateLimits(Settings):
    """Limits that must all admit a request. One limit alone, or a list of them, is short for `limits`."""

    limits: Annotated[tuple[RateLimit, ...], Field(min_length=1)]
    """The limits. A refusal by one takes nothing from the others."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, dict) and "limits" in value:
            return value
        return (
            value
            if isinstance(value, RateLimits)
            else {"limits": value if isinstance(value, list | tuple) else [value]}
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = super().__get_pydantic_json_schema__(schema, handler)
        full = handler.resolve_ref_schema(written)
        mapping, limits = dict(full), full["properties"]["limits"]
        full.clear()
        full["anyOf"] = [mapping, limits, limits["items"]]
        return written
