"""API keys of consumers. They are in the configuration, as hashes, so each change is one of the configuration."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from nicegui import ui

from pylae.access.scopes import CONFIGURE
from pylae.dashboard import shown
from pylae.dashboard.client import RefusedError, UnreachableError
from pylae.dashboard.configuration import values
from pylae.dashboard.consumers import document
from pylae.dashboard.consumers.secret import show_once
from pylae.dashboard.dialogs import dialog
from pylae.dashboard.nodes import Node
from pylae.dashboard.table import Column, Table
from pylae.dashboard.view import View

_COLUMNS = (
    Column("consumer", "Consumer"),
    Column("key", "Key, by its hash", "mono"),
    Column("role", "Role"),
    Column("permissions", "Permissions"),
)


class Keys:
    """The API keys of a gateway's consumers."""

    def __init__(self, view: View, node: Node) -> None:
        self._view, self._node, self._revision = view, node, ""
        self._keys: dict[str, tuple[str, str]] = {}
        ui.label("Consumers and their API keys").classes("subtitle").props("role=heading aria-level=2")
        ui.label(
            "They are part of the configuration, which has only hashes of keys. A new key counts at once and outlives "
            "a restart, until the configuration file changes: change the file too. If the last key of all is revoked, "
            "its consumer stays with one that nobody has."
        ).classes("faint")
        with ui.element("div").classes("bar"):
            view.button("New key", node, CONFIGURE, self._make, icon="add")
            self.chosen = ui.select([], label="Key").props("dense outlined options-dense").classes("which")
            view.button("Revoke key", node, CONFIGURE, self._revoke, icon="block")
        self.table = Table(
            _COLUMNS,
            key="id",
            sort="consumer",
            search="Search consumers",
            label="API keys",
            empty="There is no API key.",
        )
        self.said = ui.label("").classes("bad").props("role=status")

    def update(self) -> None:
        """Looks at the configuration again if there is another one."""
        revision = (self._node.value("status") or {}).get("revision", "")
        if revision and revision != self._revision:
            self._revision = revision
            ui.timer(0, self.load, once=True)

    async def load(self) -> None:
        """Shows what the configuration has."""
        try:
            found = document.consumers(await self._view.ask(self._node, "/config"))
        except (RefusedError, UnreachableError) as error:
            self.said.set_text(f"{self._node.name}: {error}")
            return
        self._keys = {f"{one.name}, {document.fingerprint(key)}": (one.name, key) for one in found for key in one.keys}
        self.table.rows = [
            {
                "id": f"{one.name} {key}",
                "consumer": one.name,
                "key": document.fingerprint(key),
                "role": one.role,
                "permissions": shown.listed(one.permissions),
            }
            for one in found
            for key in one.keys
        ]
        names = list(self._keys)
        self.chosen.set_options(names, value=self.chosen.value if self.chosen.value in names else None)

    async def _make(self) -> None:
        with dialog("A new API key", wide=True) as asked:
            name = ui.input("Consumer, a new one or one that has keys").props("dense outlined autofocus maxlength=200")
            with ui.row().classes("w-full justify-end"):
                ui.button("Cancel", on_click=lambda: asked.submit(False)).props("flat no-caps")
                ui.button("Make it", on_click=lambda: asked.submit(True)).props("no-caps")
        wanted = await asked
        consumer = str(name.value or "").strip()
        asked.delete()
        if not wanted or not consumer:
            return
        key = secrets.token_urlsafe(32)
        key_hash = hashlib.sha256(key.encode()).hexdigest()
        if await self._change(
            lambda found: document.with_key(found, consumer, key_hash), f"a key for {consumer}", f"A key for {consumer}"
        ):
            await show_once(
                f"An API key of {consumer}", key, "Clients present it as `X-API-Key`, unless `auth` says else."
            )

    async def _revoke(self) -> None:
        if self.chosen.value is None:
            self._view.complain("Choose a key first.")
            return
        shown = str(self.chosen.value)
        consumer, key_hash = self._keys[shown]
        if await self._view.confirm(f"Revoke the key {shown}? Requests with it are refused at once.", "Revoke"):
            await self._change(
                lambda found: document.without_key(found, consumer, key_hash),
                f"a key of {consumer} is revoked",
                f"The key {shown} is revoked",
            )

    async def _change(self, changed: Any, reason: str, done: str) -> bool:
        """Puts another configuration in force, unless somebody else does so meanwhile."""
        self.said.set_text("")
        try:
            # The revision first: if another one comes in between, this one is refused.
            revision = (await self._view.ask(self._node, "/status"))["revision"]
            found = changed(await self._view.ask(self._node, "/config"))
            outcome = await self._view.ask(
                self._node, "/config", method="PUT", body=found, match=f'"{revision}"', query={"reason": reason}
            )
        except KeyError:
            self.said.set_text("This key is not in the configuration any more.")
            return False
        except RefusedError as error:
            problems = "; ".join(values.flaw(problem) for problem in error.problems[:3])
            self.said.set_text(f"Refused: {error.detail}. {problems}")
            return False
        except UnreachableError as error:
            self.said.set_text(f"{self._node.name} {error}")
            return False
        begun = f": roll-out {outcome['rollout']} has begun" if outcome.get("rollout") else ""
        ui.notify(f"{done}{begun}", type="positive", position="top")
        self._node.refresh()
        await self.load()
        return True
