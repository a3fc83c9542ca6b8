"""Begins a roll-out, and cancels it: what people do. What follows is the coordinator's."""

from __future__ import annotations

from dataclasses import dataclass

from pylae.errors import ConflictError
from pylae.fleet import head
from pylae.fleet.head import Head
from pylae.fleet.records import ROLLOUT, Rollout, read
from pylae.history.history import History
from pylae.store.store import Compare, Put, Store


@dataclass(frozen=True, slots=True)
class Present:
    """The latest roll-out and the head, and the revision of the roll-out's key."""

    rollout: Rollout | None
    revision: int
    head: Head

    @property
    def is_running(self) -> bool:
        """Whether a roll-out is going on."""
        return self.rollout is not None and not self.rollout.is_over

    def refuse_second(self) -> None:
        """Raises ConflictError if a roll-out is going on."""
        if self.rollout is not None and self.is_running:
            by = f"{self.rollout.author} has begun it at {self.rollout.started:%H:%M:%S} UTC"
            raise ConflictError(
                f"configuration {self.rollout.number} is being rolled out; {by}. "
                "Wait for its end, or cancel it: POST /rollout/cancel, pylae apply --cancel"
            )


def present(store: Store) -> Present:
    """Reads both. Raises StoreError."""
    found = store.get(ROLLOUT)
    # The head after the roll-out: a roll-out that is done has changed it.
    now = head.read(store)
    if found is None:
        return Present(None, 0, now)
    return Present(read(Rollout, ROLLOUT, found.value), found.revision, now)


def begun(before: Present, rollout: Rollout) -> tuple[list[Put], list[Compare]]:
    """Returns what begins a roll-out, in the transaction that adds its configuration to the history, and on which
    conditions. Raises ConflictError if another one is going on.
    """
    before.refuse_second()
    return [Put(ROLLOUT, rollout.encoded())], [Compare(ROLLOUT, before.revision), before.head.compare]


def cancel(store: Store, who: str) -> Rollout:
    """Ends the roll-out that is going on: the first node returns to what all others have. Returns it as it ended.

    Raises ConflictError if there is none, and StoreError.
    """
    while True:
        found = present(store)
        if found.rollout is None or found.rollout.is_over:
            raise ConflictError("no configuration is being rolled out")
        after = found.rollout.over("cancelled", f"{who} has cancelled it")
        changes = [Put(ROLLOUT, after.encoded()), *History(store).with_outcome(after.number, after.stage)]
        if store.txn([Compare(ROLLOUT, found.revision)], changes) is not None:
            return after
