"""A clock that a test moves."""

from __future__ import annotations

from datetime import timedelta

from pylae.units import DurationLike, parse_duration

__all__ = ["FakeClock"]


class FakeClock:
    """Stands still until it is moved. For the primitives of `pylae`, which take a clock: `TokenBucket(…, clock=clock)`.

    It gives nanoseconds and begins at noon on 1 January 2030 UTC, so that it can be a wall clock too. The data plane of
    a gateway has no such clock; what can be done there is `RunningGateway.advance`.
    """

    def __init__(self, start: int = 1_893_499_200_000_000_000) -> None:
        self.now = start
        """Nanoseconds; may be set."""

    def __call__(self) -> int:
        return self.now

    def advance(self, span: DurationLike) -> None:
        """Moves it forward by seconds, a text such as "1m", or a `timedelta`. Raises ValueError."""
        self.now += parse_duration(span) // timedelta(microseconds=1) * 1000
