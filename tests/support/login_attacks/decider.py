"""A service that decides about requests: it knows one session, and keeps some pages for itself."""

from __future__ import annotations

from pylae.testing import Received, Reply

PATH = "/decided"


def decide(request: Received) -> Reply:
    """Answers a question of the gateway."""
    sent = request.headers
    if sent.get("Cookie") != "sid=ada":
        return Reply(401, body=b"who are you?")
    uri = sent["X-Forwarded-Uri"]
    is_secret = uri.startswith(f"{PATH}/secret") or "admin" in uri
    if is_secret or sent["X-Forwarded-Method"] == "DELETE" or sent["X-Forwarded-Host"] == "staff.example":
        return Reply(403, body=b"not for you")
    return Reply(200, headers=(("Remote-User", "ada"), ("Remote-Name", "Ada")))
