"""Rate limits."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pylae.config.models.base import Positive, Settings, refusal
from pylae.config.models.condition import MAX_EXPRESSION
from pylae.units import Duration, parse_rate

if TYPE_CHECKING:
    from pylae.settings.fields import ConcurrencyFields, RateLimitFields, RateLimitsFields

_KEY = re.compile(r"auto|user|ip|route|global|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SETTLE = re.compile(r"hook|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+")
MOST_LIMITS = 16
"""The most limits that one policy may have. The native side decides them together in an array of this size."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST = timedelta(days=3660)
_COMMON = {"key", "per_route", "scope", "headers"}
_WORDS = ("auto", "user", "ip", "route", "global", "header:NAME")


def _keys(value: Any) -> Any:
    """Splits `ip+header:X-Tenant` into its parts. Each distinct combination has a count of its own."""
    if isinstance(value, dict):
        return [value]
    if isinstance(value, str) and not value.startswith("expression:"):
        return [part.strip() for part in value.split("+")]
    return [value] if isinstance(value, str) else value


def _key(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"expression"}:
        value = f"expression:{value['expression']}" if isinstance(value["expression"], str) else value
    if isinstance(value, str) and value.startswith("expression:"):
        if not 0 < len(value.partition(":")[2]) <= MAX_EXPRESSION:
            raise refusal(f"an expression must have 1 to {MAX_EXPRESSION} characters")
        return value
    if isinstance(value, str) and not _KEY.fullmatch(value):
        raise refusal(f"must be one of {', '.join(_WORDS)}", known=_WORDS)
    # Names of fields have no case; the plan has them in lower case.
    return value.lower() if isinstance(value, str) else value


def _settle(value: Any) -> Any:
    if isinstance(value, str) and not _SETTLE.fullmatch(value):
        raise refusal("must be header:NAME, with the name of a response field, or hook", known=("hook", "header:NAME"))
    return value.lower() if isinstance(value, str) else value


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise refusal("must be letters, digits, `.`, `_` and `-`, at most 64 of them")
    return text


Key = Annotated[
    tuple[Annotated[str, BeforeValidator(_key)], ...],
    BeforeValidator(_keys, json_schema_input_type=str | dict[str, str] | list[str | dict[str, str]]),
    Field(min_length=1),
]
Name = Annotated[str, AfterValidator(_name)]
Settle = Annotated[str, BeforeValidator(_settle)]


def _scope(value: Any) -> Any:
    if value in ("route", "gateway"):
        hint = "leave it out" if value == "route" else "write `per_route: false`"
        raise refusal("says which nodes count together: `node` or `cluster`; routes are told by `per_route`", hint)
    return value


Scope = Annotated[Literal["node", "cluster"] | None, BeforeValidator(_scope)]


class RateLimit(Settings):
    """One limit. A number means requests per minute; a text such as "100/minute" is a rate."""

    short = {"type": ["integer", "string"]}

    name: Name | None = None
    """Name of the limit in response fields, unique within the policy. A reload keeps the counts of limits whose name
    stays. Without a name, the first limit is `default`, the second `default-2`, and so on."""
    limit: Positive
    """Requests allowed in each span of `per`."""
    per: Duration = timedelta(minutes=1)
    """The time span of `limit`."""
    algorithm: Literal["token_bucket", "sliding_window", "fixed_window"] = "token_bucket"
    """How requests are counted. `token_bucket` refills continuously. `sliding_window` never allows more than `limit` in
    any span of `per`. `fixed_window` counts in spans aligned to UTC, such as days from midnight to midnight, and suits
    quotas."""
    key: Key = ("auto",)
    """Which requests are counted together: those with the same `user`, `ip` (IPv6 addresses by their /64),
    `header:NAME` or `route`, or all of them (`global`). `auto` is the user if known, else the address. Join several
    with `+`: `ip+header:X-Tenant`. Requests without the user or field share one count. `{expression: …}` is what an
    expression in CEL gives, e.g. `{expression: user.claims.tenant}`, alone or in a list of parts; requests for which it
    cannot be told share one count."""
    burst: Positive | None = None
    """Most requests at once that a token bucket allows; `limit` unless given."""
    cost: Positive = 1
    """How much of the limit each request uses. With `settle` it is an estimate."""
    settle: Settle | None = None
    """What tells the true cost of a request, when `cost` is an estimate: `header:NAME` is a field of the service's
    response, which the client does not get, or a hook; `hook` is only a hook (`request.settle(cost)`). What was
    estimated too high comes back. What was estimated too low is debt, at most one `limit`. Without a true cost the
    estimate stays; if no service got the request, all of it comes back."""
    per_route: bool = True
    """Count each route separately. If false, all routes with a limit of this name count together."""
    scope: Scope = None
    """`cluster` counts all nodes of the `cluster` together, `node` counts each node on its own. The default is
    `cluster` if there is one."""
    mode: Literal["fast", "exact"] = "fast"
    """How the nodes of a cluster count together. With `fast`, requests far from the limit do not wait for the store; at
    most one request per node, and a few that the store does not know of yet, may exceed the limit, and are paid back.
    With `exact`, the limit is never exceeded; the first requests of a key and those near the limit wait for the
    store."""
    headers: bool = True
    """Add `RateLimit-Policy` and `RateLimit` to responses."""

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
            raise refusal("`burst` works with the algorithm token_bucket only")
        if self.cost > (self.burst or self.limit):
            raise refusal("`cost` is larger than the limit, so no request could ever pass")
        if (self.burst or 0) * self.per.total_seconds() > self.limit * _LONGEST.total_seconds():
            raise refusal("`burst` would take more than ten years to refill")
        return self


class Concurrency(Settings):
    """Limits how many requests are in progress at once, from the request's head to the last byte of its response."""

    short = {"type": "integer"}

    name: Name = "concurrency"
    """Name of the limit in response fields."""
    limit: Positive
    """Most requests in progress at the same time, per key."""
    key: Key = ("auto",)
    """Which requests are counted together, as for a limit."""
    per_route: bool = True
    """Count each route separately. If false, all routes with a `concurrency` of this name count together."""
    scope: Scope = None
    """`cluster` counts all nodes of the `cluster` together, `node` counts each node on its own. The default is
    `cluster` if there is one."""
    headers: bool = True
    """Add `RateLimit-Policy` and `RateLimit` to responses."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ConcurrencyFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"limit": value} if isinstance(value, int) and not isinstance(value, bool) else value


L = TypeVar("L", bound=RateLimit)


def named(limits: tuple[L, ...]) -> tuple[L, ...]:
    """Returns the limits with a default name for each that has none."""
    defaults = ["default", *(f"default-{number}" for number in range(2, len(limits) + 1))]
    names = [limit.name or default for limit, default in zip(limits, defaults, strict=False)]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise refusal(f"two limits have the name `{name}`")
    return tuple(_with_name(limit, name) for limit, name in zip(limits, names, strict=True))


def _with_name(limit: L, name: str) -> L:
    copied = limit.model_copy(update={"name": name})
    if limit.name is None:
        # The user has not written this name.
        copied.model_fields_set.discard("name")
    return copied


class RateLimits(Settings):
    """Limits how many requests a client may send.

    A request must pass all limits. If one refuses it, the others do not count it.

    One limit alone, or a list of limits, is short for `limits`. A single limit may also have `concurrency`, which then
    counts by the same key.
    """

    limits: Annotated[tuple[RateLimit, ...], Field(max_length=MOST_LIMITS), AfterValidator(named)] = ()
    """The limits. A request must pass all of them."""
    concurrency: Concurrency | None = None
    """How many requests may be in progress at once. A number alone is short for `limit`."""

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
            raise refusal("needs a limit or `concurrency`", 'e.g. "100/minute" or {concurrency: 10}')
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
    """Expands `{limit: …, concurrency: …}` or `{concurrency: …}`. Both then count by the same key."""
    limit = {name: value for name, value in written.items() if name != "concurrency"}
    concurrency = written["concurrency"]
    if isinstance(concurrency, int) and not isinstance(concurrency, bool):
        concurrency = {"limit": concurrency}
    if isinstance(concurrency, dict):
        concurrency = {**{name: limit[name] for name in _COMMON if name in limit}, **concurrency}
    alone = limit.keys() <= _COMMON
    return {"limits": [] if alone else [limit], "concurrency": concurrency}


def _one(limit: JsonSchemaValue, concurrency: JsonSchemaValue, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """The JSON schema of a limit alone."""
    mapping, *short = handler.resolve_ref_schema(limit)["anyOf"]
    with_concurrency = {**mapping, "properties": {**mapping["properties"], "concurrency": concurrency}}
    bounded = {**with_concurrency, "required": ["concurrency"]}
    return {"anyOf": [with_concurrency, bounded, *short]}
