"""Whether a server that says who users are can be asked, and how long not."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from pylae.errors import HTTPError
from pylae.identity.failures import AnswerError, AwayError
from pylae.registry.client import ApiError

log = logging.getLogger("pylae.auth")

_TOLERATED = 3
"""Failures in a row after which it is asked less often."""
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


class Outage:
    """Counts failures in a row. After some of them, one request at a time tries again, after ever longer pauses."""

    def __init__(self, name: str, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`name` is that of the authenticator, for the log; `patience` is how long one try may take, in seconds."""
        self._name, self._patience, self._clock = name, patience, clock
        self._failures = 0
        self._until = 0.0
        self._reason: str | None = None

    def admit(self) -> None:
        """Admits a call, or raises HTTPError (503) with the time until the next one makes sense."""
        if self._failures < _TOLERATED:
            return
        wait = self._until - self._clock()
        if wait > 0:
            raise unavailable(wait)
        # This call is the try; others wait for what comes of it.
        self._until = self._clock() + self._patience

    def failed(self, error: ApiError | AnswerError) -> HTTPError:
        """Notes a failure, and returns what the client is told. The log says each reason once in a row.

        Whoever sends what a server cannot answer must not shut out others: only a server that is away is left alone.
        """
        away = isinstance(error, ApiError | AwayError)
        self._failures = self._failures + 1 if away else 0
        pause = 0.0
        if self._failures >= _TOLERATED:
            pause = min(_FIRST_PAUSE * 2.0 ** min(self._failures - _TOLERATED, 8), _LONGEST_PAUSE)
        self._until = self._clock() + pause
        reason = str(error) if isinstance(error, ApiError) else f"an answer cannot be used ({error})"
        if reason != self._reason:
            log.warning("authenticator %s cannot tell who users are: %s", self._name, reason)
        self._reason = reason
        return unavailable(pause or _FIRST_PAUSE)

    def succeeded(self) -> None:
        """Notes that it has answered."""
        if self._reason is not None:
            log.info("authenticator %s can tell again who users are", self._name)
        self._failures, self._reason = 0, None


def unavailable(wait: float) -> HTTPError:
    """Returns what a client is told whose credential cannot be checked for `wait` seconds."""
    return HTTPError(503, "it cannot be told who the user is", {"Retry-After": str(max(1, math.ceil(wait)))})
