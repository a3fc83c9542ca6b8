"""A call that becomes a line of the audit once it is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from pylae.access.access import Access
from pylae.access.audit import Line, now
from pylae.admin.caller import Caller

PATIENCE = 2.0
"""Seconds that an answer waits for its line to be on the disk."""
_MOST_BODY = 64 * 1024
"""Bytes of a body, of a request or an answer, that are looked at."""
_MOST_TEXT = 300
_MOST_ITEMS = 20
_UNCHANGED = "pylae.unchanged"


def unchanged(request: Request) -> None:
    """Notes that a request changes nothing, so that it is no line of the audit unless its scope is missing."""
    request.scope[_UNCHANGED] = True


class Call:
    """A request of `caller` to the endpoint with this path. Of its body, `shown` are fields that are no secrets."""

    def __init__(self, access: Access, scope: Scope, caller: Caller, path: str, shown: Sequence[str]) -> None:
        self._access, self._scope, self._caller, self._path, self._shown = access, scope, caller, path, shown
        self._body: bytearray | None = bytearray() if shown else None
        self._begun: Message | None = None
        self._is_written = False

    def receiving(self, receive: Receive) -> Receive:
        """Wraps `receive`, to see the body."""

        async def seen() -> Message:
            message = await receive()
            if self._body is not None:
                self._body += message.get("body", b"")
                if len(self._body) > _MOST_BODY:
                    self._body = None
            return message

        return seen

    def sending(self, send: Send) -> Send:
        """Wraps `send`: the answer is held until the line is written."""

        async def after_the_line(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._begun = message
                return
            if self._begun is not None:
                begun, self._begun = self._begun, None
                detail = _detail(message.get("body", b"")) if begun["status"] >= 400 else None
                await self.write(begun["status"], detail)
                await send(begun)
            await send(message)

        return after_the_line

    async def write(self, status: int, detail: str | None) -> None:
        """Writes the line, unless the request changes nothing."""
        if self._is_written or (status != 403 and self._scope.get(_UNCHANGED)):
            return
        self._is_written = True
        caller = self._caller
        line = Line(
            time=now(),
            who=caller.name,
            token=caller.bearer.token.id if caller.bearer.token else None,
            user=caller.user,
            address=caller.address,
            node=self._access.node,
            method=self._scope["method"],
            path=self._path,
            arguments=self._arguments(),
            status=status,
            detail=detail,
        )
        await asyncio.wait([asyncio.wrap_future(self._access.audit.record(line))], timeout=PATIENCE)

    def _arguments(self) -> dict[str, Any]:
        found: dict[str, Any] = {name: _short(value) for name, value in self._scope.get("path_params", {}).items()}
        query = Request(self._scope).query_params
        found |= {_short(name): _short(value) for name, value in list(query.items())[:_MOST_ITEMS]}
        if self._body:
            try:
                said = json.loads(self._body)
            except (ValueError, RecursionError):
                said = None
            if isinstance(said, dict):
                found |= {name: _short(said[name]) for name in self._shown if said.get(name) is not None}
        return found


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _MOST_TEXT else f"{value[:_MOST_TEXT]}…"
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, list):
        return [_short(one) if isinstance(one, str) else "…" for one in value[:_MOST_ITEMS]]
    if isinstance(value, dict):
        kept = list(value.items())[:_MOST_ITEMS]
        return {_short(name): _short(one) if isinstance(one, str) else "…" for name, one in kept}
    return "…"


def _detail(body: bytes) -> str | None:
    if len(body) > _MOST_BODY:
        return None
    try:
        return str(json.loads(body)["detail"])[: 4 * _MOST_TEXT]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
