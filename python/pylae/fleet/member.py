"""What a node does about the head and a roll-out: it checks, puts in force, and says how it went."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from pylae.errors import PylaeError, StoreUnavailableError
from pylae.fleet.figures import Figures
from pylae.fleet.records import Refused, Rollout, told

log = logging.getLogger("pylae.cluster")

AGAIN = 60.0
"""Seconds after which a node tries the head again that it has refused: what it needed may be there now."""


class Local(Protocol):
    """What a node can do with a configuration of the history."""

    def check(self, number: int) -> None:
        """Checks it without putting it in force. Raises PylaeError or OSError."""

    def apply(self, number: int, *, keep: bool) -> None:
        """Puts it in force; with `keep`, also in place of the last good copy. 0 is nothing, as before the first one.

        Raises PylaeError or OSError.
        """

    def keep(self, number: int) -> None:
        """Makes what is in force the last good copy, because it has become the head. Raises OSError."""

    def lately(self, window: float) -> Figures:
        """Returns the figures of the last seconds. Raises PylaeError."""


class Member:
    """This node, as the fleet wants it. `step` says what to do, `run` does it, perhaps on another thread."""

    def __init__(
        self,
        node: str,
        local: Local,
        in_force: int,
        clock: Callable[[], float] = monotonic,
        *,
        kept: int | None = None,
        failed: Refused | None = None,
    ) -> None:
        """`node` is its id, `in_force` what it has already, `kept` the last good copy, and `failed` what it could not
        begin with.
        """
        self._node, self._local, self._clock = node, local, clock
        self._retry_at = clock() + AGAIN
        self._kept = in_force if kept is None else kept
        self._is_trial = False
        self.in_force = in_force
        self.target = in_force
        self.checked: Refused | None = None
        self.failed = failed
        self.before: Figures | None = None

    def step(self, head: int, rollout: Rollout | None) -> Callable[[], None] | None:
        """Returns what is to be done next, which may take long; None if there is nothing."""
        target = rollout.target_of(self._node, head) if rollout is not None else head
        self.target = target
        if rollout is not None and rollout.stage == "checking" and not self._has_checked(rollout.number):
            return lambda: self._check(rollout.number)
        if not target and not self._is_trial:
            # Nothing was ever applied, or the store has lost it: what was the head is no reason to stop serving.
            return None
        if target == self.in_force:
            self.failed = None
            return (lambda: self._keep(target)) if target == head and self._kept != head else None
        has_failed = self.failed is not None and self.failed.number == target
        # What is rolled out has one try. The head has been accepted before.
        if has_failed and (target != head or self._clock() < self._retry_at):
            return None
        window = rollout.observe if rollout is not None and target != head else None
        return lambda: self._apply(target, window, keep=target == head)

    def retry(self) -> None:
        """Tries the head again at the next step: what the node has of its own has changed."""
        self._retry_at = 0.0

    def _has_checked(self, number: int) -> bool:
        return self.checked is not None and self.checked.number == number

    def _check(self, number: int) -> None:
        try:
            self._local.check(number)
        except StoreUnavailableError:
            # It will be tried again: that says nothing about the configuration.
            return
        except Exception as error:
            log.warning("this node refuses configuration %d:\n%s", number, error)
            self.checked = Refused(number=number, problems=_why(error))
        else:
            self.checked = Refused(number=number)

    def _apply(self, number: int, window: float | None, *, keep: bool) -> None:
        try:
            before = self._local.lately(window) if window is not None else None
            self._local.apply(number, keep=keep)
        except StoreUnavailableError:
            return
        except Exception as error:
            problems = _why(error)
            if self.failed is None or (self.failed.number, self.failed.problems) != (number, problems):
                log.error("configuration %d cannot be in force on this node, which stays as it is:\n%s", number, error)
            self._retry_at = self._clock() + AGAIN
            self.failed = Refused(number=number, problems=problems)
            return
        self.in_force, self.before, self.failed = number, before, None
        self._is_trial = not keep
        if keep:
            self._kept = number

    def _keep(self, number: int) -> None:
        # Whether it could be kept or not: it is tried once.
        self._kept, self._is_trial = number, False
        try:
            self._local.keep(number)
        except OSError as error:
            log.error("configuration %d cannot be kept for a start without the store: %s", number, error)


def _why(error: Exception) -> tuple[str, ...]:
    """Returns what others are told. A fault of Pylae may say anything, secrets included."""
    if isinstance(error, PylaeError | OSError):
        return told(error)
    log.error("fault while a configuration was checked or applied", exc_info=error)
    return ("a fault of this node: its log has the details",)
