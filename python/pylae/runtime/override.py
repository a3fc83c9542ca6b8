"""The configuration that was applied over the admin API, in the place of the node's own file."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pylae.config import draft
from pylae.config.builder import ConfigBuilder
from pylae.config.checks.standing import Standing
from pylae.config.document.files import digest
from pylae.config.document.include import held
from pylae.config.document.nodes import Step, show_path
from pylae.config.document.written import as_written, written
from pylae.errors import ConfigError, Problem
from pylae.history.content import shown
from pylae.history.secrets import filled, with_own
from pylae.state import applied

log = logging.getLogger("pylae.config")


class Override:
    """Reads documents that are handed in, and keeps the one in force over a restart until the file changes."""

    def __init__(self, builder: ConfigBuilder, folder: Path, origin: Path) -> None:
        self._builder, self._folder, self._origin = builder, folder, origin
        self._written_in = self._files_of(builder)
        self._own: Standing | None = None
        self.in_force = False
        """True while an applied document is in force instead of the file."""

    @property
    def revision(self) -> str | None:
        """The name of the configuration in force, if it has one besides that of this run of the gateway."""
        return None

    def placed(self, source: ConfigBuilder) -> ConfigBuilder:
        """What is put in force when a program wants `source`. Raises ConfigError."""
        return source

    def _files_of(self, builder: ConfigBuilder) -> Mapping[Path, str | None]:
        """The files that a configuration is written in, with the hashes of their contents."""
        files = {path: builder.read_files[path] for path in builder.written_in if path in builder.read_files}
        return files or {path: _digest_of(path) for path in self._builder.written_in}

    @property
    def _base(self) -> str | None:
        """The hash of the file that it replaces."""
        return _digest_of_all(self._written_in.values())

    def _own_file(self) -> Standing:
        """What the node's own file contains. Read before another configuration replaces it."""
        if self._own is None:
            config, document = self._builder.written, self._builder.document
            raw = [as_written(document.root)] if document else []
            self._own = Standing(config, self._builder.over).with_also(config, *raw)
        return self._own

    def _standing(self) -> Standing:
        """What the node's own file and the configuration in force contain."""
        config, document = self._builder.written, self._builder.document
        texts = [as_written(document.root), as_written(document.root, config)] if document else [written(config)]
        return self._own_file().with_also(config, *texts)

    def drafted(
        self, text: str, *, trusted: bool = False, filled: Collection[tuple[Step, ...]] | None = None
    ) -> ConfigBuilder:
        """Reads a document as a configuration of this gateway (`draft.read`). Raises ConfigError.

        A `trusted` document was accepted before, so nothing is asked about what it takes from the node. `filled` are
        the places of secrets that have come into one of the history.
        """
        builder = self._builder
        files = {path: held for path, held in self._written_in.items() if path in builder.read_files}
        self._own_file()
        standing = None if trusted else self._standing()
        origin = Path(builder.document.file) if builder.document else builder.origin
        document, config = draft.read(text, origin, files, standing, builder.written, filled=filled)
        return builder.with_document(document, config)

    def returned(self, old: Any) -> ConfigBuilder:
        """Reads a document of the history, with the present secrets. Raises ConfigError.

        What only the node's own file can change stays as it is.
        """
        present = shown(self._builder)
        made = filled(with_own(old, present), present)
        if made.missing:
            text = "the history keeps no secrets, and the configuration in force has none at this place"
            hint = "put the secret there first, or write the configuration anew"
            raise ConfigError([Problem(None, None, None, show_path(path), text, hint) for path in made.missing])
        return self.drafted(json.dumps(made.document), filled=made.places)

    def resume(self) -> None:
        """Goes on with the document that was in force before a restart, if the file has not changed since."""
        found = applied.usable(self._folder, self._base, self._origin)
        if found is None:
            return
        try:
            # With what code adds, which may be something else by now.
            drafted = self.drafted(found.text(), trusted=True)
            drafted.check()
        except ConfigError as error:
            log.error("the configuration applied over the admin API is no longer valid; using the file:\n%s", error)
            return
        self._builder.become(drafted)
        self.in_force = True
        log.info("going on with the configuration that was applied over the admin API at %s", found.at)

    def drafted_again(self) -> ConfigBuilder | None:
        """The document in force with the files that it refers to read again.

        None if there is no such document, or if the node's own file has changed.
        """
        kept = applied.kept(self._folder) if self.in_force else None
        if kept is None or _digest_of_all(map(_digest_of, self._written_in)) != kept.base:
            return None
        return self.drafted(kept.text(), trusted=True)

    def keeping(self, source: ConfigBuilder) -> AbstractContextManager[Callable[[], None]] | None:
        """Keeps the document of `source` over a restart, once it is committed. None if it has no document."""
        return applied.keeping(self._folder, source.document, self._base) if source.document else None

    def drop(self) -> None:
        """Forgets the document that was kept."""
        applied.drop(self._folder)

    def follow(self, source: ConfigBuilder, *, kept: bool) -> None:
        """Notes that `source` is in force now, and whether its document is kept."""
        if not kept:
            self._written_in, self._own = self._files_of(source), None
        self.in_force = kept


def _digest_of(file: Path) -> str | None:
    """As `held`; None if it cannot be read."""
    try:
        return held(file)
    except OSError:
        return None


def _digest_of_all(digests: Iterable[str | None]) -> str | None:
    """One hash for all: the only one, or one of those that there are."""
    first, *more = digests
    return digest(f"{[first, *more]}".encode()) if more else first
