"""Who is asking. Made from a route's `auth_required` and `auth`."""

from __future__ import annotations

from pylae.config.models.base import Settings


class Authentication(Settings):
    """Finds out who is asking."""

    authenticators: tuple[str, ...]
    """Names of authenticators, any of which may know the user; asked in this order. None where nobody is asked, and
    credentials are only kept from instances."""
    required: bool
    """Whether a request without any credential is refused. One with a bad credential always is."""
