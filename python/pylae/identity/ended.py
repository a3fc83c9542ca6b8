"""Sessions that have ended before their time, on whichever node: each node refuses them."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence

from pylae.errors import EngineError
from pylae.store.following import Following, FollowingWords
from pylae.store.kept import Kept
from pylae.store.store import Event, Store

log = logging.getLogger("pylae.auth")

PREFIX = "sessions-ended/"
"""Keys of the store: each with the end that the session would have had, and as long as until then."""
_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_LONGEST = 401 * 24 * 3600.0
"""Seconds of the longest session."""
_MOST = 100_000
"""As many as an engine refuses at most."""
_WORDS = FollowingWords(
    log,
    "pylae-sessions",
    "sessions that end on other nodes are not known now: %s",
    "sessions that end on other nodes are known again",
    "the sessions that have ended cannot be followed, trying again",
)


class EndedSessions(Following):
    """Has the engine refuse sessions that have ended. All threads can use it.

    With a shared store a thread follows it. A gateway of its own only reads at its start what had ended before.
    """

    def __init__(self, kept: Kept, revoke: Callable[[str, str, float], None]) -> None:
        """`revoke` is `pylae.engine.Engine.revoke`."""
        super().__init__(kept, PREFIX, _WORDS)
        self._revoke = revoke
        self._lock = threading.Lock()
        self._known: dict[str, float] = {}
        self._wanted = False

    def want(self) -> None:
        """Says that there are sessions."""
        self._wanted = True

    def start(self) -> None:
        """Begins to follow, once the engine runs, if there are sessions. May be called again."""
        if self._wanted:
            self._begin()

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

    def _take_all(self, store: Store) -> int:
        with store.snapshot(PREFIX) as snapshot:
            for pair in snapshot.pairs:
                self._end(pair.key, pair.value)
            return snapshot.revision

    def _take(self, store: Store, events: Sequence[Event]) -> None:  # noqa: ARG002
        for event in events:
            if event.value is not None:
                self._end(event.key, event.value)

    def _end(self, key: str, value: bytes) -> None:
        session_id = key.removeprefix(PREFIX)
        try:
            ends = json.loads(value)["x"]
            if not _ID.fullmatch(session_id) or type(ends) is not int or ends > time.time() + _LONGEST:
                raise ValueError("it says nothing of a session")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            log.error("%s in the store does not count: %s", key, error)
            return
        self.refuse(session_id, ends)
