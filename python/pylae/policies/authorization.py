"""What the user may do. Made from a route's `permissions` and `roles`."""

from __future__ import annotations

from pylae.config.models.base import Settings


class Authorization(Settings):
    """Lets users pass who may."""

    permissions: tuple[str, ...]
    """Permissions, all of which are needed."""
    roles: tuple[str, ...]
    """Roles, one of which is needed; none if empty."""
    admin_role: str
    """Role that has every permission; an empty text for none."""
