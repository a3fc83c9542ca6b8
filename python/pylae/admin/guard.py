"""The guard of the admin API. It runs before everything else and refuses requests without the token.

It checks in this order, whatever the path: the Host (against DNS rebinding), the origin (against CSRF), the token. Only
then does the application see the request. Probes need no token; the engine answers most of them itself, by the same
rules (`crates/proxy/src/background/admin/probe.rs`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from pylae.access.scopes import UNLIMITED
from pylae.admin import problems
from pylae.admin.caller import Caller, note

log = logging.getLogger("pylae")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_PROBES = ("/live", "/ready")
"""Paths that only report a status and need no token."""
MOST_BODY = 32 * 1024 * 1024
"""Largest body of a request, in bytes: that of a configuration file."""
_QUIET = 10.0
"""Seconds between two log records about wrong tokens."""
# One field for each challenge: Chromium reads only the first challenge of a field.
_CHALLENGES = (
    (b"www-authenticate", b'Bearer realm="pylae admin"'),
    (b"www-authenticate", b'Basic realm="pylae admin", charset="UTF-8"'),
)
_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Refused(Exception):  # noqa: N818 (it is no error of ours)
    """Raised to refuse a request."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Guard:
    """Wraps the application. `token` and `hosts` may change while it runs.

    Without a token, every client that can connect has full access. Use this only for a socket that one user can open.
    """

    def __init__(self, app: Application, token: str | None, hosts: frozenset[str], *, unix: bool) -> None:
        self.hosts = hosts
        self._app, self._unix, self._told = app, unix, -_QUIET
        self.use_token(token)

    def use_token(self, token: str | None) -> None:
        """Accepts this token from now on, and no other."""
        # Compare digests of equal length, so that timing reveals nothing about the token.
        self._token = None if token is None else hashlib.sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
        except Refused as refused:
            await _refuse(send, refused)
            return
        # Whoever can open a socket without a token is the user of the gateway.
        name = "local" if self._token is None else "admin"
        note(scope, Caller(name, (scope.get("client") or (None,))[0], UNLIMITED))
        await self._app(scope, _bounded(receive), _hardened(send))

    def _check(self, scope: Scope) -> None:
        fields = scope["headers"]
        host = _only(fields, b"host")
        if host is None:
            raise Refused(400, "exactly one Host field is required")
        if not self._unix and not self._answers_for(host, scope):
            raise Refused(403, "the admin API does not serve this host; add it to `admin.hosts`")
        origins = _all(fields, b"origin")
        site = _all(fields, b"sec-fetch-site")
        # There may be a proxy in front that speaks TLS.
        if origins and origins not in ([f"{scheme}://{host}"] for scheme in ("http", "https")):
            raise Refused(403, "requests from pages of other origins are refused")
        if site and site not in (["same-origin"], ["none"]):
            raise Refused(403, "requests from pages of other sites are refused")
        if self._token is None or scope["path"] in _PROBES:
            return
        if (given := _credential(fields)) is None:
            raise Refused(401, "the admin token is required: Authorization: Bearer TOKEN")
        if not hmac.compare_digest(hashlib.sha256(given).digest(), self._token):
            self._tell(scope)
            raise Refused(401, "the admin token is wrong")

    def _answers_for(self, host: str, scope: Scope) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.lower().removesuffix(".")
        if name == "localhost" or name in self.hosts:
            return True
        try:
            address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
            own = ipaddress.ip_address((scope.get("server") or ("",))[0])
        except ValueError:
            return False
        return address.is_loopback or address == own

    def _tell(self, scope: Scope) -> None:
        now = time.monotonic()
        if now - self._told >= _QUIET:
            self._told = now
            client = scope.get("client") or ("a local process",)
            log.warning("request to the admin API with a wrong token, from %s", client[0])


def _all(fields: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in fields if key == name]


def _only(fields: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    values = _all(fields, name)
    return values[0] if len(values) == 1 and values[0] else None


def _credential(fields: list[tuple[bytes, bytes]]) -> bytes | None:
    """Returns the token of `Bearer TOKEN`, or of `Basic` with any user name, which browsers can send."""
    scheme, _, rest = (_only(fields, b"authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode("latin-1")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return None
    return None


async def _refuse(send: Send, refused: Refused) -> None:
    body = problems.body(refused.status, refused.detail)
    fields = [(b"content-type", problems.MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    fields += [*_ALWAYS, *(_CHALLENGES if refused.status == 401 else ())]
    await send({"type": "http.response.start", "status": refused.status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def _bounded(receive: Receive) -> Receive:
    left = MOST_BODY

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, f"the body is too large; at most {MOST_BODY // 2**20} MB are allowed")
        return message

    return counted


def _hardened(send: Send) -> Send:
    async def with_fields(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(field for field in _ALWAYS if field[0] not in own)]
        await send(message)

    return with_fields
