"""The configuration of a node whose store is shared: its own settings, with what the store has beneath them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pylae.config import draft
from pylae.config.builder import ConfigBuilder
from pylae.config.checks.explain import in_order
from pylae.config.checks.local import local
from pylae.config.checks.standing import Standing
from pylae.config.document.nodes import Step
from pylae.config.document.written import as_written
from pylae.errors import ConfigError, EngineError, StoreError
from pylae.fleet import copies, head
from pylae.fleet.records import Refused, told
from pylae.history.history import History
from pylae.hooks.modules import importable
from pylae.runtime.override import Override
from pylae.store.kept import Kept
from pylae.store.settings import store_url

log = logging.getLogger("pylae.cluster")


class Shared(Override):
    """Stands for the configuration that all nodes have, as `Override` does for what was applied to one of them."""

    def __init__(
        self, builder: ConfigBuilder, folder: Path, origin: Path, kept: Kept, read: Callable[[Path], ConfigBuilder]
    ) -> None:
        """`read` reads the node's own file."""
        super().__init__(builder, folder, origin)
        self._kept, self._read = kept, read
        self._store = str(store_url(kept.settings.url))
        self.number = 0
        """The number of the configuration in force, or 0: then there is none yet."""
        self.copied = 0
        """The number of the one that is kept for a start without the store."""
        self.refused: Refused | None = None
        """Why the head is not in force since the start."""
        self.on_own_change: Callable[[], None] = lambda: None
        """Called when the node's own settings have changed."""

    @property
    def revision(self) -> str:
        """The name of the configuration in force."""
        return str(self.number)

    def _own_file(self) -> Standing:
        if self._own is None:
            own = self._builder.own or self._builder
            raw = [as_written(own.document.root)] if own.document else []
            self._own = Standing(own.written, self._builder.over).with_also(own.written, *raw)
        return self._own

    def drafted(
        self, text: str, *, trusted: bool = False, filled: Collection[tuple[Step, ...]] | None = None
    ) -> ConfigBuilder:
        """As `Override.drafted`. Settings that belong to nodes are refused."""
        return self._laid(self._builder, text, trusted=trusted, filled=filled)

    def _laid(
        self,
        over: ConfigBuilder,
        text: str,
        *,
        trusted: bool = False,
        filled: Collection[tuple[Step, ...]] | None = None,
    ) -> ConfigBuilder:
        """A document beneath the settings of a node and what code has added."""
        standing = None if trusted else self._standing()
        document, config = draft.read(text, self._origin, {}, standing, self._builder.written, filled=filled)
        laid = over.beneath(document, config)
        if found := list(local(config, self._origin)):
            # Where they are written in the document, and not where the node has its own.
            places = [over.with_document(document, config).problem_at(finding) for finding in found]
            raise ConfigError(in_order(places))
        return laid

    def returned(self, old: Any) -> ConfigBuilder:
        """Reads a document of the history, which has no secrets. Raises ConfigError."""
        return self.drafted(json.dumps(old))

    def of(self, number: int) -> ConfigBuilder:
        """Reads a configuration of the history; 0 is none. Raises ConfigError or StoreError."""
        if not number:
            return self._builder.bare()
        return self.returned(History(self._kept.opened()).content(number))

    def resume(self) -> None:
        """Begins with the head of the fleet, or, without the store, with the last good copy.

        Raises ConfigError, and EngineError if there is neither.
        """
        self._builder.refuse_misplaced()
        importable(self._origin.parent)
        self._own_file()
        self.in_force = True
        copy = copies.kept(self._folder, self._store)
        try:
            number = head.read(self._kept.opened()).number
            document = History(self._kept.opened()).content(number) if number else None
        except StoreError as error:
            self._without_store(error, copy)
            return
        if not number:
            log.warning(
                "nobody has applied a configuration to %s yet: this node serves nothing until then (pylae apply FILE)",
                self._store,
            )
            self._builder.become(self._builder.bare())
            return
        if copy is not None and copy.number == number and copy.document == document:
            self.copied = number
        try:
            found = self.returned(document)
            found.check()
        except ConfigError as error:
            log.error("configuration %d cannot be put in force on this node:\n%s", number, error)
            self.refused = Refused(number=number, problems=told(error))
            if copy is None:
                self._builder.become(self._builder.bare())
            else:
                self._begin_with(copy)
            return
        self._builder.become(found)
        self.number = number

    def _without_store(self, error: StoreError, copy: copies.Copy | None) -> None:
        if copy is None:
            hint = f" ({error.hint})" if error.hint else ""
            raise EngineError(
                f"{error}{hint}; and there is no last good copy in {self._folder} to start with: this node has never "
                "had a configuration of this store"
            )
        log.error("%s; this node starts with its last good copy", error)
        self._begin_with(copy)

    def _begin_with(self, copy: copies.Copy) -> None:
        # It was accepted when it came.
        found = self._laid(self._builder, copy.text(), trusted=True)
        found.check()
        self._builder.become(found)
        self.number = self.copied = copy.number
        log.info("configuration %d, which this node has had since %s, is in force", copy.number, copy.at)

    def keep(self) -> None:
        """Keeps what is in force for a start without the store. Raises OSError."""
        document = self._builder.document
        if self.number and document is not None:
            copies.keep(self._folder, self._store, self.number, as_written(document.root))
        else:
            copies.drop(self._folder)
        self.copied = self.number

    def drafted_again(self) -> ConfigBuilder:
        """The node's own file read again, above what is in force. Raises ConfigError."""
        builder = self._builder
        own = builder.read_again(self._read) if builder.path is not None else builder.as_built()
        own.refuse_misplaced()
        if not self.number or builder.document is None:
            return own.bare()
        return self._laid(own, json.dumps(as_written(builder.document.root)), trusted=True)

    def placed(self, source: ConfigBuilder) -> ConfigBuilder:
        """What a program wants in force, above what the store has. Raises ConfigError."""
        if source.own is not None or source is self._builder:
            return source
        source.refuse_misplaced()
        document = self._builder.document
        if not self.number or document is None:
            return source.bare()
        return self._laid(source, json.dumps(as_written(document.root)), trusted=True)

    def keeping(self, _source: ConfigBuilder) -> AbstractContextManager[Callable[[], None]] | None:
        """The store keeps it."""
        return None

    def drop(self) -> None:
        """Nothing is in the place of the file."""

    def follow(self, source: ConfigBuilder, *, kept: bool) -> None:  # noqa: ARG002
        """Notes that `source` is in force now. Whether it is `kept` is not asked: the store has it."""
        before = self._builder.own or self._builder
        if (source.own or source).written != before.written:
            self.on_own_change()
        self._own = None
        self.in_force = True
