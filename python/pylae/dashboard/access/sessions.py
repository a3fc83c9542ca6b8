"""Sessions: who is logged in, with which tokens. They are kept in memory alone, and end with the dashboard."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pylae.access.scopes import CONFIGURE, OPERATE, READ
from pylae.dashboard.client import RefusedError, UnreachableError
from pylae.dashboard.nodes import Node

COOKIE = "pylae-dashboard"
LONGEST = 12 * 3600.0
"""Seconds that a session lasts."""
_IDLE = 3600.0
"""Seconds without a page being open after which a session ends."""
_MOST = 256
_PASS_LASTS = 600.0
"""Seconds that a pass is valid."""
_MOST_PASSES = 16
_WHY = {
    OPERATE: "your token may not operate this gateway (scope `operate`)",
    CONFIGURE: "your token may not configure this gateway (scope `configure`)",
    READ: "your token is not accepted by this gateway",
}


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do with a gateway.

    Attributes:
        token: What is presented to it; None at a local socket, by the pass of who started the dashboard.
        name: What the gateway knows the caller by.
        scopes: `read`, `operate`, `configure`, as far as they are allowed.
    """

    token: str | None
    name: str
    scopes: frozenset[str]


@dataclass(eq=False, slots=True)
class Session:
    """Somebody who is logged in.

    Attributes:
        access: What he may do, by gateway. He sees no other gateways.
        dark: Whether pages are dark; None as the system has it.
        node: The name of the only gateway to show, if not all.
        ended: Whether it was ended.
    """

    access: dict[Node, Access]
    began: float = field(default_factory=time.monotonic)
    used: float = field(default_factory=time.monotonic)
    dark: bool | None = None
    node: str | None = None
    ended: bool = False

    @property
    def alive(self) -> bool:
        """Whether it has neither been ended nor lasted too long."""
        now = time.monotonic()
        return not self.ended and now - self.began <= LONGEST and now - self.used <= _IDLE

    @property
    def name(self) -> str:
        """What gateways know the person by."""
        return ", ".join(dict.fromkeys(access.name for access in self.access.values()))

    def lacks(self, node: Node, scope: str) -> str | None:
        """Why something that needs a scope cannot be done; None if it can."""
        found = self.access.get(node)
        return None if found is not None and scope in found.scopes else _WHY[READ if found is None else scope]

    async def verify(self) -> None:
        """Looks whether the tokens still hold. Without any that does, the session ends."""
        if self.alive:
            self.used = time.monotonic()
        await asyncio.gather(*(self._verify(node, access) for node, access in tuple(self.access.items())))
        if not self.access:
            self.ended = True

    async def _verify(self, node: Node, access: Access) -> None:
        try:
            self.access[node] = await _asked(node, access.token)
        except RefusedError as error:
            if error.status in (401, 403):
                self.access.pop(node, None)
        except UnreachableError:
            # A gateway that is down comes back, and looks at the token again.
            return


class Sessions:
    """All sessions, by the hash of what their cookies have."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self._sessions: dict[bytes, Session] = {}
        self._passes: dict[bytes, float] = {}

    def find(self, secret: str) -> Session | None:
        """The session of a cookie, unless it has ended."""
        key = _hashed(secret)
        found = self._sessions.get(key)
        if found is not None and not found.alive:
            del self._sessions[key]
            return None
        if found is not None:
            found.used = time.monotonic()
        return found

    async def log_in(self, token: str) -> tuple[str | None, list[str]]:
        """Begins a session with a token, and returns the secret of its cookie; None if no gateway accepts it, with what
        they say.
        """

        async def tried(node: Node) -> Access | str:
            try:
                return await _asked(node, token)
            except (RefusedError, UnreachableError) as error:
                return f"{node.name}: {error}"

        answers = dict(zip(self.nodes, await asyncio.gather(*map(tried, self.nodes)), strict=True))
        access = {node: answer for node, answer in answers.items() if isinstance(answer, Access)}
        said = [answer for answer in answers.values() if isinstance(answer, str)]
        return (self._begin(access) if access else None), said

    def issue_pass(self) -> str:
        """Returns a secret that lets one browser in, once and soon, as who has started the dashboard."""
        secret = secrets.token_urlsafe(32)
        while len(self._passes) >= _MOST_PASSES:
            del self._passes[next(iter(self._passes))]
        self._passes[_hashed(secret)] = time.monotonic() + _PASS_LASTS
        return secret

    async def enter(self, secret: str) -> str | None:
        """Begins a session by a pass, and returns the secret of its cookie; None if the pass is not valid."""
        until = self._passes.pop(_hashed(secret), 0.0)
        if time.monotonic() > until:
            return None

        async def tried(node: Node) -> Access:
            try:
                return await _asked(node, node.token)
            except (RefusedError, UnreachableError):
                # Looked at again while the session lasts.
                return Access(node.token, "you", frozenset({READ}))

        own = [node for node in self.nodes if node.trusted]
        access = dict(zip(own, await asyncio.gather(*map(tried, own)), strict=True))
        return self._begin(access) if access else None

    def log_out(self, secret: str) -> None:
        """Ends the session of a cookie."""
        found = self._sessions.pop(_hashed(secret), None)
        if found is not None:
            found.ended = True

    def _begin(self, access: dict[Node, Access]) -> str:
        secret = secrets.token_urlsafe(32)
        while len(self._sessions) >= _MOST:
            self._sessions.pop(next(iter(self._sessions))).ended = True
        self._sessions[_hashed(secret)] = Session(access)
        return secret


async def _asked(node: Node, token: str | None) -> Access:
    """What a gateway lets the bearer of a token do. Raises UnreachableError or RefusedError."""
    found = await node.client.ask("/rights", token)
    return Access(token, str(found["name"]), frozenset(found["scopes"]))


def _hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
