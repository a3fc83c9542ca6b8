"""Requests that pages of others make a browser send, with the cookie."""

from __future__ import annotations

import httpx

from support.login_attacks.stage import Attack, Attempt, Stage

FETCH = "Fetch Metadata Request Headers, section 2.4"
ORIGIN = "RFC 6454, section 7"
SOCKET = "RFC 6455, section 10.2"
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
_HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def _sent(method: str, wrong: dict[str, str], right: dict[str, str], **always: str) -> Attempt:
    """The control has other fields, which a page of the gateway itself sends."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        known = {"own": stage.running.url, "host": stage.running.address, "port": stage.running.address.split(":")[1]}
        path = "/socket" if "Upgrade" in always else "/orders"
        fields = {name: value.format(**known) for name, value in {**always, **(wrong if is_wrong else right)}.items()}
        return stage.ask(stage.sealed(), method, path, **fields)

    return attempt


def _rows() -> list[Attack]:
    own, same = {"Origin": "{own}"}, {"Sec_Fetch_Site": "same-origin"}
    rows: list[Attack] = []

    def row(name: str, source: str, attempt: Attempt) -> Attack:
        return Attack(name, source, "cross_site_request", attempt, "cross_site")

    for method in UNSAFE:
        rows += [
            row(f"{method} of another site", FETCH, _sent(method, {"Sec_Fetch_Site": "cross-site"}, same)),
            row(f"{method} of a neighbour", FETCH, _sent(method, {"Sec_Fetch_Site": "same-site"}, same)),
            row(f"{method} of another origin", ORIGIN, _sent(method, {"Origin": "https://evil.example"}, own)),
            row(f"{method} of nobody knows which origin", ORIGIN, _sent(method, {"Origin": "null"}, own)),
            row(f"{method} that says nothing of where it is from", ORIGIN, _sent(method, {}, own)),
        ]
    both = {"Origin": "{own}", "Sec_Fetch_Site": "same-origin"}
    rows += [
        row("an origin of another port", ORIGIN, _sent("POST", {"Origin": "http://127.0.0.1:1"}, own)),
        row("an origin of another scheme", ORIGIN, _sent("POST", {"Origin": "https://{host}"}, own)),
        row("an origin that begins alike", ORIGIN, _sent("POST", {"Origin": "{own}.evil.example"}, own)),
        row("an origin that ends alike", ORIGIN, _sent("POST", {"Origin": "http://evil{host}"}, own)),
        row("an origin with a name before it", ORIGIN, _sent("POST", {"Origin": "http://a@{host}"}, own)),
        row("an origin with a path", ORIGIN, _sent("POST", {"Origin": "{own}/"}, own)),
        row("two origins in one field", ORIGIN, _sent("POST", {"Origin": "{own} https://evil.example"}, own)),
        row("an empty origin", ORIGIN, _sent("POST", {"Origin": ""}, own)),
        row(
            "the right origin of another site",
            FETCH,
            _sent("POST", {"Origin": "{own}", "Sec_Fetch_Site": "cross-site"}, both),
        ),
        row("a word that does not exist", FETCH, _sent("POST", {"Sec_Fetch_Site": "Same-Origin"}, same)),
        row("an empty word", FETCH, _sent("POST", {"Sec_Fetch_Site": ""}, same)),
        row("two words", FETCH, _sent("POST", {"Sec_Fetch_Site": "same-origin, cross-site"}, same)),
        row("a method that nobody knows", ORIGIN, _sent("BREW", {"Origin": "https://evil.example"}, own)),
        row("a referrer in place of an origin", ORIGIN, _sent("POST", {"Referer": "{own}/"}, own)),
        row(
            "a method that pretends to be another",
            ORIGIN,
            _sent("POST", {"Origin": "https://evil.example"}, own, X_HTTP_Method_Override="GET"),
        ),
        row(
            "a form in plain text",
            ORIGIN,
            _sent("POST", {"Origin": "https://evil.example"}, own, Content_Type="text/plain"),
        ),
        row("WebSocket of another origin", SOCKET, _sent("GET", {"Origin": "https://evil.example"}, own, **_HANDSHAKE)),
        row(
            "WebSocket of another site",
            SOCKET,
            _sent("GET", {"Sec_Fetch_Site": "cross-site", "Origin": "https://evil.example"}, both, **_HANDSHAKE),
        ),
        row("WebSocket of nobody knows which origin", SOCKET, _sent("GET", {}, own, **_HANDSHAKE)),
    ]
    return rows


ATTACKS = tuple(_rows())
