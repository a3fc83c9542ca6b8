"""Who calls the admin API. The guard finds out; whatever is kept of a change says it."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from pylae.access.tokens import Bearer

_KEY = "pylae.caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        name: What people know it by: the name of its token, `admin` for the gateway's own one, or `local` at the socket
            in the state folder, if it presents no token there.
        address: The address that it calls from; None at a socket of this machine.
        bearer: The token, and what it may do.
        user: The user of the operating system; None but at the socket in the state folder.
    """

    name: str
    address: str | None
    bearer: Bearer
    user: str | None = None


def note(scope: MutableMapping[str, Any], caller: Caller) -> None:
    """Notes who sends a request."""
    scope[_KEY] = caller


def caller_in(scope: MutableMapping[str, Any]) -> Caller:
    """Returns who sends the request of an ASGI scope. The guard has noted it."""
    caller: Caller = scope[_KEY]
    return caller


def caller_of(request: Request) -> Caller:
    """Returns who sends a request. The guard has noted it."""
    return caller_in(request.scope)
