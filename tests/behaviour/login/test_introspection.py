"""A real provider is asked about its own opaque tokens, in plain answers and signed ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from support.instance import EchoInstance
from support.oidc_provider import CLIENT, SECRET, OidcProvider, follow
from support.proofs import Prover
from support.running import Running
from support.tokens import bearer

Start = Callable[..., Running]
GATEWAY = "http://127.0.0.1:1"  # nobody listens there: redirects to it are not followed
VERIFIER = "a" * 43
CHALLENGE = "ZtNPunH49FD35FWYhT5Tv8I7vRKQJ8uxMaL0_9eHjNA"


@pytest.fixture
def provider(oidc_provider: OidcProvider) -> OidcProvider:
    oidc_provider.register(GATEWAY)
    return oidc_provider


def post(provider: OidcProvider, path: str, fields: dict[str, str] | None = None, **sent: str) -> dict[str, Any]:
    answer = httpx.post(
        f"{provider.issuer}{path}", data=sent, auth=(CLIENT, SECRET), headers=fields or {}, trust_env=False
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json() if answer.content else {}
    return found


def access_token(provider: OidcProvider, fields: dict[str, str] | None = None) -> str:
    """An opaque token of Ada's."""
    back = f"{GATEWAY}/oauth2/callback"
    asked = {"response_type": "code", "client_id": CLIENT, "redirect_uri": back, "scope": "openid email", "state": "s"}
    pkce = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    with provider.browser() as browser:
        answer = follow(browser, f"{provider.issuer}/auth?{urlencode({**asked, **pkce})}", until=GATEWAY).answer
    (code,) = parse_qs(urlsplit(answer.headers["Location"]).query)["code"]
    sent = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": VERIFIER}
    return str(post(provider, "/token", fields, **sent)["access_token"])


def start(gateway: Start, provider: OidcProvider, echo: EchoInstance, **more: Any) -> Running:
    known = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": SECRET}
    return gateway({"auth": {"introspection": {**known, **more}}}, echo=echo)


@pytest.mark.parametrize("signed", [False, True])
def test_a_token_is_known_until_it_is_revoked(
    gateway: Start, provider: OidcProvider, echo: EchoInstance, signed: bool
) -> None:
    if signed:
        provider.register(GATEWAY, introspection_signed_response_alg="RS256")
    running = start(gateway, provider, echo, jwt=signed, cache="1h")
    token = access_token(provider)
    assert token.count(".") != 2
    answers = [running.get("/", bearer(token)) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert b'["x-user-id", "ada"]' in answers[0].body
    assert running.get("/", bearer("guessed")).status == 401
    assert len(provider.calls("introspection")) == 2
    # What is remembered holds; what is not is asked about.
    other = access_token(provider)
    for revoked in (token, other):
        post(provider, "/token/revocation", token=revoked)
    assert [running.get("/", bearer(text)).status for text in (token, other)] == [200, 401]


def test_the_provider_signs_with_another_key(gateway: Start, provider: OidcProvider, echo: EchoInstance) -> None:
    provider.register(GATEWAY, introspection_signed_response_alg="RS256")
    running = start(gateway, provider, echo, jwt=True)
    assert running.get("/", bearer(access_token(provider))).status == 200
    provider.rotate(keep=False)
    tokens = [access_token(provider) for _ in range(3)]
    assert [running.get("/", bearer(token)).status for token in tokens] == [200] * 3
    assert len(provider.calls("jwks")) == 2


def test_a_token_that_is_bound_to_a_key(gateway: Start, provider: OidcProvider, echo: EchoInstance) -> None:
    owner = Prover()
    proof = owner.proof("", f"{provider.issuer}/token", htm="POST", ath=None)
    token = access_token(provider, {"DPoP": proof})
    running = start(gateway, provider, echo)

    def sent(by: Prover, scheme: str = "DPoP") -> int:
        proof = by.proof(token, f"{running.url}/")
        host = f"Host: {running.address}"
        lines = f"{host}\r\nAuthorization: {scheme} {token}\r\nDPoP: {proof}\r\n\r\n"
        return running.raw(f"GET / HTTP/1.1\r\n{lines}".encode(), 1)[0].status

    assert [sent(owner), sent(owner), sent(Prover()), sent(owner, "Bearer"), sent(owner)] == [200, 200, 401, 401, 200]
    assert len(provider.calls("introspection")) == 1


def test_while_the_provider_is_away(gateway: Start, provider: OidcProvider, echo: EchoInstance) -> None:
    running = start(gateway, provider, echo)
    known, new = access_token(provider), access_token(provider)
    assert running.get("/", bearer(known)).status == 200
    provider.down()
    assert [running.get("/", bearer(text)).status for text in (known, new)] == [200, 503]
    provider.mend()
    assert running.get("/", bearer(new)).status == 200
