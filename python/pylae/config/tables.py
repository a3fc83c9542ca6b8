"""The tables of the native side: which policies there are, in order, and what sets each apart.

The rows are in `crates/policies/src/table.rs`. Nothing here is listed a second time.
"""

from __future__ import annotations

from pylae import _native

__all__ = ["POLICIES", "policies_with"]

_ROLES = {name: frozenset(roles) for name, roles in _native.POLICIES}

POLICIES: tuple[str, ...] = tuple(_ROLES)
"""Names of all policies in the order in which a request meets them."""


def policies_with(role: str) -> tuple[str, ...]:
    """Names of the policies that have a role, in order.

    `derived`: has no settings of its own, but follows from others. `unrouted`: shapes answers to requests that no route
    takes. `early`: runs before early hooks. `outlet`: has a part that needs a socket, a task or the interpreter.
    """
    return tuple(name for name, roles in _ROLES.items() if role in roles)
