"""The store of a running gateway. It is opened when something needs it for the first time."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pylae.errors import StoreError
from pylae.store.settings import StoreSettings, store_url

if TYPE_CHECKING:
    from pylae.store.store import Store


class Kept:
    """The store of one run of a gateway. All threads can use it.

    A gateway that nobody changes opens no file of SQLite: its libraries would cost more than the rest of the control
    plane.
    """

    def __init__(self, settings: StoreSettings, folder: Path, base: Path) -> None:
        """The arguments are as for `pylae.store.engines.connected`."""
        self.settings = settings
        """Where the store is. A change needs a restart."""
        self.shared = store_url(settings.url).kind != "sqlite"
        """Whether other gateways can have the same store."""
        self._folder, self._base = folder, base
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._closed = False

    @property
    def where(self) -> str:
        """Which store it is, for people and to tell it from others. No secret is in it."""
        return str(store_url(self.settings.url))

    @property
    def is_open(self) -> bool:
        """Whether something has needed it by now."""
        return self._store is not None

    def opened(self) -> Store:
        """Returns the store; opens it first if it is not open.

        A file of SQLite is made, or brought up to date, when it is opened. This may take the time-out of the settings,
        or a few times that, so it is nothing for an event loop. Raises StoreError.
        """
        if os.getpid() != self._process:
            # Its connections belong to the process that has opened them.
            raise StoreError("the store of a gateway cannot be used in a process that was forked from it")
        with self._lock:
            if self._closed:
                raise StoreError("the gateway has stopped, and has closed its store")
            if self._store is None:
                self._store = self._open()
            return self._store

    def _open(self) -> Store:
        from pylae.store.engines import connected

        with contextlib.ExitStack() as stack:
            store = stack.enter_context(connected(self.settings, self._folder, self._base))
            if not self.shared:
                store.migrate()
            store.check()
            stack.pop_all()
        return store

    def close(self) -> None:
        """Closes it for good. May be called again, and in a forked process, where it does nothing."""
        if os.getpid() != self._process:
            return
        with self._lock:
            self._closed = True
            if self._store is not None:
                self._store.close()
            self._store = None
