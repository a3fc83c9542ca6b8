"""Sessions that have ended before their time, on whichever node: each node refuses them."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pylae.errors import CompactedError, EngineError, StoreError

if TYPE_CHECKING:
    from pylae.store.kept import Kept
    from pylae.store.store import Store

log = logging.getLogger("pylae.auth")

PREFIX = "sessions-ended/"
"""Keys of the store: each with the end that the session would have had, and as long as until then."""
_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_WAIT = 1.0
"""Seconds that a look at the store waits for news."""
_AGAIN = 1.0
"""Seconds until a store that is away is asked again."""
_FAREWELL = 5.0
_LONGEST = 401 * 24 * 3600.0
"""Seconds of the longest session."""
_MOST = 100_000
"""As many as an engine refuses at most."""


class EndedSessions:
    """Has the engine refuse sessions that have ended. All threads can use it.

    With a shared store a thread follows it. A gateway of its own only reads at its start what had ended before.
    """

    def __init__(self, kept: Kept, revoke: Callable[[str, str, float], None]) -> None:
        """`revoke` is `pylae.engine.Engine.revoke`."""
        self._kept, self._revoke = kept, revoke
        self._lock = threading.Lock()
        self._known: dict[str, float] = {}
        self._wanted = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble: str | None = None

    def want(self) -> None:
        """Says that there are sessions."""
        self._wanted = True

    def start(self) -> None:
        """Begins to follow, once the engine runs, if there are sessions. May be called again."""
        if self._wanted and self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(target=self._follow, name="pylae-sessions", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends it. May be called again."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_FAREWELL)

    def refuse(self, session_id: str, ends: float) -> None:
        """Refuses a session on this node, until it would have ended, in seconds since 1970."""
        now = time.time()
        with self._lock:
            if ends <= now or session_id in self._known:
                return
            if len(self._known) >= _MOST:
                self._known = {one: end for one, end in self._known.items() if end > now}
            self._known[session_id] = ends
        try:
            self._revoke("jti", session_id, ends - now)
        except EngineError as error:
            # It ends when it is looked up the next time, because the store has it no more.
            log.error("a session that has ended cannot be refused at once: %s", error)

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                store = self._kept.opened()
                revision = self._read(store)
                self._over()
                if not self._kept.shared:
                    return
                self._watch(store, revision)
            except CompactedError:
                continue
            except StoreError as error:
                self._say(error)
                self._stopped.wait(_AGAIN)
            except Exception:
                log.exception("the sessions that have ended cannot be followed, trying again")
                self._stopped.wait(_AGAIN)

    def _read(self, store: Store) -> int:
        with store.snapshot(PREFIX) as snapshot:
            for pair in snapshot.pairs:
                self._take(pair.key, pair.value)
            return snapshot.revision

    def _watch(self, store: Store, revision: int) -> None:
        with store.watch(PREFIX, revision) as watch:
            while not self._stopped.is_set():
                for event in watch.wait(_WAIT):
                    if event.value is not None:
                        self._take(event.key, event.value)

    def _take(self, key: str, value: bytes) -> None:
        session_id = key.removeprefix(PREFIX)
        try:
            ends = json.loads(value)["x"]
            if not _ID.fullmatch(session_id) or type(ends) is not int or ends > time.time() + _LONGEST:
                raise ValueError("it says nothing of a session")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            log.error("%s in the store does not count: %s", key, error)
            return
        self.refuse(session_id, ends)

    def _say(self, error: StoreError) -> None:
        if (said := str(error)) != self._trouble and not self._stopped.is_set():
            self._trouble = said
            log.warning("sessions that end on other nodes are not known now: %s", said)

    def _over(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.info("sessions that end on other nodes are known again")
