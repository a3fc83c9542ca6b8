"""What follows the keys under a prefix of a store, for as long as a gateway runs."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from pylae.errors import CompactedError, StoreError, StoreUnavailableError
from pylae.store.kept import Kept
from pylae.store.store import Event, Store

_WAIT = 1.0
"""Seconds that a look at the store waits for news."""
_AGAIN = 1.0
"""Seconds until a store that is away is asked again, and one that is not watched."""
_FAREWELL = 5.0
"""Seconds that the end waits for the thread."""


@dataclass(frozen=True, slots=True)
class FollowingWords:
    """What is logged, by `logger`, in the words of what is followed.

    Attributes:
        thread: The name of the thread.
        away: When the store does not answer, with `%s` for why.
        back: When it answers again.
        failed: When there is a fault in what follows.
    """

    logger: logging.Logger
    thread: str
    away: str
    back: str
    failed: str


class Following(ABC):
    """Looks at all keys under a prefix, then at each change, on a thread of its own.

    A store that goes away is asked again until it is back, and so is a fault of what derives from this: nothing would
    change any more if the thread ended. A store that is not shared is looked at once.
    """

    def __init__(self, kept: Kept, prefix: str, words: FollowingWords) -> None:
        self._kept, self._prefix, self._words = kept, prefix, words
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble: str | None = None

    @abstractmethod
    def _take_all(self, store: Store) -> int | None:
        """Takes what the store has. Returns its revision, or None to look again every second in place of watching.

        Raises StoreError.
        """

    def _take(self, store: Store, events: Sequence[Event]) -> None:  # noqa: ARG002
        """Takes changes, at least one: looks at all again if nothing else is said. Raises StoreError."""
        self._take_all(store)

    def _begin(self) -> None:
        """Starts the thread, unless it was stopped or has started."""
        if self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(target=self._follow, name=self._words.thread, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends it. May be called again."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_FAREWELL)

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                store = self._kept.opened()
                revision = self._take_all(store)
                self._over()
                if not self._kept.shared:
                    return
                if revision is None:
                    self._stopped.wait(_AGAIN)
                else:
                    self._watch(store, revision)
            except CompactedError:
                continue
            except StoreError as error:
                self._say(error)
                self._stopped.wait(_AGAIN)
            except Exception as error:
                self._words.logger.exception(self._words.failed)
                self._trouble = type(error).__name__
                self._stopped.wait(_AGAIN)

    def _watch(self, store: Store, revision: int) -> None:
        with store.watch(self._prefix, revision) as watch:
            while not self._stopped.is_set():
                try:
                    events = watch.wait(_WAIT)
                except StoreUnavailableError as error:
                    self._say(error)
                    self._stopped.wait(_AGAIN)
                    continue
                self._over()
                if events:
                    self._take(store, events)

    def _say(self, error: StoreError) -> None:
        if (said := str(error)) != self._trouble and not self._stopped.is_set():
            self._words.logger.warning(self._words.away, said)
        self._trouble = said

    def _over(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            self._words.logger.info(self._words.back)
