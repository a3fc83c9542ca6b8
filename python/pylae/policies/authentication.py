"""Authentication, made from a route's `auth_required` and `auth`."""

from __future__ import annotations

from pylae.config.models.base import Settings


class Authentication(Settings):
    """Finds out which user sent a request."""

    authenticators: tuple[str, ...]
    """Names of the authenticators to ask, in this order. The first that knows the user decides. If empty, the gateway
    asks none of them and only keeps credentials from the instances."""
    required: bool
    """Whether a request without credentials is refused. A request with a bad credential is always refused."""
