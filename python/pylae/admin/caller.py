"""Who calls the admin API. The guard finds out; whatever is kept of a change says it."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

_KEY = "pylae.caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        name: What people know it by: the name of its token, or `local` at the socket in the state folder.
        address: The address that it calls from; None at a socket of this machine.
    """

    name: str
    address: str | None


def note(scope: MutableMapping[str, Any], caller: Caller) -> None:
    """Notes who sends a request."""
    scope[_KEY] = caller


def caller_of(request: Request) -> Caller:
    """Returns who sends a request. The guard has noted it."""
    caller: Caller = request.scope[_KEY]
    return caller
