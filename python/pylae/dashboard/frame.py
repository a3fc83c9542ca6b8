"""What is around each page: navigation, the choice of gateways, the theme, keys, and what is not well."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastapi import Request
from nicegui import context, events, ui

from pylae.dashboard.access.sessions import Session
from pylae.dashboard.dialogs import dialog
from pylae.dashboard.theme import STYLE
from pylae.dashboard.view import View

if TYPE_CHECKING:
    from pylae.dashboard.pages import Page

_TOGETHER = 1.5
"""Seconds in which the second key of a pair has to follow."""
_ALL = "All gateways"
# In the browser: what is typed after the slash must not wait for an answer.
_SEARCH = """
document.addEventListener("keydown", event => {
  const at = event.target, other = event.ctrlKey || event.altKey || event.metaKey;
  if (event.key !== "/" || other || at.closest?.("input, textarea, select, [contenteditable=true]")) return;
  const field = document.querySelector("input[type=search]");
  if (!field) return;
  field.focus();
  event.preventDefault();
});
"""


async def framed(page: Page, session: Session, request: Request) -> None:
    """Builds a page inside the frame."""
    from pylae.dashboard.pages import PAGES

    view = View(session, context.client, dict(request.query_params))
    ui.add_css(STYLE)
    dark = ui.dark_mode(session.dark)
    ui.colors(primary="#0b5cad", positive="#1b7a3d", negative="#b3261e", warning="#8a5a00", info="#0b5cad")
    with ui.header().classes("top"):
        ui.link("Skip to the content", "#content").classes("skip")
        ui.label("Pylae").classes("brand")
        _choice(view)
        ui.space()
        trouble = ui.label("").classes("trouble").props("role=status")
        ui.label(session.name).classes("who")
        _theme(session, dark)
        help_button = ui.button(icon="keyboard").props('flat round dense aria-label="Keyboard help (?)"')
        # Not a link, so that no other site can log anybody out.
        with ui.element("form").props('method=post action="/logout"'):
            ui.button("Log out").props("flat dense no-caps type=submit")
    _navigation(PAGES, page)
    help_dialog = _help(PAGES)
    help_button.on_click(help_dialog.open)
    _keys(PAGES, help_dialog)

    def told() -> None:
        down = [f"{node.name}: {node.trouble}" for node in view.nodes if node.trouble]
        text = f"{len(down)} of {len(view.nodes)} gateways do not answer: {'; '.join(down)}" if down else ""
        trouble.set_text(text)

    with ui.element("main").props("id=content tabindex=-1").classes("content"):
        ui.label(page.title).classes("title").props("role=heading aria-level=1")
        await page.show(view)
    view.always(told)


def _navigation(pages: tuple[Page, ...], here: Page) -> None:
    drawer = ui.left_drawer(value=True, fixed=True).props("width=210 breakpoint=700").classes("side")
    with drawer, ui.element("nav").props('aria-label="Pages"'):
        for page in pages:
            link = ui.link(target=page.path).classes("page-link")
            if page is here:
                link.classes("here").props("aria-current=page")
            with link:
                ui.icon(page.icon).props("aria-hidden=true")
                ui.label(page.title)
                ui.label(f"g {page.key}").classes("key").props("aria-hidden=true")


def _choice(view: View) -> None:
    names = [node.name for node in view.all_nodes]
    if len(names) < 2:
        ui.label(names[0] if names else "").classes("which")
        return

    def chosen(event: events.ValueChangeEventArguments[Any]) -> None:
        view.session.node = None if event.value == _ALL else str(event.value)
        ui.navigate.reload()

    value = view.session.node if view.session.node in names else _ALL
    ui.select([_ALL, *names], value=value, on_change=chosen).props(
        'dense outlined options-dense aria-label="Gateways"'
    ).classes("which")


def _theme(session: Session, dark: ui.dark_mode) -> None:
    names = {None: "as the system", False: "light", True: "dark"}
    icons = {None: "brightness_auto", False: "light_mode", True: "dark_mode"}
    following = {None: True, True: False, False: None}

    def turn() -> None:
        session.dark = following[session.dark]
        dark.value = session.dark
        button.props(f'icon={icons[session.dark]} aria-label="Theme: {names[session.dark]}"')

    button = ui.button(on_click=turn).props("flat round dense")
    button.props(f'icon={icons[session.dark]} aria-label="Theme: {names[session.dark]}"')


def _help(pages: tuple[Page, ...]) -> ui.dialog:
    with dialog("Keys") as shown:
        rows = [*((f"g {page.key}", page.title) for page in pages), ("/", "Search on this page"), ("?", "This help")]
        for keys, what in rows:
            with ui.row().classes("help-row"):
                ui.label(keys).classes("key")
                ui.label(what)
        ui.button("Close", on_click=shown.close).props("flat no-caps")
    return shown


def _keys(pages: tuple[Page, ...], help_dialog: ui.dialog) -> None:
    paths = {page.key: page.path for page in pages}
    began = 0.0

    def pressed(event: events.KeyEventArguments) -> None:
        nonlocal began
        if not event.action.keydown or event.modifiers.ctrl or event.modifiers.alt or event.modifiers.meta:
            return
        key = event.key.name
        if time.monotonic() - began < _TOGETHER and key in paths:
            began = 0.0
            ui.navigate.to(paths[key])
        elif key == "g":
            began = time.monotonic()
        elif key == "?":
            help_dialog.open()

    ui.keyboard(pressed, repeating=False)
    ui.add_body_html(f"<script>{_SEARCH}</script>")
