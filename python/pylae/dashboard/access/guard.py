"""What every request to the dashboard passes first: whose page sends it, who is logged in, and what pages may do.

It checks the Host (against DNS rebinding), the origin (against other sites, for WebSockets too) and the session. It
gives each page a policy by which only its own scripts run.
"""

from __future__ import annotations

import http.cookies
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pylae.dashboard.access.sessions import COOKIE, Session, Sessions

_KEY = "pylae.session"
OPEN = ("/login", "/enter/")
"""Paths without a session."""
_HARDENING = {
    "x-content-type-options": "nosniff",
    # With `no-referrer`, browsers send the origin `null` with forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "x-frame-options": "DENY",
}
# NiceGUI compiles templates of components in the browser, which takes `unsafe-eval`, and Quasar sets styles.
_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; object-src 'none'"
)
_SCRIPT = re.compile(rb"<script\b")
_UNWELCOME = (b"x-forwarded-prefix",)
"""Fields that NiceGUI would believe."""


def session_of(scope: MutableMapping[str, Any]) -> Session:
    """The session of a request that the guard has let in."""
    found: Session = scope[_KEY]
    return found


class Guard:
    """Wraps the application. `hosts` are the values of Host that it answers for, in lower case."""

    def __init__(self, app: ASGIApp, sessions: Sessions, hosts: frozenset[str]) -> None:
        self._app, self._sessions, self._hosts = app, sessions, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refusal := self._refusal(scope, headers):
            await _refuse(scope, receive, send, 403, refusal)
            return
        scope["headers"] = [field for field in scope["headers"] if field[0] not in _UNWELCOME]
        session = self._sessions.find(cookie_in(headers))
        if session is None and not scope["path"].startswith(OPEN):
            if scope["type"] == "http" and scope["method"] == "GET":
                await RedirectResponse("/login", 303, {"cache-control": "no-store"})(scope, receive, send)
            else:
                await _refuse(scope, receive, send, 401, "log in first")
            return
        scope[_KEY] = session
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _hardened(send))

    def _refusal(self, scope: Scope, headers: Headers) -> str | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return "the dashboard does not serve this host; start it with --host NAME"
        origins = headers.getlist("origin")
        if origins and origins not in ([f"{scheme}://{hosts[0]}"] for scheme in ("http", "https")):
            return "requests from pages of other origins are refused"
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if changes and not origins:
            return "a request that may change something must say its origin"
        site = headers.getlist("sec-fetch-site")
        if changes and site and site != ["same-origin"]:
            return "requests from pages of other sites are refused"
        return None


def cookie_in(headers: Headers) -> str:
    """The secret in the cookie of a session; empty if there is none."""
    try:
        found = http.cookies.SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except http.cookies.CookieError:
        return ""
    return found.value if found is not None else ""


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await PlainTextResponse(f"{why}\n", status, {"cache-control": "no-store"})(scope, receive, _hardened(send))


def _hardened(send: Send) -> Callable[[Message], Awaitable[None]]:
    """Adds the fields of every answer, and to pages a policy for their scripts, each of which is marked."""
    nonce = secrets.token_urlsafe(16)
    start: Message | None = None
    body = bytearray()

    async def with_fields(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            fields = MutableHeaders(scope={"type": "http", "headers": message["headers"]})
            for name, value in _HARDENING.items():
                fields.setdefault(name, value)
            fields.setdefault("cache-control", "no-store")
            fields.setdefault("content-security-policy", _POLICY.format(nonce=nonce))
            message["headers"] = fields.raw
            if fields.get("content-type", "").startswith("text/html"):
                start = message
                return
        elif start is not None:
            # A page is one piece, or few: nothing is streamed as HTML. What is shown is JSON in it, without `<`.
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            page = _SCRIPT.sub(b'<script nonce="' + nonce.encode() + b'"', body)
            MutableHeaders(raw=start["headers"])["content-length"] = str(len(page))
            await send(start)
            message = {"type": "http.response.body", "body": page}
            start = None
        await send(message)

    return with_fields
