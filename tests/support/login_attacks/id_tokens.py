"""What the provider, or somebody in its place, says over the direct way: ID tokens and answers with them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx

from pylae.testing import make_token
from support.login_attacks.stage import Attempt, Stage, attacks
from support.oidc_provider import SECRET, Answer, Call, decoded
from support.oidc_provider.keys import Key
from support.tokens import segment

CORE = "OpenID Connect Core 1.0, section"
JWS = "RFC 8725, section"
STRANGER = Key("ES256")


def _lie(header: dict[str, Any] | None = None, key: Key | None = None, **claims: Any) -> Attempt:
    """An ID token with these claims. The control is signed anew by the provider's key too, with none changed."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        with stage.browser() as browser:
            begun = stage.begin(browser)
            if is_wrong:
                stage.provider.lie(
                    header, key, **{name: one() if callable(one) else one for name, one in claims.items()}
                )
            else:
                stage.provider.lie()
            return stage.end(begun)

    return attempt


def _altered(change: Callable[[Stage, Answer], Answer | None]) -> Attempt:
    """Another answer of the token endpoint."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        with stage.browser() as browser:
            begun = stage.begin(browser)
            if is_wrong:
                stage.provider.alter("token", lambda _, answer: change(stage, answer))
            return stage.end(begun)

    return attempt


def _token(change: Callable[[Stage, str], Any]) -> Attempt:
    """Another ID token in the answer."""
    return _altered(lambda stage, answer: answer.saying(id_token=change(stage, answer.json["id_token"])))


def _later(seconds: int) -> Callable[[], int]:
    return lambda: int(time.time()) + seconds


def _with_secret(secret: str) -> Callable[[Stage, str], str]:
    return lambda _, token: make_token(decoded(token)[1], secret=secret, header={})


def _unsigned(_: Stage, token: str) -> str:
    return token.rpartition(".")[0] + "."


def _bit(_: Stage, token: str) -> str:
    head, claims, signature = token.split(".")
    return f"{head}.{claims}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def _twice_named(stage: Stage, token: str) -> str:
    """A second `sub`: who reads the first one and who the last differ (RFC 8259, section 4)."""
    header, claims = decoded(token)
    text = json.dumps(claims)[:-1] + ', "sub": "grace"}'
    return _raw(stage, json.dumps(header), text)


def _raw(stage: Stage, header: str, claims: str) -> str:
    signed = f"{segment(header.encode())}.{segment(claims.encode())}"
    key = stage.provider.keys.first
    return f"{signed}.{segment(key.signature(signed.encode()))}"


def _same_kid(_: Stage, token: str) -> str:
    header, claims = decoded(token)
    forged = Key()
    return forged.sign(claims, kid=header["kid"])


def _embedded(_: Stage, token: str) -> str:
    """The key that verifies it is in the token."""
    forged = Key()
    return forged.sign(decoded(token)[1], kid=None, jwk=forged.jwk())


def _linked(_: Stage, token: str) -> str:
    return Key().sign(decoded(token)[1], kid="theirs", jku="https://evil.example/keys")


def _nonce_of_another(stage: Stage, is_wrong: bool) -> httpx.Response:
    """An ID token that was issued for another login of the same person."""
    with stage.browser() as browser, stage.browser() as elsewhere:
        begun, other = stage.begin(browser), stage.begin(elsewhere)
        nonce = (other if is_wrong else begun).asked["nonce"]
        stage.provider.lie(nonce=nonce)
        return stage.end(begun)


def _clock(wrong: int, right: int) -> Attempt:
    """The clock of the provider is ahead by so many seconds. What `leeway` allows passes."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        ahead = wrong if is_wrong else right
        try:
            with stage.browser() as browser:
                # A browser takes no cookies of the past, and a code ends soon.
                stage.provider.configure(clock=max(0, ahead))
                begun = stage.begin(browser)
                stage.provider.configure(clock=ahead)
                return stage.end(begun)
        finally:
            stage.provider.configure(clock=0)

    return attempt


def _userinfo_of_another(stage: Stage, is_wrong: bool) -> httpx.Response:
    """The endpoint speaks of somebody else than the ID token."""
    running = stage.start(userinfo=True)
    before, stage.running = stage.running, running
    try:
        stage.provider.register(running.url)
        if is_wrong:
            stage.provider.alter("userinfo", lambda _, answer: answer.saying(sub="grace"))
        with stage.browser() as browser:
            return stage.log_in(browser)
    finally:
        stage.running = before
        stage.provider.register(before.url)


def _say(status: int = 200, body: bytes = b"", *fields: tuple[str, str]) -> Callable[[Stage, Answer], Answer]:
    kind = (("Content-Type", "application/json"), *fields)
    return lambda _stage, _answer: Answer(status, kind, body)


def _discovered(**changed: Any) -> Attempt:
    """Metadata with other members, read by a gateway that has just started."""

    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        def lie(_: Call, answer: Answer) -> Answer:
            return answer.saying(**changed)

        if is_wrong:
            stage.provider.alter("discovery", lie)
        before = stage.running
        stage.running = stage.start()
        try:
            stage.provider.register(stage.running.url)
            with stage.browser() as browser:
                opened = browser.get("/orders", headers={"Accept": "text/html", "Sec-Fetch-Mode": "navigate"})
                return opened if opened.status_code != 302 else stage.log_in(browser)
        finally:
            stage.running = before
            stage.provider.register(before.url)

    return attempt


ATTACKS = (
    *attacks(
        "login",
        ("alg none", f"{JWS} 2.1", "oidc_id_token_algorithm", _lie({"alg": "none"})),
        ("alg None", f"{JWS} 2.1", "oidc_id_token_algorithm", _lie({"alg": "None"})),
        ("HS256 with the public key", f"{JWS} 2.1", "oidc_id_token_algorithm", _lie({"alg": "HS256"})),
        ("HS256 with the client's secret", f"{JWS} 2.1", "oidc_id_token_algorithm", _token(_with_secret(SECRET))),
        ("no signature", f"{JWS} 3.3", "oidc_id_token_signature", _token(_unsigned)),
        ("a bit of the signature", f"{JWS} 3.3", "oidc_id_token_signature", _token(_bit)),
        ("another key with the kid of the right one", f"{JWS} 3.10", "oidc_id_token_signature", _token(_same_kid)),
        ("a key of which nobody knows", f"{JWS} 3.10", "oidc_id_token_signature", _lie(key=STRANGER)),
        ("the key is in the token", f"{JWS} 3.10", "oidc_id_token_signature", _token(_embedded)),
        ("a link to the key is in the token", f"{JWS} 3.10", "oidc_id_token_key_unknown", _token(_linked)),
        ("crit", "RFC 7515, section 4.1.11", "oidc_id_token_critical", _lie({"crit": ["exp"]})),
        ("a claim stands twice", f"{JWS} 2.4", "oidc_id_token_invalid", _token(_twice_named)),
        ("it is no token", f"{CORE} 3.1.3.7", "oidc_id_token_invalid", _token(lambda *_: "nonsense")),
        ("it is no text", f"{CORE} 3.1.3.3", "oidc_token_response_invalid", _token(lambda *_: 7)),
        ("it is missing", f"{CORE} 3.1.3.3", "oidc_id_token_missing", _token(lambda *_: None)),
        ("it is too large", f"{CORE} 3.1.3.7", "oidc_token_response_invalid", _lie(name="x" * 70_000)),
        ("another issuer in it", f"{CORE} 3.1.3.7", "oidc_id_token_issuer", _lie(iss="https://evil.example")),
        ("no issuer in it", f"{CORE} 3.1.3.7", "oidc_id_token_claim_missing", _lie(iss=None)),
        ("for another client", f"{CORE} 3.1.3.7", "oidc_id_token_audience", _lie(aud="other")),
        ("for nobody", f"{CORE} 3.1.3.7", "oidc_id_token_claim_missing", _lie(aud=None)),
        ("for several without azp", f"{CORE} 3.1.3.7", "oidc_azp_mismatch", _lie(aud=["gateway", "other"])),
        (
            "for several, given to another",
            f"{CORE} 3.1.3.7",
            "oidc_azp_mismatch",
            _lie(aud=["gateway", "other"], azp="other"),
        ),
        ("given to another", f"{CORE} 3.1.3.7", "oidc_azp_mismatch", _lie(azp="other")),
        ("over long ago", f"{CORE} 3.1.3.7", "oidc_id_token_expired", _lie(exp=_later(-3600))),
        ("over beyond the leeway", f"{CORE} 3.1.3.7", "oidc_id_token_expired", _lie(exp=_later(-90))),
        ("never over", f"{CORE} 2", "oidc_id_token_claim_missing", _lie(exp=None)),
        ("issued tomorrow", f"{CORE} 3.1.3.7", "oidc_issued_in_future", _lie(iat=_later(86400))),
        ("issued nobody knows when", f"{CORE} 2", "oidc_id_token_claim_missing", _lie(iat=None)),
        ("good from tomorrow on", "RFC 7519, section 4.1.5", "oidc_id_token_not_yet_valid", _lie(nbf=_later(86400))),
        ("a clock that is ahead", f"{CORE} 3.1.3.7", "oidc_issued_in_future", _clock(300, 15)),
        ("a clock that is behind", f"{CORE} 3.1.3.7", "oidc_id_token_expired", _clock(-4000, -15)),
        ("without a nonce", f"{CORE} 15.5.2", "oidc_nonce_missing", _lie(nonce=None)),
        ("another nonce", f"{CORE} 15.5.2", "oidc_nonce_mismatch", _lie(nonce="other")),
        ("the nonce of another login", f"{CORE} 15.5.2", "oidc_nonce_mismatch", _nonce_of_another),
        ("a nonce that is no text", f"{CORE} 15.5.2", "oidc_nonce_mismatch", _lie(nonce=True)),
        ("about nobody", f"{CORE} 2", "oidc_id_token_claim_missing", _lie(sub=None)),
        ("about an empty name", f"{CORE} 2", "oidc_id_token_invalid", _lie(sub="")),
        ("about a list", f"{CORE} 2", "oidc_id_token_invalid", _lie(sub=["ada"])),
        ("about a name that is too long", f"{CORE} 2", "oidc_id_token_invalid", _lie(sub="a" * 2000)),
        (
            "about a name with a line end",
            "RFC 9110, section 5.5",
            "oidc_id_token_invalid",
            _lie(sub="ada\r\nX-User-Role: admin"),
        ),
        (
            "a hash of another access token",
            f"{CORE} 3.1.3.8",
            "oidc_at_hash_mismatch",
            _lie(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
        ),
        ("userinfo of somebody else", f"{CORE} 5.3.4", "oidc_userinfo_subject", _userinfo_of_another),
        (
            "the answer is a redirect",
            "RFC 9700, section 4.12",
            "oidc_token_failed",
            _altered(_say(307, b"", ("Location", "/token"))),
        ),
        (
            "the answer is no JSON",
            "RFC 6749, section 5.1",
            "oidc_token_response_invalid",
            _altered(_say(200, b"<html>")),
        ),
        ("the answer is a list", "RFC 6749, section 5.1", "oidc_token_response_invalid", _altered(_say(200, b"[]"))),
        (
            "the answer is too large",
            "RFC 6749, section 5.1",
            "oidc_token_failed",
            _altered(_say(200, b'"' + b"x" * 2_000_000 + b'"')),
        ),
        ("the provider fails", "RFC 6749, section 5.2", "oidc_token_failed", _altered(_say(500, b"{}"))),
        ("the provider is gone", "RFC 6749, section 5.2", "oidc_token_failed", _altered(lambda *_: None)),
        (
            "a kind of token that was not asked for",
            "RFC 6749, section 7.1",
            "oidc_token_response_invalid",
            _altered(lambda _, answer: answer.saying(token_type="mac")),
        ),
    ),
    *attacks(
        "discovery",
        (
            "metadata of another issuer",
            "OpenID Connect Discovery 1.0, section 4.3",
            "oidc_discovery_issuer",
            _discovered(issuer="https://evil.example"),
        ),
        (
            "metadata without a token endpoint",
            "OpenID Connect Discovery 1.0, section 3",
            "oidc_discovery_invalid",
            _discovered(token_endpoint=None),
        ),
        (
            "metadata with an endpoint over plain HTTP elsewhere",
            "RFC 9700, section 2.6",
            "oidc_discovery_invalid",
            _discovered(token_endpoint="http://evil.example/token"),
        ),
    ),
)
