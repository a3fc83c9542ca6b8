"""What limiters return."""

from __future__ import annotations

from dataclasses import dataclass

from pylae.engine import NativeReservation
from pylae.primitives.given import MOST, Clock, count, now

__all__ = ["Decision", "Reservation"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of a limiter. It is true if the cost was taken."""

    admitted: bool
    remaining: int
    """How much may still be taken now."""
    retry_after_ns: int | None
    """Nanoseconds until the same cost is admitted if nothing else is taken: 0 if it was admitted, None for never."""
    reset_ns: int
    """Nanoseconds until the whole limit is available again if nothing more is taken."""

    def __bool__(self) -> bool:
        return self.admitted

    @property
    def retry_after(self) -> float | None:
        """`retry_after_ns` in seconds."""
        return None if self.retry_after_ns is None else self.retry_after_ns / 1e9

    @property
    def reset(self) -> float:
        """`reset_ns` in seconds."""
        return self.reset_ns / 1e9


class Reservation:
    """A cost that was only estimated. It is true if the estimate was taken; `settle` then corrects it."""

    def __init__(self, decision: Decision, native: NativeReservation, clock: Clock) -> None:
        self.decision = decision
        """What the limiter has decided on the estimate."""
        self._native, self._clock = native, clock

    def __bool__(self) -> bool:
        return self.decision.admitted

    def settle(self, cost: int) -> None:
        """Replaces the estimate by the true cost. A reservation that is dropped without it keeps its estimate.

        If the estimate was too high, the rest comes back, as far as it still counts: not into a window that has passed,
        and not what a bucket has refilled since. If it was too low, the rest is debt, at most one limit. Raises
        ValueError for a negative cost, if the estimate was refused, and if the reservation is settled already.
        """
        if not self:
            raise ValueError("nothing was reserved: the limiter has refused the estimate")
        if not self._native.settle(now(self._clock), count(min(cost, MOST))):
            raise ValueError("the reservation is settled already")
