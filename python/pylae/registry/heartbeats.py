"""What becomes of registrations: other nodes are told of them, and they outlive a restart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pylae import state
from pylae.config.models.service import Service
from pylae.registry.sharing import RegistryStore
from pylae.registry.source import Source
from pylae.registry.sources.heartbeat import HeartbeatSource, share

log = logging.getLogger("pylae.registry")

_NAME = "registered.json"
_KEEP = 1.0
"""Least seconds between two times that registrations are written down."""
_ASK = 1.0
"""Seconds between two times that the store of the cluster is asked what other nodes know of registrations."""
_ASK_AGAIN = 0.1
"""Least seconds between them, if there is something to tell."""

Sources = Mapping[str, tuple[Service, Source[Any]]]


class Heartbeats:
    """The sources among those that are followed which instances beat for.

    `changed` is called when other nodes know of other instances. `now` and `wall` are clocks, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        store: RegistryStore,
        followed: Callable[[], Sources],
        changed: Callable[[], None],
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        state.sweep(folder, _NAME)
        self._file, self._store = folder / _NAME, store
        self._followed, self._changed, self._now, self._wall = followed, changed, now, wall
        self._to_tell = asyncio.Event()

    def _beating(self) -> list[HeartbeatSource]:
        return [source for _, source in self._followed().values() if isinstance(source, HeartbeatSource)]

    def tell(self) -> None:
        """Has other nodes told soon of what has happened. On the loop of `share_always`."""
        self._to_tell.set()

    def share(self, sources: Iterable[Source[Any]]) -> bool:
        """Shares registrations with other nodes. Returns whether there are others now. Blocks."""
        beating = [source for source in sources if isinstance(source, HeartbeatSource) and source.context.store]
        return bool(beating) and share(self._store, beating, self._now)

    async def share_always(self) -> None:
        """Shares registrations with other nodes every second, and at once if there is something to tell."""
        said: str | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._to_tell.wait(), _ASK)
            self._to_tell.clear()
            beating = self._beating()
            if not self._store.attached or not beating:
                continue
            try:
                if await asyncio.get_running_loop().run_in_executor(self._store.threads(), self.share, beating):
                    self._changed()
                if any(one.is_behind for one in beating):
                    self._to_tell.set()
                said = None
            except Exception as error:
                if (text := f"{type(error).__name__}: {error}") != said:
                    said = text
                    log.exception("registrations cannot be shared with other nodes, trying again")
            await asyncio.sleep(_ASK_AGAIN)

    def restore(self, source: HeartbeatSource) -> None:
        """Gives a new source what was written down of its service."""
        try:
            kept = json.loads(self._file.read_bytes()).get(source.context.service, [])
            source.restore(kept, self._now(), self._wall())
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:
            log.error("the registrations in %s cannot be read (%s)", self._file, type(error).__name__)

    async def keep_going(self) -> None:
        """Writes down who is registered every second, if anything has happened."""
        while True:
            await asyncio.sleep(_KEEP)
            self.keep()

    def keep(self) -> None:
        """Writes down who is registered, if anything has happened since."""
        beating = self._beating()
        if not any(source.beaten for source in beating):
            return
        for source in beating:
            source.beaten = False
        now, wall = self._now(), self._wall()
        data = json.dumps({source.context.service: source.kept(now, wall) for source in beating})
        try:
            state.write(self._file, data.encode(), durable=False)
        except OSError as error:
            log.error("registrations cannot be written down: %s", error.strerror)
