"""Rate limits that run before authentication."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Unpack

from pydantic import AfterValidator, Field

from pylae.config.models.base import refusal
from pylae.policies.rate_limit import MOST_LIMITS, Concurrency, Key, RateLimit, RateLimits, Settle, named

if TYPE_CHECKING:
    from pylae.settings.fields import AddressConcurrencyFields, AddressLimitFields, AddressLimitsFields


def _without_user(key: tuple[str, ...]) -> tuple[str, ...]:
    for part in key:
        if part in ("auto", "user"):
            raise refusal(
                f"`{part}` cannot be a key here: the user is not known before authentication",
                "use `rate_limit` to count by user",
            )
    return key


def _without_settle(settle: str | None) -> str | None:
    if settle is not None:
        raise refusal(
            "`settle` does not work here: this limit counts attempts, whatever they cost",
            "use `rate_limit` to settle costs",
        )
    return settle


AddressKey = Annotated[Key, AfterValidator(_without_user)]


class AddressLimit(RateLimit):
    """One limit. A number means requests per minute; a text such as "100/minute" is a rate."""

    key: AddressKey = ("ip",)
    """Which requests are counted together: those with the same `ip` (IPv6 addresses by their /64), `header:NAME` or
    `route`, or all of them (`global`). Join several with `+`: `ip+route`."""
    settle: Annotated[Settle | None, AfterValidator(_without_settle)] = None
    """Not available here: attempts are counted, whatever they cost."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AddressLimitFields]) -> None: ...


class AddressConcurrency(Concurrency):
    """Limits how many requests are in progress at once, from the request's head to the last byte of its response."""

    key: AddressKey = ("ip",)
    """Which requests are counted together, as for a limit."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AddressConcurrencyFields]) -> None: ...


class AddressLimits(RateLimits):
    """Limits requests as `rate_limit` does, but before authentication.

    It protects the authentication itself, and its limits count requests with bad credentials too. The user is not known
    yet, so the default key is `ip`.
    """

    limits: Annotated[tuple[AddressLimit, ...], Field(max_length=MOST_LIMITS), AfterValidator(named)] = ()
    """The limits. A request must pass all of them."""
    concurrency: AddressConcurrency | None = None
    """How many requests may be in progress at once. A number alone is short for `limit`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AddressLimitsFields]) -> None: ...
