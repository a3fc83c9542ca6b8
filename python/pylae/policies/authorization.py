"""Authorization, made from a route's `permissions` and `roles`."""

from __future__ import annotations

from pylae.config.models.base import Settings


class Authorization(Settings):
    """Refuses users that lack a permission or a role."""

    permissions: tuple[str, ...]
    """Permissions that the user needs. All of them are required."""
    roles: tuple[str, ...]
    """Roles of which the user needs one. If empty, any role will do."""
    admin_role: str
    """Role that has every permission. If empty, no role does."""
