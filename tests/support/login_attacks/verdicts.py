"""How clients are refused: the same for all attacks of a kind, so that nobody learns which defence it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx

from support.login_attacks.stage import Stage

_OF_A_REQUEST = {"request_id", "instance", "timestamp"}


def _told(answer: httpx.Response) -> dict[str, Any]:
    """What a problem says, apart from which request it was (RFC 9457)."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    return {name: value for name, value in answer.json().items() if name not in _OF_A_REQUEST}


def _login(_: Stage, answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 600
    text = answer.text.lower()
    assert "the login has failed" in text
    assert not any(word in text for word in ("oidc_", "state", "nonce", "token", "issuer", "traceback"))
    assert not any("pylae-oidc=" in one and "Max-Age=0" not in one for one in answer.headers.get_list("Set-Cookie"))


def _session(stage: Stage, answer: httpx.Response) -> None:
    """As if there was no cookie at all."""
    nobody = stage.ask(None)
    assert (answer.status_code, _told(answer)) == (401, _told(nobody))
    assert answer.headers.get_list("WWW-Authenticate") == nobody.headers.get_list("WWW-Authenticate")


def _cross_site(stage: Stage, answer: httpx.Response) -> None:
    other = stage.ask(stage.sealed(), "POST", Origin="https://evil.example")
    assert (answer.status_code, _told(answer)) == (403, _told(other))


def _logout(_: Stage, answer: httpx.Response) -> None:
    """The provider is told that it is wrong, and no more (Back-Channel Logout 1.0, section 2.8)."""
    assert answer.status_code == 400
    assert answer.headers["Cache-Control"] == "no-store"
    assert "oidc_" not in answer.text


def _discovery(_: Stage, answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert "evil." not in answer.text


def _redirect(_: Stage, answer: httpx.Response) -> None:
    assert answer.status_code == 400
    assert "evil." not in answer.headers.get("Location", "")


def _token(_: Stage, answer: httpx.Response) -> None:
    """Programs are told what is wrong with their token (RFC 6750, section 3.1)."""
    assert answer.status_code == 401
    assert 'error="invalid_' in answer.headers["WWW-Authenticate"]


def _decision(_: Stage, answer: httpx.Response) -> None:
    assert answer.status_code in (401, 403, 503)
    assert "evil." not in answer.headers.get("Location", "")


def _introspection(_: Stage, answer: httpx.Response) -> None:
    assert answer.status_code in (401, 503)
    assert ('error="' in answer.headers.get("WWW-Authenticate", "")) == (answer.status_code == 401)


def _method(_: Stage, answer: httpx.Response) -> None:
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


REFUSALS: Mapping[str, Callable[[Stage, httpx.Response], None]] = {
    "cross_site": _cross_site,
    "decision": _decision,
    "discovery": _discovery,
    "introspection": _introspection,
    "login": _login,
    "logout": _logout,
    "method": _method,
    "redirect": _redirect,
    "session": _session,
    "token": _token,
}
