"""Configuration."""

from __future__ import annotations

from pylae.dashboard.view import View


async def show(view: View) -> None:
    """Builds the page."""
    await view.follow((), lambda: None)
