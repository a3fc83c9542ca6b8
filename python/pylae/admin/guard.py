"""The guard of the admin API. It runs before everything else and refuses requests without the token.

It checks in this order, whatever the path: the Host (against DNS rebinding), the origin (against CSRF), the token. Only
then does the application see the request. Each endpoint checks the scopes of the token (`endpoint.py`). Probes need no
token; the engine answers most of them itself, by the same rules (`crates/proxy/src/background/admin/probe.rs`).
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
from contextlib import suppress
from typing import Any

from starlette.exceptions import HTTPException

from pylae.access.scopes import NOTHING
from pylae.access.tokens import Bearer, Tokens, unlimited
from pylae.admin import problems
from pylae.admin.caller import Caller, note

log = logging.getLogger("pylae.admin")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_PROBES = ("/live", "/ready")
"""Paths that only report a status and need no token."""
MOST_BODY = 32 * 1024 * 1024
"""Largest body of a request, in bytes: that of a configuration file."""
TOO_LARGE = f"the body is too large; at most {MOST_BODY // 2**20} MB are allowed"
_QUIET = 10.0
"""Seconds between two log records about tokens that are refused for the same reason."""
_MOST_REASONS = 64
_WRONG = "the token is wrong, or not valid any more"
"""The answer to every token that is refused, so that it tells nothing about tokens."""
# One field for each challenge: Chromium reads only the first challenge of a field.
_CHALLENGES = (
    (b"www-authenticate", b'Bearer realm="pylae admin"'),
    (b"www-authenticate", b'Basic realm="pylae admin", charset="UTF-8"'),
)
ALWAYS = (
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


class _EndedError(Exception):
    """Raised out of an answer that was ended, because its token has."""


class Guard:
    """Wraps the application. `token` and `hosts` may change while it runs.

    The token may do everything, those of `tokens` what their scopes allow. Without a token, it guards a socket that
    only one user can open: a client that presents none has full access. One that presents a token has its rights,
    because it may act for somebody else; `own` tells the gateway's own token, if it has one.
    """

    def __init__(
        self,
        app: Application,
        token: str | None,
        hosts: frozenset[str],
        tokens: Tokens,
        *,
        unix: bool,
        own: Callable[[], str | None] | None = None,
    ) -> None:
        self.hosts = hosts
        self._app, self._tokens, self._unix, self._own = app, tokens, unix, own
        self._told: dict[str, float] = {}
        self.use_token(token)

    def use_token(self, token: str | None) -> None:
        """Accepts this token for everything from now on, and no other."""
        # Compare digests of equal length, so that timing reveals nothing about the token.
        self._token = None if token is None else hashlib.sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            return
        try:
            caller = self._check(scope)
        except Refused as refused:
            await _refuse(send, refused)
            return
        note(scope, caller)
        receive, send = _bounded(receive), _hardened(send)
        if caller.bearer.token is not None:
            receive, send = self._while_it_holds(caller.bearer, receive, send)
        with suppress(_EndedError):
            await self._app(scope, receive, send)

    def _while_it_holds(self, bearer: Bearer, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """Ends a request whose token ends while its body arrives, or while its answer is being streamed."""

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not self._tokens.holds(bearer):
                raise HTTPException(401, _WRONG)
            return message

        async def sent(message: Message) -> None:
            if message.get("more_body") and not self._tokens.holds(bearer):
                await send({"type": "http.response.body", "body": b""})
                raise _EndedError
            await send(message)

        return received, sent

    def _check(self, scope: Scope) -> Caller:
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
        client = (scope.get("client") or (None,))[0]
        given, local = _credential(fields), self._token is None
        if local and given is None:
            # Whoever can open a socket without a token is the user of the gateway.
            return Caller("local", None, unlimited(), client)
        if scope["path"] in _PROBES:
            return Caller("", client, Bearer(None, NOTHING))
        if given is None:
            raise Refused(401, "a token is required: Authorization: Bearer TOKEN")
        address, user = (None, client) if local else (client, None)
        if self._is_own(given):
            return Caller("admin", address, unlimited(), user)
        found = self._tokens.find(given)
        if isinstance(found, str) or found.token is None:
            self._tell(scope, str(found))
            raise Refused(401, _WRONG)
        return Caller(found.token.name, address, found, user)

    def _is_own(self, given: bytes) -> bool:
        """Whether this is the gateway's own token."""
        own = self._token
        if own is None and self._own is not None and (told := self._own()):
            own = hashlib.sha256(told.encode()).digest()
        return own is not None and hmac.compare_digest(hashlib.sha256(given).digest(), own)

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

    def _tell(self, scope: Scope, why: str) -> None:
        now = time.monotonic()
        if why not in self._told and len(self._told) >= _MOST_REASONS:
            self._told = {reason: at for reason, at in self._told.items() if now - at < _QUIET}
            if len(self._told) >= _MOST_REASONS:
                return
        if now - self._told.get(why, -_QUIET) >= _QUIET:
            self._told[why] = now
            client = scope.get("client") or ("a local process",)
            log.warning("request to the admin API with a wrong token, from %s: %s", client[0], why)


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
    fields += [*ALWAYS, *(_CHALLENGES if refused.status == 401 else ())]
    await send({"type": "http.response.start", "status": refused.status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def _bounded(receive: Receive) -> Receive:
    left = MOST_BODY

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, TOO_LARGE)
        return message

    return counted


def _hardened(send: Send) -> Send:
    async def with_fields(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(field for field in ALWAYS if field[0] not in own)]
        await send(message)

    return with_fields
