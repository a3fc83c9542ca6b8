"""A client for the admin API of one gateway. It keeps its connections, and waits for an answer for a bounded time."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from pylae.cli.remote import Remote
from pylae.identity.client import Connection, ServiceClient, connected
from pylae.registry.client import ApiError
from pylae.state import local_socket

PATIENCE = 5.0
"""Seconds that an answer to a question may take."""
_CHANGING = 60.0
"""Seconds that a change may take: a configuration is compiled, and old exchanges may have to end."""
_TEXTS = ("text/plain", "text/event-stream")
_MOST = 64 * 1024 * 1024


class UnreachableError(Exception):
    """A gateway does not answer. The text says why, without its address."""


@dataclass(slots=True)
class RefusedError(Exception):
    """A gateway refuses a request.

    Attributes:
        status: The status of the answer.
        detail: Why, in a sentence.
        problems: Each problem of a configuration, as the admin API describes them.
    """

    status: int
    detail: str
    problems: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return self.detail


class AdminClient(ServiceClient):
    """Asks the admin API of a gateway. Each request presents the token that it is given, or none at a local socket."""

    def __init__(self, remote: Remote) -> None:
        """`remote` is how the gateway is reached. Its token is not used."""
        told = remote.identity
        files = (Path(file) if file else None for file in (told.ca, told.cert, told.key or told.cert))
        self._folder = remote.folder
        self._path = remote.address.removeprefix("unix:") if remote.address.startswith("unix:") else None
        scheme = "https" if remote.secure else "http"
        super().__init__("http://localhost" if self._path else f"{scheme}://{remote.server}", *files)

    async def ask(
        self,
        path: str,
        token: str | None,
        *,
        method: str = "GET",
        body: Any = None,
        match: str | None = None,
        query: dict[str, str] | None = None,
        patience: float | None = None,
    ) -> Any:
        """The JSON of an answer, or its text if it is plain text or events.

        `body` is sent as JSON, or as YAML if it is bytes; `match` is the `If-Match`. `patience` is in seconds.

        Raises UnreachableError or RefusedError.
        """
        fields = [("Accept", "*/*")]
        if token is not None:
            fields.append(("Authorization", f"Bearer {token}"))
        if match is not None:
            fields.append(("If-Match", match))
        data = b""
        if body is not None:
            data = body if isinstance(body, bytes) else orjson.dumps(body)
            fields.append(("Content-Type", "application/yaml" if isinstance(body, bytes) else "application/json"))
        target = f"{path}?{urlencode(query)}" if query else path
        safe = method == "GET"
        patience = patience or (PATIENCE if safe else _CHANGING)
        try:
            reply = await self.call(method, fields, data, patience=patience, most=_MOST, once=not safe, target=target)
            # Metrics are text.
            if reply.status < 400 and (reply.fields.get("content-type") or "").startswith(_TEXTS):
                return reply.body.decode("utf-8", "replace")
            document = orjson.loads(reply.body) if reply.body else None
        except ApiError as error:
            raise UnreachableError(str(error).removeprefix(self.address).strip()) from None
        except orjson.JSONDecodeError:
            raise UnreachableError("does not answer like an admin API") from None
        if reply.status >= 400:
            said = document if isinstance(document, dict) else {}
            raise RefusedError(
                reply.status, str(said.get("detail") or f"status {reply.status}"), said.get("problems") or []
            )
        return document

    async def connection(self) -> Connection:
        """A new connection, over the socket in the state folder if there is one. Raises OSError."""
        if self._folder is not None:
            return await connected(sock=await asyncio.to_thread(local_socket.connect, self._folder, PATIENCE))
        if self._path is not None:
            return await connected(sock=await asyncio.to_thread(_unix, self._path))
        return await super().connection()


def _unix(path: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    try:
        found.settimeout(PATIENCE)
        found.connect(path)
    except BaseException:
        found.close()
        raise
    return found
