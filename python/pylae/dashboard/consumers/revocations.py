"""Revocations: what clients were issued, and is to be refused from now on."""

from __future__ import annotations

from nicegui import ui

from pylae.access.scopes import OPERATE
from pylae.dashboard import shown
from pylae.dashboard.nodes import Node
from pylae.dashboard.view import View

_KINDS = {"user": "User", "jti": "Token, by its jti"}


class Revocations:
    """The revocations of a gateway, or of all nodes of its cluster."""

    def __init__(self, view: View, node: Node) -> None:
        self._view, self._node = view, node
        ui.label("Refuse tokens of clients").classes("subtitle").props("role=heading aria-level=2")
        ui.label(
            "One token, or all that a user was issued up to now: tokens and sessions, but not API keys. In a cluster "
            "all nodes refuse them."
        ).classes("faint")
        with ui.element("div").classes("bar"):
            self.kind = ui.select(_KINDS, value="user", label="What").props("dense outlined options-dense")
            self.value = ui.input("Id").props("dense outlined maxlength=1000")
            self.ttl = ui.input("For", value="30d").props("dense outlined maxlength=20")
            view.button("Refuse", node, OPERATE, self._revoke, icon="person_off")
        self.said = ui.label("").classes("faint")

    def update(self) -> None:
        """Shows what the gateway last said."""
        found = self._node.value("revocations")
        if found is not None:
            behind = f"; {found['unpublished']} are not known to other nodes yet" if found["unpublished"] else ""
            self.said.set_text(f"{shown.count(found['number'], 'revocation')} in force{behind}.")

    async def _revoke(self) -> None:
        kind, value = str(self.kind.value), str(self.value.value or "").strip()
        if not value:
            self._view.complain("Write whose tokens to refuse.")
            return
        ttl = str(self.ttl.value or "").strip()
        if await self._view.confirm(f"Refuse the tokens of {_KINDS[kind].lower()} {value} for {ttl}?", "Refuse"):
            await self._view.act(
                self._node, f"Refused from now on: {value}", "/revocations", body={kind: value, "ttl": ttl}
            )
            self.value.value = ""
