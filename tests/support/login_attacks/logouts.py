"""Logout tokens: who may end the sessions of others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from pylae.testing import make_token
from support.login_attacks.stage import COOKIE, Attempt, Stage, attacks
from support.oidc_provider import SECRET, decoded
from support.oidc_provider.keys import Key
from support.oidc_provider.provider import BACKCHANNEL

LOGOUT = "OpenID Connect Back-Channel Logout 1.0, section"
STRANGER = Key("ES256")


def _sent(change: Callable[[Stage, str], str]) -> Attempt:
    """A logout token for the session of somebody; what becomes of it is looked at by the cookie."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        cookie = stage.session()
        good = stage.provider.logout_token(sub="ada", sid=stage.last_sid)
        answer = post(stage, change(stage, good) if is_wrong else good)
        lives = stage.ask(f"{COOKIE}={cookie}").status_code == 200
        assert lives == is_wrong, "the session has ended" if is_wrong else "the session has not ended"
        return answer

    return attempt


def post(stage: Stage, *tokens: str) -> httpx.Response:
    """As a provider sends it (section 2.5)."""
    return httpx.post(
        f"{stage.running.url}/oauth2/backchannel-logout",
        data={"logout_token": list(tokens)},
        verify=False,
        trust_env=False,
    )


def _with(header: dict[str, Any] | None = None, key: Key | None = None, **claims: Any) -> Attempt:
    def change(stage: Stage, good: str) -> str:
        known_header, known = decoded(good)
        changed = {name: one() if callable(one) else one for name, one in claims.items()}
        said = {name: value for name, value in {**known, **changed}.items() if value is not None}
        return (key or stage.provider.keys.first).sign(said, **{**known_header, **(header or {})})

    return _sent(change)


def _later(seconds: int) -> Callable[[], int]:
    return lambda: int(time.time()) + seconds


def _replayed(stage: Stage, is_wrong: bool) -> httpx.Response:
    """A token that was good once ends no session that was begun after it."""
    stage.session()
    token = stage.provider.logout_token(sub="ada", sid=stage.last_sid)
    if is_wrong:
        post(stage, token)
    cookie = stage.session()
    fresh = stage.provider.logout_token(sub="ada", sid=stage.last_sid)
    answer = post(stage, token if is_wrong else fresh)
    assert (stage.ask(f"{COOKIE}={cookie}").status_code == 200) == is_wrong
    return answer


def _two(stage: Stage, is_wrong: bool) -> httpx.Response:
    """Who reads the first one and who the last differ."""
    cookie = stage.session()
    good = stage.provider.logout_token(sub="ada", sid=stage.last_sid)
    answer = post(stage, *([stage.provider.logout_token(sub="grace")] if is_wrong else []), good)
    assert (stage.ask(f"{COOKIE}={cookie}").status_code == 200) == is_wrong
    return answer


def _id_token(stage: Stage, good: str) -> str:
    """An ID token is none, though the same key has signed it."""
    claims = decoded(good)[1]
    claims.pop("events")
    return stage.provider.sign({**claims, "nonce": "n", "auth_time": claims["iat"]}, typ="JWT")


ATTACKS = (
    *attacks(
        "logout",
        ("alg none", f"{LOGOUT} 2.6", "oidc_logout_token_algorithm", _with({"alg": "none"})),
        ("HS256 with the public key", f"{LOGOUT} 2.6", "oidc_logout_token_algorithm", _with({"alg": "HS256"})),
        (
            "HS256 with the client's secret",
            f"{LOGOUT} 2.6",
            "oidc_logout_token_algorithm",
            _sent(lambda _, good: make_token(decoded(good)[1], secret=SECRET, header={})),
        ),
        ("another key", f"{LOGOUT} 2.6", "oidc_logout_token_signature", _with(key=STRANGER)),
        (
            "a bit of the signature",
            f"{LOGOUT} 2.6",
            "oidc_logout_token_signature",
            _sent(lambda _, good: good[:-10] + ("A" if good[-10] != "A" else "B") + good[-9:]),
        ),
        ("no token", f"{LOGOUT} 2.5", "oidc_logout_token_invalid", _sent(lambda *_: "nonsense")),
        ("an empty token", f"{LOGOUT} 2.5", "oidc_logout_token_invalid", _sent(lambda *_: "")),
        ("two tokens", f"{LOGOUT} 2.5", "oidc_logout_token_missing", _two),
        ("another issuer", f"{LOGOUT} 2.6", "oidc_logout_token_issuer", _with(iss="https://evil.example")),
        ("no issuer", f"{LOGOUT} 2.4", "oidc_logout_token_claim_missing", _with(iss=None)),
        ("for another client", f"{LOGOUT} 2.6", "oidc_logout_token_audience", _with(aud="other")),
        ("for nobody", f"{LOGOUT} 2.4", "oidc_logout_token_claim_missing", _with(aud=None)),
        ("with a nonce", f"{LOGOUT} 2.4", "oidc_logout_token_nonce", _with(nonce="n")),
        ("without events", f"{LOGOUT} 2.4", "oidc_logout_token_claim_missing", _with(events=None)),
        ("with another event", f"{LOGOUT} 2.4", "oidc_logout_token_event", _with(events={"https://evil.example": {}})),
        ("with events that are a list", f"{LOGOUT} 2.4", "oidc_logout_token_event", _with(events=[BACKCHANNEL])),
        (
            "with an event that is no object",
            f"{LOGOUT} 2.4",
            "oidc_logout_token_event",
            _with(events={BACKCHANNEL: True}),
        ),
        ("about nobody", f"{LOGOUT} 2.4", "oidc_logout_token_subject", _with(sub=None, sid=None)),
        ("about a session that is no text", f"{LOGOUT} 2.4", "oidc_logout_token_subject", _with(sub=None, sid=7)),
        ("over", f"{LOGOUT} 2.6", "oidc_logout_token_expired", _with(exp=_later(-3600))),
        ("never over", f"{LOGOUT} 2.4", "oidc_logout_token_claim_missing", _with(exp=None)),
        ("issued tomorrow", f"{LOGOUT} 2.6", "oidc_logout_token_issued_in_future", _with(iat=_later(86400))),
        ("without an id", f"{LOGOUT} 2.4", "oidc_logout_token_claim_missing", _with(jti=None)),
        ("an ID token", f"{LOGOUT} 2.6", "oidc_logout_token_claim_missing", _sent(_id_token)),
        ("an access token's type", "RFC 8725, section 3.11", "oidc_logout_token_type", _with({"typ": "at+jwt"})),
        ("used before", f"{LOGOUT} 2.6", "oidc_logout_token_replayed", _replayed),
    ),
)
