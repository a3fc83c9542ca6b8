"""The page on which people log in. It has no scripts, so that it works whatever else does not."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from pylae.dashboard.access.guard import cookie_in
from pylae.dashboard.access.sessions import COOKIE, LONGEST, Sessions

_MOST_FORM = 8192
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid; place-items: center;
  background: light-dark(#f4f6f9, #12161c); color: light-dark(#1c2430, #dde3ec) }
main { width: min(26rem, 90vw); padding: 2rem; border-radius: .75rem; background: light-dark(#fff, #1a2029);
  border: 1px solid light-dark(#d5dbe5, #2c3543) }
h1 { margin: 0 0 1rem; font-size: 1.4rem } label { font-weight: 600 }
input { box-sizing: border-box; width: 100%; margin: .4rem 0 1rem; padding: .6rem; font: inherit; border-radius: .4rem;
  border: 1px solid light-dark(#8a94a3, #66738a); background: transparent; color: inherit }
button { font: inherit; font-weight: 600; padding: .6rem 1.4rem; border: 0; border-radius: .4rem; background: #0b5cad;
  color: #fff; cursor: pointer }
p { margin: .8rem 0 } .error { color: light-dark(#a4161a, #ff8a8a) } small { color: light-dark(#4a5666, #a5b0c0) }
code { font-size: .9em }
"""
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HINT = (
    "<small>An admin token: the gateway's own one is in <code>admin-token</code> in its state folder; "
    "<code>pylae admin token create --scope read</code> makes others. With a token that only reads you see everything "
    "and change nothing.</small>"
)
_OVER = "That address has been used, or is too old. Log in with a token, or start the dashboard again."
_MOST_SAID = 8


def page(told: list[str], status: int = 200) -> HTMLResponse:
    """Returns the page, with what went wrong."""
    errors = "".join(f'<p class="error" role="alert">{escape(line)}</p>' for line in told[:_MOST_SAID])
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Log in · Pylae</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style><main>'
        f'<h1>Pylae</h1>{errors}<form method="post" action="/login"><label for="token">Token</label>'
        '<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>'
        f"<button>Log in</button></form><p>{_HINT}</p></main></html>"
    )
    return HTMLResponse(text, status, {"content-security-policy": _POLICY})


def routes(sessions: Sessions) -> list[Route]:
    """Returns what begins and ends sessions."""

    def begun(secret: str, *, secure: bool = False) -> Response:
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, secret, max_age=int(LONGEST), path="/", httponly=True, samesite="strict", secure=secure
        )
        return answer

    async def show(_request: Request) -> Response:
        return page([])

    async def log_in(request: Request) -> Response:
        data = bytearray()
        async for piece in request.stream():
            data += piece
            if len(data) > _MOST_FORM:
                return page(["That is too long for a token."], 413)
        token = parse_qs(data.decode("utf-8", "replace")).get("token", [""])[0].strip()
        if not token.isascii() or not token.isprintable() or not token:
            return page(["A token has visible ASCII characters only."], 422)
        secret, said = await sessions.log_in(token)
        if secret is None:
            return page(said or ["There is no gateway to ask."], 401)
        # What is in front of the dashboard may speak TLS.
        return begun(secret, secure=request.headers.get("origin", "").startswith("https://"))

    async def enter(request: Request) -> Response:
        secret = await sessions.enter(request.path_params["secret"])
        return begun(secret) if secret is not None else page([_OVER], 401)

    async def log_out(request: Request) -> Response:
        sessions.log_out(cookie_in(request.headers))
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return answer

    return [
        Route("/login", show, methods=["GET"]),
        Route("/login", log_in, methods=["POST"]),
        Route("/enter/{secret}", enter, methods=["GET"]),
        Route("/logout", log_out, methods=["POST"]),
    ]
