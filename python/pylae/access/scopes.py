"""Scopes: what a token of the admin API allows. None of them contains another one, except that two also read."""

from __future__ import annotations

from dataclasses import dataclass

READ = "read"
"""To look at everything, except for the live tail."""
OPERATE = "operate"
"""To drain, reset, purge, revoke, switch maintenance, and to watch the tail; and to read."""
CONFIGURE = "configure"
"""To put configurations in force, and to manage tokens; and to read."""
REGISTER = "register"
"""To register instances of one service, which is named: `register:SERVICE`."""

_READERS = frozenset({OPERATE, CONFIGURE})


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


UNLIMITED = Scopes(unlimited=True)
NOTHING = Scopes()


def registering(service: str) -> str:
    """Returns the scope to register instances of a service."""
    return f"{REGISTER}:{service}"
