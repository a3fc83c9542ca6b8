"""Begins a roll-out, and cancels it: what people do. What follows is the coordinator's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pylae.errors import ConflictError
from pylae.fleet import head
from pylae.fleet.head import Head
from pylae.fleet.records import ROLLOUT, Rollout, read
from pylae.store.store import Compare, Put, Store


@dataclass(frozen=True, slots=True)
class Present:
    """The latest roll-out and the head, and the revision of the roll-out's key."""

    rollout: Rollout | None
    revision: int
    head: Head

    def refuse_second(self) -> None:
        """Raises ConflictError if a roll-out is going on."""
        if self.rollout is not None and not self.rollout.is_over:
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


def begin(store: Store, before: Present, rollout: Rollout, changes: Sequence[Put], compares: Sequence[Compare]) -> None:
    """Begins a roll-out, together with `changes` of the history, all or nothing, if nothing has changed since `before`.

    Raises ConflictError or StoreError.
    """
    before.refuse_second()
    conditions = [Compare(ROLLOUT, before.revision), before.head.compare, *compares]
    if store.txn(conditions, [*changes, Put(ROLLOUT, rollout.encoded())]) is None:
        present(store).refuse_second()
        raise ConflictError("somebody else has changed the configuration of the fleet meanwhile; look at it, and try again")


def cancel(store: Store, who: str) -> Rollout:
    """Ends the roll-out that is going on: the first node returns to what all others have. Returns it as it ended.

    Raises ConflictError if there is none, and StoreError.
    """
    while True:
        found = present(store)
        if found.rollout is None or found.rollout.is_over:
            raise ConflictError("no configuration is being rolled out")
        after = found.rollout.over("cancelled", f"{who} has cancelled it")
        if store.txn([Compare(ROLLOUT, found.revision)], [Put(ROLLOUT, after.encoded())]) is not None:
            return after
