"""Scopes: what a token of the admin API allows. None of them contains another one, except that two also read."""

from __future__ import annotations

import re
from dataclasses import dataclass

READ = "read"
"""To look at everything, except for the live tail and traces."""
OPERATE = "operate"
"""To drain, reset, purge, revoke, switch maintenance, to watch the tail and to trace requests; and to read."""
CONFIGURE = "configure"
"""To put configurations in force, and to manage tokens; and to read."""
REGISTER = "register"
"""To register instances of one service, which is named: `register:SERVICE`."""

MOST = 32
"""Scopes of a token."""
_READERS = frozenset({OPERATE, CONFIGURE})
_SCOPE = re.compile(rf"{READ}|{OPERATE}|{CONFIGURE}|{REGISTER}:[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{{0,199}}")


@dataclass(frozen=True, slots=True)
class Scopes:
    """The scopes of a caller. `unlimited` is for the gateway's own token and its own user."""

    names: frozenset[str] = frozenset()
    unlimited: bool = False

    def allow(self, needed: str) -> bool:
        """Whether a request that needs this scope is allowed."""
        if self.unlimited or needed in self.names:
            return True
        return needed == READ and not self.names.isdisjoint(_READERS)

    def missing(self, wanted: frozenset[str]) -> list[str]:
        """Returns those of other scopes that are not allowed by these."""
        return sorted(one for one in wanted if not self.allow(one))


UNLIMITED = Scopes(unlimited=True)
NOTHING = Scopes()


def registering(service: str) -> str:
    """Returns the scope to register instances of a service."""
    return f"{REGISTER}:{service}"


def is_scope(text: str) -> bool:
    """Whether a token can have this scope."""
    return _SCOPE.fullmatch(text) is not None


def may_register(names: frozenset[str]) -> bool:
    """Whether one of the scopes is to register instances."""
    return any(one.startswith(f"{REGISTER}:") for one in names)
