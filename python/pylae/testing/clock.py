"""A clock that a test controls."""

from __future__ import annotations

from datetime import timedelta

from pylae.units import DurationLike, parse_duration

__all__ = ["FakeClock"]


class FakeClock:
    """A clock that stands still until a test moves it, for the primitives: `TokenBucket(…, clock=clock)`.

    It returns nanoseconds and starts at noon on 1 January 2030 UTC, so it works as a wall clock too. A gateway does not
    use it; see `RunningGateway.advance` instead.
    """

    def __init__(self, start: int = 1_893_499_200_000_000_000) -> None:
        self.now = start
        """The time in nanoseconds. You may set it."""

    def __call__(self) -> int:
        return self.now

    def advance(self, span: DurationLike) -> None:
        """Moves the clock forward by seconds, a text such as "1m", or a `timedelta`. Raises ValueError."""
        self.now += parse_duration(span) // timedelta(microseconds=1) * 1000
