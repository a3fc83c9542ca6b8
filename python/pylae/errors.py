"""The exceptions of Pylae.

PylaeError
├── ConfigError   a configuration that cannot be used; carries every problem found
├── ConflictError a change based on an outdated revision
├── EngineError   the native side could not start, apply or stop
├── HookError     a hook or plugin is not usable
├── HTTPError     raised by a hook to answer its request
├── RegistryError an instance cannot be registered
├── StoreError    the store cannot be used as it is
│   ├── CompactedError          a watch begins before what the store still knows
│   ├── LeaseExpiredError       a lease is over
│   └── StoreUnavailableError   the store does not answer
└── UnavailableError   a circuit breaker or load balancer lets nothing through
    └── CircuitBreakerOpenError   a circuit breaker is open
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

_NAME, _VALUE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"), re.compile(r"[\t -~\x80-\xff]*")
"""Names and values of fields (RFC 9110 section 5)."""
_FRAMING = frozenset(
    ("connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)


class PylaeError(Exception):
    """Base class of all exceptions of Pylae."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a configuration: what is wrong, where, and what to do.

    `line` and `column` count from 1. `file` is None if the configuration was built in Python at an unknown place.
    """

    file: str | None
    line: int | None
    column: int | None
    path: str
    message: str
    hint: str | None = None

    @property
    def in_code(self) -> bool:
        """Whether the place is a call in a program, of which only the line is known."""
        return self.line is not None and self.column is None

    @property
    def place(self) -> str:
        """`file:line:column`, as far as known."""
        parts = [part for part in (self.file, self.line, self.column) if part is not None]
        return ":".join(str(part) for part in parts)

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.place, self.path) if part)
        text = f"{head}: {self.message}" if head else self.message
        return f"{text} ({self.hint})" if self.hint else text


class ConfigError(PylaeError):
    """A configuration that cannot be used. `problems` are all problems, in the order of the source.

    `files` are the files that were read, with the hashes of their content (None if unreadable), so that a watcher knows
    which files to follow.
    """

    def __init__(self, problems: Iterable[Problem], files: Mapping[Path, str | None] | None = None) -> None:
        self.problems = tuple(problems)
        self.files = dict(files or {})
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConflictError(PylaeError):
    """A change based on a revision that is no longer in force."""


class RegistryError(PylaeError):
    """An instance cannot be registered."""


class OwnedError(RegistryError):
    """An instance was registered by another one, who alone may beat for it and remove it."""


class StoreError(PylaeError):
    """The store cannot be used as it is, or was called wrongly. `hint` says what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        self.hint = hint
        super().__init__(message)


class CompactedError(StoreError):
    """The store has forgotten events that a watch still needs: read everything again, and watch from there."""


class LeaseExpiredError(StoreError):
    """A lease is over, and with it the keys that were put with it."""


class NoEntryError(StoreError):
    """The history has no entry with this number, or not any more."""


class StoreUnavailableError(StoreError):
    """The store does not answer, or not in time. What was to be changed may have been changed: read it again."""


class EngineError(PylaeError):
    """The native side could not start, apply a plan or stop."""


class HookError(PylaeError):
    """A hook or plugin cannot be used as it is written."""


class HTTPError(PylaeError):
    """Raise it in a hook to answer the request with a problem document (RFC 9457), like the gateway's own errors.

    `detail` is a sentence for the client. Raises ValueError for a status outside 400 to 599, and for a header that
    cannot be sent.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    ) -> None:
        if status not in range(400, 600):
            raise ValueError(f"the status of an HTTPError must be 400 to 599, not {status!r}")
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        self.status = status
        self.detail = detail or next((known.phrase for known in HTTPStatus if known == status), "")
        self.headers = [(name, value) for name, value in pairs]
        for name, value in self.headers:
            if not (
                isinstance(name, str) and isinstance(value, str) and _NAME.fullmatch(name) and _VALUE.fullmatch(value)
            ):
                raise ValueError(
                    f"the header {name!r} cannot be sent: the name must be a token, and the value printable Latin-1"
                )
            if name.lower() in _FRAMING:
                raise ValueError(f"the header {name!r} cannot be set, because the gateway frames the message itself")
        super().__init__(f"{status}: {self.detail}" if self.detail else str(status))


class UnavailableError(PylaeError):
    """A `CircuitBreaker` is open, or a `LoadBalancer` has no usable instance.

    `retry_after` is the time in seconds until the next try makes sense; 0 if that depends on others, such as a test
    request in progress.
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class CircuitBreakerOpenError(UnavailableError):
    """A `CircuitBreaker` is open, so the call was not made."""
