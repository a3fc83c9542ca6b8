"""Cookies that are not what the gateway has sealed for this browser, and what instances are told."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

import httpx

from support.login_attacks.stage import COOKIE, OLD_SECRET, Attempt, Stage, attacks, passed

SESSION = "RFC 6265, section 8"
SEALED = "RFC 5116, section 2.2"
HEADERS = "RFC 9110, section 5.5"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _cookie(change: Callable[[str], str]) -> Attempt:
    """A request with a good cookie, changed."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        cookie = stage.session()
        return stage.ask(f"{COOKIE}={change(cookie) if is_wrong else cookie}")

    return attempt


def _bit(part: str, place: float) -> Attempt:
    """One bit flipped in a part of the cookie: `v1`, `KEYID`, or of the last part its NONCE, CIPHERTEXT or TAG."""

    def change(cookie: str) -> str:
        version, key, sealed = cookie.split(".")
        if part == "version":
            return f"v2.{key}.{sealed}"
        if part == "key":
            return f"{version}.{_flipped(key, int(len(key) * place))}.{sealed}"
        data = bytearray(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
        parts = {"nonce": (0, 12), "text": (12, len(data) - 16), "tag": (len(data) - 16, len(data))}
        first, end = parts[part]
        data[first + int((end - first - 1) * place)] ^= 1
        return f"{version}.{key}.{base64.urlsafe_b64encode(data).rstrip(b'=').decode()}"

    return _cookie(change)


def _flipped(text: str, place: int) -> str:
    place = min(place, len(text) - 1)
    other = _ALPHABET[_ALPHABET.index(text[place]) ^ 1]
    return text[:place] + other + text[place + 1 :]


def _forged(secret: str | None = None, purpose: str = "session oidc", **changed: Any) -> Attempt:
    """A cookie that was sealed, but not so. The control is one that is."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        now = int(time.time())
        members = {
            name: now + one if name in ("b", "n", "x") and isinstance(one, int) else one
            for name, one in changed.items()
        }
        return stage.ask(stage.sealed(secret, purpose, **members) if is_wrong else stage.sealed())

    return attempt


def _plain(change: Callable[[bytes], bytes]) -> Attempt:
    """A cookie with other content than JSON that the gateway writes, sealed as it should be."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        good = stage.sealed()
        plain = stage.sealer.open("session oidc", good.partition("=")[2])
        assert plain
        sealed = stage.sealer.seal("session oidc", change(plain) if is_wrong else plain)
        return stage.ask(f"{COOKIE}={sealed}")

    return attempt


def _fields(change: Callable[[str], str]) -> Attempt:
    """Another `Cookie` field around a good cookie."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        good = stage.sealed()
        return stage.ask(change(good) if is_wrong else good)

    return attempt


def _of_another_authenticator(stage: Stage, is_wrong: bool) -> httpx.Response:
    good = stage.sealed().partition("=")[2]
    return stage.ask(
        f"pylae-other={good}" if is_wrong else f"{COOKIE}={good}", path="/others" if is_wrong else "/orders"
    )


def _after_logout(stage: Stage, is_wrong: bool) -> httpx.Response:
    """Somebody has copied the cookie before."""
    with stage.browser() as browser:
        stage.log_in(browser)
        copied = browser.cookies[COOKIE]
        if is_wrong:
            browser.get("/oauth2/logout", headers={"Accept": "text/html", "Sec-Fetch-Site": "same-origin"})
        return stage.ask(f"{COOKIE}={copied}")


def _fixated(stage: Stage, is_wrong: bool) -> httpx.Response:
    """Somebody has put their own session into the browser of an admin, who then logs in: that is another session."""
    planted = stage.session()
    with stage.browser() as victim:
        victim.cookies.set(COOKIE, planted, domain="127.0.0.1", path="/")
        begun = stage.begin(victim, "/oauth2/login?return_to=/admin", account="grace")
        victim.cookies.delete(COOKIE, domain="127.0.0.1", path="/")
        assert passed(stage.end(begun))
        own = victim.cookies[COOKIE]
    return stage.ask(f"{COOKIE}={planted if is_wrong else own}", path="/admin")


def _told(**claims: Any) -> Attempt:
    """Claims that would be other fields to an instance, if they were let through."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        with stage.browser() as browser:
            begun = stage.begin(browser)
            stage.provider.lie(**(claims if is_wrong else {}))
            return stage.end(begun)

    return attempt


ATTACKS = (
    *attacks(
        "session",
        ("another version", SEALED, "malformed", _bit("version", 0)),
        ("another key", SEALED, "unknown_key", _bit("key", 0)),
        ("the last of the key's name", SEALED, "unknown_key", _bit("key", 1)),
        ("a bit of the nonce", SEALED, "forged", _bit("nonce", 0.5)),
        ("the first bit of the text", SEALED, "forged", _bit("text", 0)),
        ("a bit amid the text", SEALED, "forged", _bit("text", 0.5)),
        ("the last bit of the text", SEALED, "forged", _bit("text", 1)),
        ("the first bit of the tag", SEALED, "forged", _bit("tag", 0)),
        ("the last bit of the tag", SEALED, "forged", _bit("tag", 1)),
        ("cut by a byte", SEALED, "malformed", _cookie(lambda one: one[:-2])),
        ("cut in the middle", SEALED, "malformed", _cookie(lambda one: one[: len(one) // 2])),
        ("only its beginning", SEALED, "malformed", _cookie(lambda one: one.rpartition(".")[0] + ".")),
        ("empty", SESSION, "malformed", _cookie(lambda _: "")),
        ("longer than any", SESSION, "malformed", _cookie(lambda one: one + "A" * 4000)),
        ("one letter too much", SEALED, "forged", _cookie(lambda one: one + "A")),
        ("padded", "RFC 4648, section 3.2", "malformed", _cookie(lambda one: one + "=")),
        (
            "the other alphabet",
            "RFC 4648, section 5",
            "malformed",
            _cookie(lambda one: "+" + one.replace("-", "+").replace("_", "/")),
        ),
        ("a quote before it", "RFC 6265, section 4.1.1", "malformed", _fields(lambda one: one.replace("=", '="', 1))),
        ("twice the same", "RFC 6265, section 5.4", "several", _fields(lambda one: f"{one}; {one}")),
        ("a planted one before it", "RFC 6265, section 8.6", "several", _fields(lambda one: f"{COOKIE}=x; {one}")),
        ("a planted one after it", "RFC 6265, section 8.6", "several", _fields(lambda one: f"{one}; {COOKIE}=x")),
        ("its name in capitals", "RFC 6265, section 5.4", "", _fields(str.upper)),
        ("under another name", "RFC 6265, section 5.4", "", _fields(lambda one: one.replace(COOKIE, "pylae-x"))),
        ("sealed for another authenticator", SEALED, "forged", _forged(purpose="session other")),
        ("sealed for an attempt", SEALED, "forged", _forged(purpose="attempt oidc")),
        ("sealed for a record", SEALED, "forged", _forged(purpose="record oidc")),
        ("with a secret of last year", SEALED, "unknown_key", _forged(OLD_SECRET)),
        ("given to another authenticator", SEALED, "forged", _of_another_authenticator),
        ("over", SESSION, "expired", _forged(x=-1, n=-1)),
        ("over, to be looked at later", SESSION, "expired", _forged(x=-1, n=600)),
        ("without an end", SESSION, "malformed", _forged(x=None)),
        ("without an id", SESSION, "malformed", _forged(i=None)),
        ("with an end that is no number", SESSION, "malformed", _forged(x="never")),
        ("no JSON in it", SESSION, "malformed", _plain(lambda _: b"\xff\xfe")),
        ("a list in it", SESSION, "malformed", _plain(lambda _: b"[]")),
        ("cut JSON in it", SESSION, "malformed", _plain(lambda one: one[:-1])),
        ("about nobody", SESSION, "malformed", _forged(u="")),
        ("a line end in the user's id", HEADERS, "malformed", _forged(u="ada\r\nX-User-Role: admin")),
        ("a session that only the store could know", SESSION, "ended", _forged(f=True, u=None)),
        ("a session of which nobody has heard, to be looked at", SESSION, "ended", _forged(n=-1)),
        ("copied before a logout", "OpenID Connect RP-Initiated Logout 1.0, section 2", "revoked", _after_logout),
    ),
    *attacks(
        "login",
        ("a line end in a role", HEADERS, "oidc_user_invalid", _told(role="admin\r\nX-User-ID: root")),
        ("a zero byte in an e-mail address", HEADERS, "oidc_user_invalid", _told(email="a\0b@example.com")),
        ("a role that is a mapping", "RFC 7519, section 4", "oidc_user_invalid", _told(role={"admin": True})),
        ("permissions that are a number", "RFC 7519, section 4", "oidc_user_invalid", _told(permissions=7)),
    ),
    *attacks("decision", ("planted before a login", "RFC 6265, section 8.4", "forbidden", _fixated)),
)
