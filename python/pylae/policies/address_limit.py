"""Rate limits that are decided before authentication."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Unpack

from pydantic import AfterValidator, Field

from pylae.config.models.base import refusal
from pylae.policies.rate_limit import MOST_LIMITS, Concurrency, Key, RateLimit, RateLimits, named

if TYPE_CHECKING:
    from pylae.settings.fields import AddressConcurrencyFields, AddressLimitFields, AddressLimitsFields


def _without_user(key: tuple[str, ...]) -> tuple[str, ...]:
    for part in key:
        if part in ("auto", "user"):
            raise refusal(
                f"who asks is not known before authentication, so `{part}` cannot be a key here",
                "such a limit belongs under `rate_limit`",
            )
    return key


AddressKey = Annotated[Key, AfterValidator(_without_user)]


class AddressLimit(RateLimit):
    """One limit. A number is requests per minute; a text is a rate such as "100/minute"."""

    key: AddressKey = ("ip",)
    """Whose requests are counted together: `ip` (IPv6 by /64), `header:NAME`, `route`, `global`, or several of these
    joined by `+`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AddressLimitFields]) -> None: ...


class AddressConcurrency(Concurrency):
    """A bound on exchanges in flight, from the head of the request to the last byte of the answer."""

    key: AddressKey = ("ip",)
    """Whose exchanges are counted together, as for a limit."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AddressConcurrencyFields]) -> None: ...


class AddressLimits(RateLimits):
    """As `rate_limit`, but decided before authentication: it protects it, and counts what it refuses."""

    limits: Annotated[tuple[AddressLimit, ...], Field(max_length=MOST_LIMITS), AfterValidator(named)] = ()
    """The limits."""
    concurrency: AddressConcurrency | None = None
    """Bound on exchanges in flight. A number is short for `limit`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AddressLimitsFields]) -> None: ...
