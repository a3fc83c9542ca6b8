"""What a sink does with an export."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Accept:
    """Takes it: 200, or `OK`. With `rejected` or a `message` by a partial success (OTLP, section "Partial Success")."""

    delay: float = 0.0
    """Seconds until it answers."""
    rejected: int = 0
    """How many spans, points or records of the export it says it has not taken. All are kept all the same."""
    message: str = ""


@dataclass(frozen=True)
class Refuse:
    """Takes nothing of it. Over gRPC 429 is `RESOURCE_EXHAUSTED`, 400 `INVALID_ARGUMENT`, 401 `UNAUTHENTICATED`, and
    any other status `UNAVAILABLE`."""

    status: int = 503
    retry_after: str | None = None
    """Value of `Retry-After`. Over gRPC it has to be a number of seconds, which may be a fraction: a `RetryInfo`."""
    message: str = "refused by the test"


@dataclass(frozen=True)
class Hang:
    """Takes nothing of it and never answers, until the sink stops."""


@dataclass(frozen=True)
class Close:
    """Closes the connection without an answer, and takes nothing. Over gRPC use a `support.relay.Relay` instead."""


Reply = Accept | Refuse | Hang | Close
