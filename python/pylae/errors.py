"""What can go wrong, as exceptions.

PylaeError
├── ConfigError   a configuration that cannot be used; carries every problem found
├── ConflictError a change of something that somebody else has changed meanwhile
├── EngineError   the native side could not start, apply or stop
├── HookError     a hook or plugin is not usable
├── HTTPError     raised by a hook: the answer to its request
├── RegistryError an instance cannot be registered
└── UnavailableError   a circuit breaker or load balancer lets nothing through
    └── CircuitBreakerOpenError   it is a circuit breaker
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
    """The root of everything that Pylae raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration, where it stands, and what to do about it.

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
        """Whether it stands in a program, of whose calls the line is known and no column."""
        return self.line is not None and self.column is None

    @property
    def place(self) -> str:
        """`file:line:column`, as much of it as is known."""
        parts = [part for part in (self.file, self.line, self.column) if part is not None]
        return ":".join(str(part) for part in parts)

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.place, self.path) if part)
        text = f"{head}: {self.message}" if head else self.message
        return f"{text} ({self.hint})" if self.hint else text


class ConfigError(PylaeError):
    """A configuration that cannot be used. `problems` holds all that were found, in the order of the source.

    `files` are the files that were read on the way and the hashes of what they held (None: nothing to be read), so that
    a watcher knows what to wait for.
    """

    def __init__(self, problems: Iterable[Problem], files: Mapping[Path, str | None] | None = None) -> None:
        self.problems = tuple(problems)
        self.files = dict(files or {})
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConflictError(PylaeError):
    """A change that was made for a state of things that is no longer the one in force."""


class RegistryError(PylaeError):
    """An instance cannot be registered."""


class EngineError(PylaeError):
    """The native side could not start, apply a plan or stop."""


class HookError(PylaeError):
    """A hook or plugin cannot be used as it is written."""


class HTTPError(PylaeError):
    """Raised by a hook, it is the answer to the request: a problem document like the gateway's own (RFC 9457).

    `detail` is a sentence for whoever has sent the request. Raises ValueError for a status that is not 400 to 599, and
    for a header that cannot be sent.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    ) -> None:
        if status not in range(400, 600):
            raise ValueError(f"the status of an HTTPError is 400 to 599, not {status!r}")
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        self.status = status
        self.detail = detail or next((known.phrase for known in HTTPStatus if known == status), "")
        self.headers = [(name, value) for name, value in pairs]
        for name, value in self.headers:
            if not (
                isinstance(name, str) and isinstance(value, str) and _NAME.fullmatch(name) and _VALUE.fullmatch(value)
            ):
                raise ValueError(f"the header {name!r} cannot be sent: a name is a token, a value printable Latin-1")
            if name.lower() in _FRAMING:
                raise ValueError(f"the header {name!r} frames the message, which the gateway does itself")
        super().__init__(f"{status}: {self.detail}" if self.detail else str(status))


class UnavailableError(PylaeError):
    """A `CircuitBreaker` is open, or a `LoadBalancer` has no instance that can be used.

    `retry_after` is the time in seconds until it is worth asking again; 0 if that depends on others, such as a probe
    that is under way.
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class CircuitBreakerOpenError(UnavailableError):
    """A `CircuitBreaker` is open: what was asked of it was not tried."""
