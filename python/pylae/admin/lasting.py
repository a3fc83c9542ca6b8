"""A thread that restarts its work when it ends, as long as the gateway runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger("pylae.admin")

FIRST, LONGEST = 0.1, 5.0
"""Seconds before the work begins anew: after it has ended for the first time, and at most."""
STEADY = 60.0
"""Seconds of work after which the next end counts as the first one again."""
FAREWELL = 5.0
"""Seconds to wait for the thread at the end."""


class Lasting:
    """Runs `work` on its own thread. `what` names it in the log if the work returns or raises."""

    def __init__(self, name: str, what: str, work: Callable[[], None]) -> None:
        self.stopped = threading.Event()
        """Set to end the work."""
        self.restarts = 0
        """How often the work was restarted."""
        self._what, self._work = what, work
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def join(self) -> None:
        """Waits for the end, after `stopped` was set and the work was told."""
        if threading.current_thread() is not self._thread:
            self._thread.join(FAREWELL)

    def _run(self) -> None:
        pause = FIRST
        while not self.stopped.is_set():
            began = time.monotonic()
            try:
                self._work()
                failure = None
            except BaseException as error:  # a SystemExit that ends the loop is no reason to be gone
                failure = error
            if self.stopped.is_set():
                return
            if time.monotonic() - began > STEADY:
                pause = FIRST
            log.error("%s has ended unexpectedly and restarts in %g s", self._what, pause, exc_info=failure)
            del failure  # and what its frames hold
            self.stopped.wait(pause)
            self.restarts += 1
            pause = min(pause * 2, LONGEST)
