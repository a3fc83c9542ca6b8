"""Consumers and keys: who may ask the gateway for something, and who may ask for its administration."""

from __future__ import annotations

from pylae.dashboard.consumers.keys import Keys
from pylae.dashboard.consumers.revocations import Revocations
from pylae.dashboard.consumers.tokens import Tokens
from pylae.dashboard.single import one_gateway
from pylae.dashboard.view import View

PATH = "/consumers"


async def show(view: View) -> None:
    """Builds the page."""
    node = one_gateway(view, PATH)
    parts = (Keys(view, node), Revocations(view, node), Tokens(view, node))

    def update() -> None:
        for part in parts:
            part.update()

    await view.follow(("tokens", "revocations"), update)
