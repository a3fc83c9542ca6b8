"""Records what a gateway puts in force."""

from __future__ import annotations

import logging
from pathlib import Path

from pylae.config.builder import ConfigBuilder
from pylae.history.content import document_of, pack
from pylae.history.entry import Cause
from pylae.history.history import History
from pylae.history.journal import Journal
from pylae.store.kept import Kept

log = logging.getLogger("pylae.store")

_IF_CHANGED = ("start", "program")
"""What may put the same in force many times, and is recorded only if it differs from what was recorded last."""


class Recorder:
    """Writes the history of one gateway: into the journal, and from there into the store once that is opened."""

    def __init__(self, kept: Kept, folder: Path, *, is_on: bool) -> None:
        """`folder` is the state folder. If it is not on, nothing is recorded."""
        self._kept, self._is_on = kept, is_on
        self._journal = Journal(folder, kept.settings.history)
        self.failures = 0
        """How many configurations could not be recorded."""

    def record(self, builder: ConfigBuilder, cause: Cause) -> None:
        """Records that a configuration is in force now. A failure is logged and counted, and raises nothing."""
        # All gateways that share a store have one history, which says what they are to do.
        if not self._is_on or self._kept.shared:
            return
        try:
            content = pack(document_of(builder))
            if cause.how not in _IF_CHANGED or content.digest != self._journal.latest():
                self._journal.add(content, cause)
        except OSError as error:
            self._failed(f"{error.filename or 'the journal'} cannot be written: {error.strerror}")
        except Exception:
            # Whatever is wrong here, the configuration is in force.
            log.exception("fault in the history")
            self._failed("see above")

    def _failed(self, why: str) -> None:
        self.failures += 1
        log.error("the configuration in force is not in the history: %s", why)

    def history(self) -> History:
        """Returns the history, with all that was recorded so far. Opens the store. Raises StoreError."""
        history = History(self._kept.opened())
        if not self._kept.shared:
            self._journal.move(history, self._kept.settings.history)
        return history

    def metrics(self) -> str:
        """Its figures as a page for Prometheus (text format 0.0.4)."""
        name = "pylae_history_failures_total"
        what = "Configurations that were put in force and could not be recorded in the history."
        return f"# HELP {name} {what}\n# TYPE {name} counter\n{name} {self.failures}\n"
