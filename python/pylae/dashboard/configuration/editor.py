"""The editor: a configuration as YAML, checked, compared with the one in force, and put in its place."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nicegui import ui

from pylae.access.scopes import CONFIGURE
from pylae.dashboard import shown
from pylae.dashboard.client import RefusedError, UnreachableError
from pylae.dashboard.configuration import changes, values
from pylae.dashboard.nodes import Node
from pylae.dashboard.view import View

_MOST_REASON = 500
_HINT = (
    "YAML. Secrets are marks such as (hidden:…), and a mark stands for its secret. Escape, then Tab leaves the text. "
    "What you apply outlives a restart, and counts until the configuration file changes: change the file too."
)


class Editor:
    """An editor that somebody has open."""

    def __init__(self, view: View, node: Node) -> None:
        self._view, self._node = view, node
        self._checked: tuple[str, str] | None = None
        """The text that was found usable, and the revision that it was compared with."""
        ui.label(_HINT).classes("faint")
        self.text = ui.codemirror(language="YAML", theme="basicLight", indent="  ", line_wrapping=True)
        self.text.classes("editor").on_value_change(self._forget)
        # Keys of the page are letters in here.
        self.text.on("keydown", js_handler="(event) => event.stopPropagation()")
        with ui.element("div").classes("bar"):
            view.button("Check", node, CONFIGURE, self._check, icon="rule")
            self.reason = ui.input("Why, for the history").props(f"dense outlined maxlength={_MOST_REASON}")
            self.apply = view.button("Apply", node, CONFIGURE, self._apply, icon="publish")
            view.button("Start over", node, CONFIGURE, self.load, icon="restart_alt")
        self.said = ui.label("").classes("outcome").props("role=status")
        self.findings = ui.element("div").classes("findings")
        if why := view.lacks(node, CONFIGURE):
            self.text.disable()
            self.reason.disable()
            self.said.set_text(f"You cannot change it: {why}.")
        else:
            self.apply.disable()

    async def load(self) -> None:
        """Fetches what is in force."""
        try:
            document = await self._view.ask(self._node, "/config")
        except (RefusedError, UnreachableError) as error:
            self.said.set_text(f"{self._node.name}: {error}")
            return
        self.text.value = await asyncio.to_thread(values.written, document)
        self.findings.clear()
        name = f"{self._node.name}: the configuration"
        ui.run_javascript(
            f"const one = getElement({self.text.id}); (async () => {{ await one.editorPromise; "
            f"one.editor.contentDOM.setAttribute('aria-label', {_quoted(name)}); "
            "one.editor.scrollDOM.setAttribute('tabindex', '0') })()"
        )

    def _forget(self) -> None:
        if self._checked is not None and self._checked[0] != self.text.value:
            self._checked = None
            self.apply.disable()
            self.said.set_text("Changed since it was checked.")

    async def _check(self) -> None:
        text = self.text.value
        try:
            verdict = await self._view.ask(self._node, "/config/validate", method="POST", body=text.encode())
            if not verdict["valid"]:
                self._refused("This configuration cannot be used.", verdict["problems"])
                return
            difference = await self._view.ask(self._node, "/config/diff", method="POST", body=text.encode())
        except RefusedError as error:
            self._refused(error.detail, error.problems)
            return
        except UnreachableError as error:
            self._refused(f"{self._node.name} {error}", [])
            return
        self._checked = text, difference["revision"]
        self.findings.clear()
        found = shown.count(len(difference["changes"]), "change")
        self.said.set_text(f"It can be used: {found} from what is in force, revision {difference['revision']}.")
        with self.findings:
            self._list(verdict["warnings"], "warn")
            changes.show(difference["changes"], before="In force", after="In this text")
        self.apply.enable()

    async def _apply(self) -> None:
        if self._checked is None or self._checked[0] != self.text.value:
            self.said.set_text("Check it first.")
            return
        text, revision = self._checked
        reason = str(self.reason.value or "").strip()
        query = {"reason": reason[:_MOST_REASON]} if reason else None
        try:
            outcome = await self._view.ask(
                self._node, "/config", method="PUT", body=text.encode(), match=f'"{revision}"', query=query
            )
        except RefusedError as error:
            self._refused(f"Refused: {error.detail}.", error.problems)
            return
        except UnreachableError as error:
            self._refused(f"{self._node.name} {error}", [])
            return
        self._checked = None
        self.apply.disable()
        self.reason.value = ""
        self.findings.clear()
        if outcome.get("rollout"):
            self.said.set_text(f"Roll-out {outcome['rollout']} has begun.")
            with self.findings:
                ui.link("Watch it", "/nodes")
        else:
            self.said.set_text(f"In force, as revision {outcome['revision']}.")
        self._node.refresh()

    def _refused(self, said: str, problems: list[dict[str, Any]]) -> None:
        self._checked = None
        self.apply.disable()
        revision = (self._node.value("status") or {}).get("revision", "")
        self.said.set_text(f"{said} Nothing was changed: revision {revision} is in force.")
        self.findings.clear()
        with self.findings:
            self._list(problems, "bad")

    def _list(self, problems: list[dict[str, Any]], tone: str) -> None:
        with ui.element("ul").classes("problems"):
            for problem in problems:
                with ui.element("li"):
                    self._line(problem, tone)

    def _line(self, problem: dict[str, Any], tone: str) -> None:
        line, column = problem.get("line"), problem.get("column")
        if line is None or problem.get("file"):
            ui.label(values.flaw(problem)).classes(tone)
            return

        def go() -> None:
            self.text.reveal_line(line)
            ui.run_javascript(
                f"const view = getElement({self.text.id}).editor; const line = view.state.doc.line("
                f"Math.min({int(line)}, view.state.doc.lines)); view.dispatch({{selection: {{anchor: "
                f"Math.min(line.from + {int(column or 1) - 1}, line.to)}}}}); view.focus()"
            )

        where = f"line {line}" + (f", column {column}" if column else "")
        ui.button(where, on_click=go).props("flat dense no-caps").classes("action")
        ui.label(values.flaw(problem)).classes(tone)


async def show(view: View, node: Node) -> None:
    """Builds this part of the page."""
    editor = Editor(view, node)
    await view.follow((), lambda: None)
    await editor.load()


def _quoted(text: str) -> str:
    """A text as a literal of JavaScript, also inside HTML."""
    return json.dumps(text).replace("<", "\\u003c")
