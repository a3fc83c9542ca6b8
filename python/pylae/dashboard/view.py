"""What a page has to work with: the gateways that its reader may see, what he may do, and news of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nicegui import Client, ui

from pylae.access.scopes import READ
from pylae.dashboard.access.sessions import Session
from pylae.dashboard.client import RefusedError, UnreachableError
from pylae.dashboard.dialogs import dialog
from pylae.dashboard.nodes import Node, Watch

_FIRST = 2.0
"""Seconds that a page waits for the first answers before it is shown."""
_UPDATE = 1.0
"""Seconds between two updates of a page."""
_VERIFY = 30.0
"""Seconds between two looks whether the tokens of somebody who looks still hold."""


class View:
    """A page that somebody has open."""

    def __init__(self, session: Session, client: Client, query: dict[str, str]) -> None:
        """`query` are the parameters of its address."""
        self.session, self.query = session, query
        self._client = client
        self._watches: list[tuple[Node, Watch]] = []
        self._news = asyncio.Event()
        self._updates: list[Callable[[], Any]] = []
        self._verified = time.monotonic()
        client.on_delete(self._leave)

    @property
    def all_nodes(self) -> list[Node]:
        """The gateways that the reader may see."""
        return list(self.session.access)

    @property
    def nodes(self) -> list[Node]:
        """Those of them that he looks at."""
        chosen = [node for node in self.session.access if node.name == self.session.node]
        return chosen or self.all_nodes

    def node(self, name: str | None) -> Node | None:
        """The gateway with this name, if the reader may see it."""
        return next((node for node in self.session.access if node.name == name), None)

    def always(self, update: Callable[[], Any]) -> None:
        """Calls `update` at each news too, and now."""
        self._updates.append(update)
        update()

    async def follow(self, topics: Sequence[str], update: Callable[[], Any]) -> None:
        """Has these topics of the gateways asked for as long as the page is open, and calls `update` at each news.

        Waits for a moment for the first answers, and calls `update` in any case. `turn_to` exchanges the topics.
        """
        wanted = frozenset((*topics, "status"))
        for node in self.nodes:
            watch = Watch(wanted, self.session.access[node].token, self._news.set)
            node.add(watch)
            self._watches.append((node, watch))
        until = time.monotonic() + _FIRST
        while not self._complete(wanted) and (left := until - time.monotonic()) > 0:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                break
        self._news.clear()
        self._updates.append(update)
        update()
        ui.timer(_UPDATE, self._tick)

    def turn_to(self, topics: Sequence[str]) -> None:
        """Has these topics asked for from now on, in the place of those before."""
        wanted = frozenset((*topics, "status"))
        for node, watch in self._watches:
            if watch.topics != wanted:
                watch.topics = wanted
                node.hurry()

    def _complete(self, wanted: frozenset[str]) -> bool:
        return all(node.trouble or all(node.seen(topic) for topic in wanted) for node, _ in self._watches)

    async def _tick(self) -> None:
        if time.monotonic() - self._verified > _VERIFY:
            self._verified = time.monotonic()
            await self.session.verify()
        if not self.session.alive or any(node not in self.session.access for node, _ in self._watches):
            self._leave()
            ui.navigate.to("/login" if not self.session.alive else "/")
            return
        if self._news.is_set():
            self._news.clear()
            for update in self._updates:
                update()

    def _leave(self) -> None:
        for node, watch in self._watches:
            node.discard(watch)
        self._watches.clear()

    def lacks(self, node: Node, scope: str) -> str | None:
        """Why something that needs a scope cannot be done with a gateway; None if it can."""
        return self.session.lacks(node, scope)

    async def ask(
        self,
        node: Node,
        path: str,
        *,
        method: str = "GET",
        body: Any = None,
        match: str | None = None,
        query: dict[str, str] | None = None,
        patience: float | None = None,
    ) -> Any:
        """As `AdminClient.ask`, with the reader's token. Raises RefusedError or UnreachableError."""
        found = self.session.access.get(node)
        if not self.session.alive or found is None:
            raise RefusedError(401, self.session.lacks(node, READ) or "the session has ended")
        return await node.client.ask(
            path, found.token, method=method, body=body, match=match, query=query, patience=patience
        )

    async def act(self, node: Node, done: str, path: str, **how: Any) -> Any:
        """Changes something with the reader's token, says `done` or what went wrong, and asks the gateway anew.

        Returns the answer; None if it went wrong, or has no body.
        """
        try:
            answer = await self.ask(node, path, **{"method": "POST", **how})
        except RefusedError as error:
            self.complain(f"{node.name} refuses: {error.detail}")
            return None
        except UnreachableError as error:
            self.complain(f"{node.name} {error}")
            return None
        ui.notify(done, type="positive", position="top")
        node.refresh()
        return answer

    def complain(self, text: str) -> None:
        """Says that something went wrong, until it is dismissed."""
        ui.notify(text, type="negative", position="top", multi_line=True, timeout=0, close_button="Dismiss")

    def button(
        self,
        text: str,
        node: Node,
        scope: str,
        action: Callable[[], Awaitable[Any]],
        *,
        icon: str | None = None,
        sure: str | None = None,
    ) -> ui.button:
        """A control that changes something. It is disabled, with the reason, if the reader's token lacks the scope.

        With `sure`, a question, it asks first.
        """

        async def pressed() -> None:
            if sure is None or await self.confirm(sure, text):
                await action()

        button = ui.button(text, icon=icon, on_click=pressed).props("outline no-caps dense").classes("action")
        if why := self.lacks(node, scope):
            button.disable()
            button.props(f'aria-label="{text}: {why}"')
            with button:
                ui.tooltip(why)
        return button

    async def confirm(self, question: str, word: str) -> bool:
        """Asks a question, and returns whether the answer is yes. `word` is on the button for it."""
        with dialog(question) as asked, ui.row().classes("w-full justify-end"):
            ui.button("Cancel", on_click=lambda: asked.submit(False)).props("flat no-caps")
            ui.button(word, on_click=lambda: asked.submit(True)).props("no-caps autofocus")
        answer = await asked
        asked.delete()
        return bool(answer)
