"""The tables of the native side: which policies and balancers there are, in order, and what sets each apart.

The rows are in `crates/policies/src/table.rs` and `crates/core/src/service/balance.rs`. There is no second list.
"""

from __future__ import annotations

from pylae import _native

__all__ = ["BALANCERS", "POLICIES", "balancers_with", "policies_with"]

_POLICIES = {name: frozenset(roles) for name, roles in _native.POLICIES}
_BALANCERS = {name: frozenset(roles) for name, _, roles in _native.BALANCERS}

POLICIES: tuple[str, ...] = tuple(_POLICIES)
"""Names of all policies in the order in which a request meets them."""
BALANCERS: dict[str, str] = {name: summary for name, summary, _ in _native.BALANCERS}
"""What each balancer picks, by its name."""


def policies_with(role: str) -> tuple[str, ...]:
    """Names of the policies that have a role, in order.

    `derived`: has no settings of its own, but follows from others. `unrouted`: shapes answers to requests that no route
    takes. `early`: runs before early hooks. `outlet`: has a part that needs a socket, a task or the interpreter.
    """
    return tuple(name for name, roles in _POLICIES.items() if role in roles)


def balancers_with(role: str) -> tuple[str, ...]:
    """Names of the balancers that have a role, in order.

    `key`: goes by what `on` says of a request. `address`: goes by the client's address. `unweighted`: ignores weights.
    """
    return tuple(name for name, roles in _BALANCERS.items() if role in roles)
