"""The switches of a running gateway: kept over a restart, and followed where gateways share a store."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pylae import state
from pylae.maintenance.switch import PREFIX, Scope, Switch, key_of, read, shown
from pylae.store.following import Following, FollowingWords
from pylae.store.kept import Kept
from pylae.store.store import Store

log = logging.getLogger("pylae.admin")

MOST = 1000
"""Most switches at once."""
_FILE = "maintenance.json"
_MOST_BYTES = 8 * 1024 * 1024
_WORDS = FollowingWords(
    log,
    "pylae-maintenance",
    "what is switched to maintenance cannot be read from the store, so it stays: %s",
    "what is switched to maintenance can be read from the store again",
    "what is switched to maintenance could not be looked up",
)


class TooManyError(Exception):
    """There are as many switches as there can be."""


class Switches(Following):
    """What is switched to maintenance. All threads may use it.

    A gateway of its own keeps the switches in a file in its state folder. With a shared store they are there, for all
    its gateways, and the file has what this one knew last, so that it can start without the store.
    """

    def __init__(self, folder: Path, kept: Kept, put: Callable[[Mapping[str, Any]], None]) -> None:
        """`put` puts a document in force (`pylae.engine.Engine.set_maintenance`)."""
        super().__init__(kept, PREFIX, _WORDS)
        self._file, self._put = folder / _FILE, put
        self._known: dict[tuple[Scope, str], Switch] = {}
        # Held during a whole change, and a whole look: a look must not bring back what a change has ended.
        self._changing = threading.Lock()
        self._unreadable: frozenset[str] = frozenset()

    @property
    def trouble(self) -> str | None:
        """Why the shared store cannot be read; None if it can, or if there is none."""
        return self._trouble

    def listed(self) -> list[Switch]:
        """Returns all switches: that of the gateway first, then services and routes by name."""
        order: dict[Scope, int] = {"gateway": 0, "service": 1, "route": 2}
        known = list(self._known.values())
        return sorted(known, key=lambda one: (order[one.scope], one.name))

    def metrics(self) -> str:
        """Returns the metrics of the switches in the text format of Prometheus."""
        name = "pylae_maintenance"
        lines = [f"# HELP {name} What is switched to maintenance now.", f"# TYPE {name} gauge"]
        for one in self.listed():
            escaped = one.name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
            lines.append(f'{name}{{scope="{one.scope}",name="{escaped}"}} 1')
        return "\n".join(lines) + "\n"

    def document(self) -> dict[str, Any]:
        """Returns the switches in the form of the engine."""
        document: dict[str, Any] = {"gateway": None, "services": {}, "routes": {}}
        for one in self._known.values():
            told = {"text": one.text, "retry_after": one.retry_after}
            if one.scope == "gateway":
                document["gateway"] = told
            else:
                document[f"{one.scope}s"][one.name] = told
        return document

    def resume(self) -> None:
        """Reads what was switched when the gateway stopped. What cannot be read is reported, and not switched."""
        state.sweep(self._file.parent, _FILE)
        try:
            with self._file.open("rb") as opened:
                data = opened.read(_MOST_BYTES + 1)
            found = json.loads(data) if len(data) <= _MOST_BYTES else None
            if not isinstance(found, list):
                raise ValueError("it is not a list of switches")
            self._known = {one.place: one for one in map(read, map(json.dumps, found[:MOST]))}
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            log.error("%s cannot be read, so nothing in it is switched to maintenance: %s", self._file, error)
            return
        for one in self.listed():
            log.warning("%s is switched to maintenance since %s", shown(*one.place), one.since)

    def follow(self) -> None:
        """Begins to follow a shared store, on a thread of its own. Does nothing without one."""
        if self._kept.shared:
            self._begin()

    def switch(self, switch: Switch) -> bool:
        """Switches something to maintenance, or changes what clients are told. Returns whether that is a change.

        It lasts when this returns, and every request that comes then gets the answer. Raises StoreError if the shared
        store cannot take it, OSError if the file cannot be written, TooManyError; nothing has changed then.
        """
        with self._changing:
            if switch.place not in self._known and len(self._known) >= MOST:
                raise TooManyError(f"{MOST} switches are the most there can be")
            if self._kept.shared:
                self._kept.opened().put(switch.key, switch.value())
            before = self._known.get(switch.place)
            self._adopt([*(one for one in self._known.values() if one.place != switch.place), switch], durable=True)
        return before is None or (before.text, before.retry_after) != (switch.text, switch.retry_after)

    def end(self, scope: Scope, name: str) -> bool:
        """Ends the maintenance of something. Returns whether it was switched. Raises as `switch` does."""
        with self._changing:
            if self._kept.shared:
                self._kept.opened().delete(key_of(scope, name))
            there = (scope, name) in self._known
            if there:
                self._adopt([one for one in self._known.values() if one.place != (scope, name)], durable=True)
        return there

    def look(self) -> None:
        """Takes over what a shared store has. Raises StoreError; the switches stay as they were then."""
        self._take_all(self._kept.opened())

    def _take_all(self, store: Store) -> None:
        with self._changing:
            found = self._in_store(store)
            if {one.place: one for one in found} != self._known:
                self._adopt(found)

    def _adopt(self, switches: Iterable[Switch], *, durable: bool = False) -> None:
        """Writes the file, then puts the switches in force. Without `durable`, they are in a store as well."""
        taken = {one.place: one for one in switches}
        data = b"[" + b",\n".join(one.value() for one in taken.values()) + b"]\n"
        try:
            state.write(self._file, data)
        except OSError as error:
            if durable and not self._kept.shared:
                raise
            log.warning("%s cannot be written: %s", self._file, error.strerror or error)
        before, self._known = self._known, taken
        self._put(self.document())
        for place in taken.keys() - before.keys():
            log.warning("%s is switched to maintenance by %s", shown(*place), taken[place].by)
        for place in before.keys() - taken.keys():
            log.warning("the maintenance of %s has ended", shown(*place))

    def _in_store(self, store: Store) -> list[Switch]:
        found: list[Switch] = []
        unreadable: dict[str, str] = {}
        after, more = None, True
        while more and len(found) < MOST:
            page = store.range(PREFIX, after=after)
            for pair in page.pairs:
                try:
                    found.append(read(pair.value, pair.key))
                except ValueError as error:
                    unreadable[pair.key] = str(error)
            after, more = page.pairs[-1].key if page.pairs else None, page.more
        for key in unreadable.keys() - self._unreadable:
            log.error("%s in %s is no switch to maintenance and is ignored: %s", key, store.where, unreadable[key])
        self._unreadable = frozenset(unreadable)
        return found[:MOST]
