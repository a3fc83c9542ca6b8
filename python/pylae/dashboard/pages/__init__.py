"""The pages of the dashboard, one module each, in the order of the navigation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pylae.dashboard.pages import (
    configuration,
    consumers,
    exchanges,
    limits,
    nodes,
    overview,
    routes,
    services,
)
from pylae.dashboard.view import View

__all__ = ["PAGES", "Page"]


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        path: Its path.
        title: What it is called.
        key: The key that opens it, after `g`.
        icon: Name of its icon, one of Google's Material Icons.
        show: Builds it inside the frame.
    """

    path: str
    title: str
    key: str
    icon: str
    show: Callable[[View], Awaitable[None]]


PAGES = (
    Page("/", "Overview", "o", "monitor_heart", overview.show),
    Page("/services", "Services", "s", "dns", services.show),
    Page("/routes", "Routes", "r", "alt_route", routes.show),
    Page("/exchanges", "Exchanges", "e", "swap_horiz", exchanges.show),
    Page("/configuration", "Configuration", "c", "tune", configuration.show),
    Page("/consumers", "Consumers and keys", "k", "vpn_key", consumers.show),
    Page("/nodes", "Nodes and revisions", "n", "hub", nodes.show),
    Page("/limits", "Limits and cache", "l", "speed", limits.show),
)
