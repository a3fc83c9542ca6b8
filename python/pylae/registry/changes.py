"""The way of changed instances to the engine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor

from pylae.errors import PylaeError

log = logging.getLogger("pylae.registry")

_SELDOM = 0.25
"""Least seconds between two times that changes are handed over."""
_SHARE = 10
"""How many times as long as handing over took nothing is handed over after it, so that it never takes all of a core."""
_AGAIN = 1.0
"""Seconds after which changes that could not be handed over are tried again."""


class Changes:
    """Has `hand_over` called when there are changes: seldom, and again until it succeeds."""

    def __init__(self, hand_over: Callable[[], None]) -> None:
        self._hand_over, self._changed = hand_over, asyncio.Event()

    def tell(self) -> None:
        """Has the changes handed over soon. On the loop of `hand_over_always`."""
        self._changed.set()

    async def hand_over_always(self, thread: Executor) -> None:
        """Hands over what changes, on this thread."""
        said: str | None = None
        while True:
            await self._changed.wait()
            self._changed.clear()
            began, pause = time.monotonic(), _SELDOM
            try:
                await asyncio.get_running_loop().run_in_executor(thread, self._hand_over)
                said = None
            except Exception as error:
                # They are still to be handed over, with those that are found meanwhile.
                self._changed.set()
                pause = _AGAIN
                if (text := f"{type(error).__name__}: {error}") != said:
                    said = text
                    log.error(
                        "cannot apply the discovered instances, trying again: %s",
                        error,
                        exc_info=None if isinstance(error, PylaeError) else error,
                    )
            await asyncio.sleep(max(pause, (time.monotonic() - began) * _SHARE))
