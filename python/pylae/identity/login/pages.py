"""The pages of a login. They say nothing of what went wrong: the log does, with the request id."""

from __future__ import annotations

import html
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pylae.engine import Response

if TYPE_CHECKING:
    from pylae.engine import Request

Fields = list[tuple[str, str]]

NO_STORE: Fields = [("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer")]
_PAGE: Fields = [
    ("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]


def redirect(target: str, status: int, fields: Iterable[tuple[str, str]] = ()) -> Response:
    """Leads to another address, and is kept nowhere."""
    return Response(status=status, headers=[("Location", target), *NO_STORE, *fields])


def answer(
    request: Request, status: int, title: str, *, link: tuple[str, str] | None = None, fields: Fields | None = None
) -> Response:
    """Says what `title` says: as a page to browsers, with a link (address and text), and as a problem (RFC 9457) to
    programs.
    """
    if not accepts_html(request):
        problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": title}
        made = Response.json({**problem, "request_id": request.id}, status=status)
        made.headers["Content-Type"] = "application/problem+json"
        for name, value in [*NO_STORE, *(fields or [])]:
            made.headers.append(name, value)
        return made
    below = f'<p><a href="{html.escape(link[0])}">{html.escape(link[1])}</a></p>' if link else ""
    told = f"<p>Request {html.escape(request.id)}</p>"
    return page(status, title, f"{below}{told}", fields)


def page(
    status: int, title: str, body: str, fields: Fields | None = None, *, referrer: str = "no-referrer"
) -> Response:
    """A page with this body, which is HTML."""
    shown = html.escape(f"{title[:1].upper()}{title[1:]}")
    text = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{shown}</title></head><body><h1>{shown}</h1>{body}</body></html>"
    )
    head = [("Cache-Control", "no-store"), ("Referrer-Policy", referrer), *_PAGE]
    return Response(text, status, [*head, *(fields or [])], "text/html")


def going_on(target: str, fields: Fields) -> Response:
    """A page that leads to another address. Unlike a redirect from another site, that comes from this one then, and
    browsers send cookies with it that are `SameSite=Strict`.
    """
    address = html.escape(target)
    text = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="0; url={address}">'
        f'<title>Logged in</title></head><body><a href="{address}">Go on</a></body></html>'
    )
    return Response(text, 200, [*NO_STORE, *_PAGE, *fields], "text/html")


def confirm_logout(target: str) -> Response:
    """Asks whether to log out. The form says where it comes from, so the policy for that must let it."""
    form = f'<form method="post" action="{html.escape(target)}"><button>Log out</button></form>'
    return page(200, "log out?", form, referrer="same-origin")


def accepts_html(request: Any) -> bool:
    """Whether who asks is a browser that shows a page."""
    return "text/html" in (request.headers.get("accept") or "").lower()
