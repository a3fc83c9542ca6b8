"""Tokens of the admin API: who has which, and how to make, rotate and revoke one."""

from __future__ import annotations

import re
from typing import Any

from nicegui import ui

from pylae.access.scopes import CONFIGURE
from pylae.cli.remote import part
from pylae.dashboard import shown
from pylae.dashboard.consumers.secret import show_once
from pylae.dashboard.dialogs import dialog
from pylae.dashboard.nodes import Node
from pylae.dashboard.table import Column, Table
from pylae.dashboard.view import View

_COLUMNS = (
    Column("name", "Token"),
    Column("scopes", "Scopes"),
    Column("state", "State", "state"),
    Column("created", "Made", show=shown.when),
    Column("by", "By"),
    Column("expires", "Ends", show=shown.when),
    Column("last_used", "Last used", show=shown.when),
)
_TONES = {"valid": "good", "expired": "faint", "revoked": "bad"}
_PRESENT = "Clients present it as `Authorization: Bearer …`."


class Tokens:
    """The tokens of a gateway, or of the gateways that share a store with it."""

    def __init__(self, view: View, node: Node) -> None:
        self._view, self._node = view, node
        ui.label("Tokens of the admin API").classes("subtitle").props("role=heading aria-level=2")
        with ui.element("div").classes("bar"):
            view.button("New token", node, CONFIGURE, self._make, icon="add")
            self.chosen = ui.select([], label="Token").props("dense outlined options-dense").classes("which")
            view.button("Rotate", node, CONFIGURE, self._rotate, icon="autorenew")
            view.button("Revoke", node, CONFIGURE, self._revoke, icon="block")
        self.table = Table(
            _COLUMNS,
            key="id",
            sort="name",
            label="Tokens of the admin API",
            empty="There is none but the gateway's own.",
        )
        self.said = ui.label("").classes("faint")

    def update(self) -> None:
        """Shows what the gateway last said."""
        listed = self._node.value("tokens", {"tokens": []})["tokens"]
        self.table.rows = [
            {**one, "scopes": shown.listed(one["scopes"]), "state_tone": _TONES[one["state"]]} for one in listed
        ]
        names = sorted(one["name"] for one in listed if one["state"] == "valid")
        if self.chosen.options != names:
            kept = self.chosen.value if self.chosen.value in names else None
            self.chosen.set_options(names, value=kept)
        seen = self._node.seen("tokens")
        self.said.set_text(seen.refused if seen is not None and seen.refused else "")

    async def _make(self) -> None:
        with dialog("A new token", wide=True) as asked:
            name = ui.input("Name", validation=_name_problem).props("dense outlined autofocus maxlength=64")
            scopes = {scope: ui.checkbox(f"{scope}: {what}", value=scope == "read") for scope, what in _SCOPES.items()}
            expires = ui.input("Ends after, such as 12h or 90d", value="90d").props("dense outlined maxlength=20")
            with ui.row().classes("w-full justify-end"):
                ui.button("Cancel", on_click=lambda: asked.submit(False)).props("flat no-caps")
                ui.button("Make it", on_click=lambda: asked.submit(True)).props("no-caps")
        wanted = await asked
        body = {
            "name": str(name.value or "").strip(),
            "scopes": [scope for scope, box in scopes.items() if box.value],
            "expires": str(expires.value or "").strip(),
        }
        asked.delete()
        if wanted:
            await self._issued(f"The token {body['name']}", "/tokens", body)

    async def _rotate(self) -> None:
        if (name := self._name()) is not None and await self._view.confirm(
            f"Give the token {name} another secret? The one before stays valid for an hour.", "Rotate"
        ):
            await self._issued(f"The token {name}", f"/tokens/{part(name)}/rotate", {"overlap": "1h"})

    async def _issued(self, title: str, path: str, body: dict[str, Any]) -> None:
        issued = await self._view.act(self._node, f"{title} is made", path, body=body)
        if issued is not None:
            await show_once(title, issued["secret"], _PRESENT)

    async def _revoke(self) -> None:
        if (name := self._name()) is not None and await self._view.confirm(
            f"End the token {name} at once? Its requests that are under way are cut off.", "Revoke"
        ):
            await self._view.act(self._node, f"The token {name} is revoked", f"/tokens/{part(name)}", method="DELETE")

    def _name(self) -> str | None:
        if self.chosen.value is None:
            self._view.complain("Choose a token first.")
            return None
        return str(self.chosen.value)


_SCOPES = {
    "read": "look at everything",
    "operate": "drain, reset, purge, revoke, maintenance",
    "configure": "configurations and tokens",
}


def _name_problem(text: str) -> str | None:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", text or ""):
        return None
    return "letters, digits and . _ @ -"
