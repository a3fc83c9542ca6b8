"""The provider of the other tests does what theirs rely on; no gateway takes part."""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from support.oidc_provider import CLIENT, SECRET, Answer, OidcProvider, decoded
from support.oidc_provider.browser import follow
from support.proofs import Prover
from support.tls import Authority

GATEWAY = "http://127.0.0.1:1"  # nobody listens there: redirects to it are not followed
VERIFIER = "a-verifier-of-forty-three-characters-at-the-least"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SCOPE = "openid email profile"
ALONE: dict[str, Any] = {"verify": False, "trust_env": False}
"""Requests know nothing of the machine."""


@pytest.fixture
def provider(oidc_provider: OidcProvider) -> OidcProvider:
    oidc_provider.register(GATEWAY)
    return oidc_provider


def parameters(**changed: str) -> dict[str, str]:
    """Those of an authorization request (RFC 6749, section 4.1.1; RFC 7636, section 4.3)."""
    known = {"response_type": "code", "client_id": CLIENT, "redirect_uri": f"{GATEWAY}/oauth2/callback"}
    pkce = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    return {**known, **pkce, "scope": SCOPE, "state": "s", "nonce": "n", **changed}


def authorize(provider: OidcProvider, browser: httpx.Client, **changed: str) -> dict[str, str]:
    """What comes back to the gateway."""
    url = f"{provider.issuer}/auth?{urlencode(parameters(**changed))}"
    answer = follow(browser, url, until=GATEWAY).answer
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    return {name: value for name, (value,) in query.items()}


def ask(provider: OidcProvider, path: str, *, verify: Any = False, **sent: Any) -> httpx.Response:
    """A request of the gateway with its secret."""
    fields = sent.pop("fields", {})
    return httpx.post(
        f"{provider.issuer}{path}", data=sent, auth=(CLIENT, SECRET), headers=fields, verify=verify, trust_env=False
    )


def exchange(provider: OidcProvider, code: str, **options: Any) -> httpx.Response:
    sent = {"grant_type": "authorization_code", "code": code, "redirect_uri": f"{GATEWAY}/oauth2/callback"}
    return ask(provider, "/token", **sent, code_verifier=VERIFIER, **options)


def tokens(provider: OidcProvider, **options: Any) -> dict[str, Any]:
    with provider.browser(verify=options.get("verify", False)) as browser:
        answer = exchange(provider, authorize(provider, browser)["code"], **options)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refresh(provider: OidcProvider, token: str) -> httpx.Response:
    return ask(provider, "/token", grant_type="refresh_token", refresh_token=token)


def test_a_login(provider: OidcProvider) -> None:
    with provider.browser() as browser:
        back = authorize(provider, browser)
    assert (back["state"], back["iss"]) == ("s", provider.issuer)
    got = exchange(provider, back["code"]).json()
    header, claims = decoded(got["id_token"])
    assert header == {"alg": "RS256", "kid": provider.keys.first.kid}
    assert {
        "iss": provider.issuer,
        "aud": CLIENT,
        "sub": "ada",
        "nonce": "n",
        "role": "customer",
    }.items() <= claims.items()
    assert claims["email"] == "ada@example.com"
    again = exchange(provider, back["code"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    called = {"authorization": 1, "token": 2, "other": 2}
    assert {name: len(provider.calls(name)) for name in called} == called


def test_who_logs_in(provider: OidcProvider) -> None:
    with provider.browser() as browser:
        provider.configure(login="grace")
        code = authorize(provider, browser)["code"]
        assert decoded(exchange(provider, code).json()["id_token"])[1]["role"] == "admin"
        # The provider remembers her.
        provider.configure(login="ada")
        assert decoded(exchange(provider, authorize(provider, browser)["code"]).json()["id_token"])[1]["sub"] == "grace"
    with provider.browser() as browser:
        code = authorize(provider, browser, login_hint="grace")["code"]
        assert decoded(exchange(provider, code).json()["id_token"])[1]["sub"] == "grace"


def test_a_refusal(provider: OidcProvider) -> None:
    provider.configure(refuse="access_denied")
    with provider.browser() as browser:
        assert authorize(provider, browser)["error"] == "access_denied"


def test_a_form(provider: OidcProvider) -> None:
    provider.configure(login="")
    with provider.browser() as browser:
        page = follow(browser, f"{provider.issuer}/auth?{urlencode(parameters())}").answer
        assert "<option>grace</option>" in page.text
        sent = browser.post(str(page.url), data={"account": "grace", "password": "x", "go": "in"})
        back = follow(browser, sent.headers["Location"], until=GATEWAY).answer.headers["Location"]
    assert back.startswith(f"{GATEWAY}/oauth2/callback?code=")


def test_without_pkce_nobody_gets_in(provider: OidcProvider) -> None:
    with provider.browser() as browser:
        back = authorize(provider, browser, code_challenge="", code_challenge_method="")
        assert back["error"] == "invalid_request"


def test_a_public_client_and_one_that_sends_its_secret_in_the_form(provider: OidcProvider) -> None:
    provider.register(GATEWAY, token_endpoint_auth_method="none")
    with provider.browser() as browser:
        sent = {"grant_type": "authorization_code", "redirect_uri": f"{GATEWAY}/oauth2/callback", "client_id": CLIENT}
        sent["code_verifier"] = VERIFIER
        code = authorize(provider, browser)["code"]
        assert httpx.post(f"{provider.issuer}/token", data={**sent, "code": code}, **ALONE).status_code == 200
        provider.register(GATEWAY, token_endpoint_auth_method="client_secret_post")
        code = authorize(provider, browser)["code"]
        posted = {**sent, "code": code, "client_secret": SECRET}
        assert httpx.post(f"{provider.issuer}/token", data=posted, **ALONE).status_code == 200


def test_a_refresh_token_is_good_once(provider: OidcProvider) -> None:
    first = tokens(provider)
    second = refresh(provider, first["refresh_token"])
    assert second.status_code == 200
    assert second.json()["refresh_token"] != first["refresh_token"]
    assert refresh(provider, first["refresh_token"]).json()["error"] == "invalid_grant"
    # It was stolen, so all of that login is void (RFC 9700, section 4.14.2).
    assert refresh(provider, second.json()["refresh_token"]).status_code == 400
    assert len(provider.calls("token", grant_type="refresh_token")) == 3


def test_tokens_end(provider: OidcProvider) -> None:
    provider.configure(ttl={"AccessToken": 5})
    got = tokens(provider)
    assert got["expires_in"] == 5
    ask_for = {"headers": {"Authorization": f"Bearer {got['access_token']}"}}
    assert httpx.get(f"{provider.issuer}/me", **ask_for, **ALONE).json()["email"] == "ada@example.com"
    provider.configure(clock=6)
    assert httpx.get(f"{provider.issuer}/me", **ask_for, **ALONE).status_code == 401
    assert ask(provider, "/token/introspection", token=got["access_token"]).json() == {"active": False}


def test_introspection_and_revocation(provider: OidcProvider) -> None:
    token = tokens(provider)["access_token"]
    said = ask(provider, "/token/introspection", token=token).json()
    assert {"active": True, "sub": "ada", "client_id": CLIENT, "scope": SCOPE}.items() <= said.items()
    provider.register(GATEWAY, introspection_signed_response_alg="RS256")
    kind = "application/token-introspection+jwt"
    signed = ask(provider, "/token/introspection", token=token, fields={"Accept": kind})
    assert signed.headers["Content-Type"].startswith(kind)
    assert decoded(signed.text)[1]["token_introspection"]["sub"] == "ada"
    assert ask(provider, "/token/revocation", token=token).status_code == 200
    assert ask(provider, "/token/introspection", token=token).json() == {"active": False}


def test_pushed_requests(provider: OidcProvider) -> None:
    provider.configure(require_par=True)
    with provider.browser() as browser:
        assert authorize(provider, browser)["error"] == "invalid_request"
        pushed = ask(provider, "/request", **parameters()).json()
        short = urlencode({"client_id": CLIENT, "request_uri": pushed["request_uri"]})
        answer = follow(browser, f"{provider.issuer}/auth?{short}", until=GATEWAY).answer
    assert "code=" in answer.headers["Location"]


def test_tokens_for_machines_and_for_a_resource(provider: OidcProvider) -> None:
    provider.configure(resource="https://api.example", scopes=["orders:read"])
    got = ask(provider, "/token", grant_type="client_credentials", scope="orders:read").json()
    header, claims = decoded(got["access_token"])
    assert header["typ"] == "at+jwt"
    assert (claims["aud"], claims["scope"], claims["sub"]) == ("https://api.example", "orders:read", CLIENT)
    assert decoded(tokens(provider)["access_token"])[1]["sub"] == "ada"


def test_tokens_bound_to_a_key(provider: OidcProvider) -> None:
    provider.configure(resource="https://api.example")
    prover = Prover()
    proof = {"DPoP": prover.proof("", f"{provider.issuer}/token", htm="POST", ath=None)}
    got = tokens(provider, fields=proof)
    assert got["token_type"] == "DPoP"
    assert decoded(got["access_token"])[1]["cnf"] == {"jkt": prover.thumbprint}
    provider.configure(dpop_nonce=True)
    with provider.browser() as browser:
        answer = exchange(provider, authorize(provider, browser)["code"], fields=proof)
    assert (answer.json()["error"], "dpop-nonce" in answer.headers) == ("use_dpop_nonce", True)


def test_tokens_bound_to_a_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.server("127.0.0.1")
    server.verify_mode = ssl.CERT_OPTIONAL
    server.load_verify_locations(authority.file)
    with OidcProvider(context=server, resource="https://api.example") as provider:
        assert provider.issuer.startswith("https://")
        provider.register(GATEWAY, tls_client_certificate_bound_access_tokens=True)
        got = tokens(provider, verify=authority.context(**authority.issue("client", "client.example")))
    assert set(decoded(got["access_token"])[1]["cnf"]) == {"x5t#S256"}


def test_other_keys(provider: OidcProvider) -> None:
    def published() -> list[str]:
        return [key["kid"] for key in httpx.get(f"{provider.issuer}/jwks", **ALONE).json()["keys"]]

    before = provider.keys.first.kid
    after = provider.rotate().kid
    assert published() == [after, before]
    assert decoded(tokens(provider)["id_token"])[0]["kid"] == after
    last = provider.rotate(keep=False).kid
    assert published() == [last]


def test_a_logout_is_told_to_the_gateway(provider: OidcProvider) -> None:
    """It stands behind another one here, which takes what comes."""
    with OidcProvider() as other, provider.browser() as browser:
        provider.register(GATEWAY, backchannel_logout_uri=f"{other.issuer}/logout", rp_initiated_logout=None)
        got = exchange(provider, authorize(provider, browser)["code"]).json()
        query = urlencode({"id_token_hint": got["id_token"], "post_logout_redirect_uri": f"{GATEWAY}/", "state": "z"})
        last = follow(browser, f"{provider.issuer}/session/end?{query}", until=GATEWAY).answer
        assert last.headers["Location"] == f"{GATEWAY}/?state=z"
        (call,) = other.wait_for_calls("other", 1)
    header, claims = decoded(call.sent["logout_token"])
    made_header, made = decoded(provider.logout_token(sub="ada", sid=claims["sid"]))
    assert (header, set(claims), claims["events"]) == (made_header, set(made), made["events"])


def test_its_faults(provider: OidcProvider) -> None:
    provider.lie({"alg": "none"}, role="admin", nonce=None)
    header, claims = decoded(tokens(provider)["id_token"])
    assert (header["alg"], claims["role"], "nonce" in claims) == ("none", "admin", False)
    provider.alter("token", Answer(503, body=b"later"))
    assert refresh(provider, "any").text == "later"
    provider.alter("token", None)
    with pytest.raises(httpx.RemoteProtocolError):
        refresh(provider, "any")
    provider.mend()
    assert refresh(provider, "any").status_code == 400
    provider.down()
    with pytest.raises(httpx.TransportError):
        refresh(provider, "any")
    provider.mend()
    with provider.held("token") as wait_for:
        late = threading.Thread(target=refresh, args=(provider, "any"))
        late.start()
        wait_for(1)
    late.join()


def test_what_it_refuses(provider: OidcProvider) -> None:
    with pytest.raises(ValueError, match="redirect_uris"):
        provider.register(GATEWAY, redirect_uris=["ftp://example.com"])
    assert tokens(provider)["token_type"] == "Bearer"
