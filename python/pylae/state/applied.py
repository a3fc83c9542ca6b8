"""The configuration that was applied over the admin API. It is kept in the state folder until its file changes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pylae import state
from pylae.config.document.load import Document
from pylae.config.document.written import as_written

log = logging.getLogger("pylae.config")

_NAME = "applied.json"


@dataclass(frozen=True, slots=True)
class Applied:
    """An applied document as it was written, including secrets, and the hash of the file that it replaces."""

    document: Any
    at: str
    base: str | None

    def text(self) -> str:
        """The document as text. JSON is valid YAML."""
        return json.dumps(self.document)


def kept(folder: Path) -> Applied | None:
    """Returns the document in a state folder, if there is one that can be read."""
    file = folder / _NAME
    try:
        found = json.loads(file.read_bytes())
        return Applied(found["document"], found["at"], found["base"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.error("the configuration in %s cannot be read (%s); the file is used", file, type(error).__name__)
        return None


def usable(folder: Path, base: str | None, file: Path) -> Applied | None:
    """Returns the document to use at the start. If the file that it replaces has changed since, it is dropped."""
    state.sweep(folder, _NAME)
    found = kept(folder)
    if found is not None and found.base != base:
        log.info("%s has changed since a configuration was applied over the admin API; the file is used", file)
        drop(folder)
        return None
    return found


def keeping(folder: Path, document: Document, base: str | None) -> AbstractContextManager[Callable[[], None]]:
    """Yields a function that stores a document. All that can fail has been done before. Raises OSError."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    data = json.dumps({"at": now, "base": base, "document": as_written(document.root)}).encode()
    return state.replacing(folder / _NAME, data)


def drop(folder: Path) -> None:
    """Removes the document, so that the file is used again."""
    try:
        state.remove(folder / _NAME)
    except OSError as error:
        log.error("%s cannot be removed: %s", folder / _NAME, error.strerror)
