"""The policies: one file each, and `PolicySet`, which holds them by name."""

from __future__ import annotations

from pylae.policies.cache import Cache
from pylae.policies.rate_limit import RateLimits
from pylae.policies.security_headers import SecurityHeaders
from pylae.settings import Settings, Switch

__all__ = ["POLICIES", "PolicySet"]


class PolicySet(Settings):
    """Policies by name: settings, `true` for the defaults, `false` for off. One line each, in the native order."""

    security_headers: Switch[SecurityHeaders] = None
    """Response fields that make browsers stricter."""
    rate_limit: Switch[RateLimits] = None
    """How many requests a client may make."""
    cache: Switch[Cache] = None
    """Answers repeated reads from memory."""


POLICIES: tuple[str, ...] = tuple(PolicySet.model_fields)
"""Names of all policies in the order in which a request meets them."""
