"""The journal of a gateway: what is put in force waits here, as small files, until something opens the store."""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from pylae import state
from pylae.errors import StoreError, StoreUnavailableError
from pylae.history.content import Content, ContentError, unpack
from pylae.history.entry import MOST_NAME, MOST_REASON, Cause, How, line
from pylae.history.history import History
from pylae.state.owner import acting

log = logging.getLogger("pylae.store")

FOLDER = "history"
"""The folder in the state folder."""
_LATEST = "latest.json"
"""Says what was recorded last, once it has left the journal."""
_ENDING = ".json"
_PATIENCE = 5.0
"""Seconds to wait while another process moves entries."""
_LOOK = 0.02
"""Seconds between two looks at whether it has finished."""


class _Record(BaseModel):
    """A file of the journal."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    version: Literal[1] = 1
    at: AwareDatetime
    how: How
    author: str
    reason: str | None
    returns_to: int | None
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    content: str

    @property
    def cause(self) -> Cause:
        return Cause(self.how, self.author, self.reason, self.returns_to)

    def document(self) -> object:
        """Raises ContentError."""
        try:
            return unpack(Content(self.digest, base64.b64decode(self.content, validate=True)))
        except binascii.Error:
            raise ContentError("its content is not base64") from None


class Journal:
    """The journal in one state folder. Several processes can use it at once."""

    def __init__(self, folder: Path, most: int) -> None:
        """`folder` is the state folder. Of more than `most` entries, the oldest are dropped."""
        self._folder, self._most = folder / FOLDER, most
        self._moving = threading.Lock()
        state.sweep(self._folder)

    def latest(self) -> str | None:
        """Returns the digest of what was recorded last, or None if it is not known."""
        for file in [*reversed(self._files()), self._folder / _LATEST]:
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                digest = json.loads(file.read_bytes())["digest"]
                return digest if isinstance(digest, str) else None
        return None

    def add(self, content: Content, cause: Cause) -> None:
        """Adds an entry. Once this returns, it outlives a crash. Raises OSError."""
        files = self._files()
        record = _Record(
            at=datetime.now(UTC),
            how=cause.how,
            author=line(cause.author, MOST_NAME),
            reason=line(cause.reason, MOST_REASON) if cause.reason else None,
            returns_to=cause.returns_to,
            digest=content.digest,
            content=base64.b64encode(content.packed).decode("ascii"),
        )
        # Later entries have later names, whatever the clock says.
        moment = max(time.time_ns(), _moment(files[-1]) + 1 if files else 0)
        name = f"{moment:020}-{secrets.token_hex(8)}{_ENDING}"
        state.write(self._folder / name, record.model_dump_json().encode())
        for file in files[: max(0, len(files) + 1 - self._most)]:
            log.warning("the oldest entry of the history was dropped before it was in the store: %s", file)
            state.remove(file)

    def move(self, history: History, keep: int) -> None:
        """Moves all entries into the store, where `keep` stay. Whoever is killed in between, none is there twice.

        Raises StoreError; then the rest is still here.
        """
        with self._lock():
            files = self._files()
            if not files:
                return
            since, known = history.head(), history.latest_ids()
            for file in files:
                self._move(file, history, known, is_last=file is files[-1])
            history.tidy(keep, since=since)

    def _move(self, file: Path, history: History, known: Collection[str], *, is_last: bool) -> None:
        """Moves one entry, unless it is among those that are known to be in the store."""
        try:
            record = _Record.model_validate_json(file.read_bytes())
            document = record.document()
        except FileNotFoundError:
            # It was dropped, because there were too many.
            return
        except (OSError, ValueError) as error:
            self._put_aside(file, error)
            return
        if file.stem not in known:
            history.append(document, record.cause, at=record.at, entry_id=file.stem)
        try:
            if is_last:
                state.write(self._folder / _LATEST, json.dumps({"version": 1, "digest": record.digest}).encode())
            state.remove(file)
        except OSError as error:
            raise StoreError(f"{file} cannot be removed, so the history waits: {error.strerror}") from None

    def _put_aside(self, file: Path, error: OSError | ValueError) -> None:
        aside = file.with_suffix(".damaged")
        why = (
            f"it is not what was written: {error.errors(include_url=False)[0]['msg']}"
            if isinstance(error, ValidationError)
            else error
        )
        log.error("an entry of the history cannot be read, and is now %s: %s", aside, why)
        try:
            file.rename(aside)
        except OSError as failed:
            raise StoreError(f"{file} cannot be renamed, so the history waits: {failed.strerror}") from None

    def _files(self) -> list[Path]:
        try:
            with acting(), os.scandir(self._folder) as found:
                names = sorted(one.name for one in found if one.name.endswith(_ENDING) and one.name[0].isdigit())
        except OSError:
            return []
        return [self._folder / name for name in names]

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Keeps others from moving entries, here and in other processes."""
        with self._moving:
            try:
                descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                yield
                return
            except OSError as error:
                raise StoreError(f"{self._folder} cannot be opened: {error.strerror}") from None
            try:
                self._take(descriptor)
                yield
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            finally:
                os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    text = f"another process moves the entries in {self._folder} and does not finish"
                    raise StoreUnavailableError(text, "is another gateway with this state folder stopped?") from None
                time.sleep(_LOOK)
            except OSError as error:
                raise StoreError(f"{self._folder} cannot be locked: {error.strerror}") from None
            else:
                return


def _moment(file: Path) -> int:
    text = file.name.partition("-")[0]
    return int(text) if text.isdecimal() else 0
