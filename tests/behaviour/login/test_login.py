"""Logins at a real provider, from the first page to the session, and all that goes wrong on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from pylae.hooks import User
from pylae.identity.login.pages import NO_STORE
from support.exposition import Page
from support.oidc_provider import Answer, OidcProvider, follow
from support.oidc_provider.browser import open_page
from support.running import Running

Start = Callable[..., Running]
COOKIE = "pylae-oidc"


def told(answer: httpx.Response) -> dict[str, str]:
    """The fields that the service got."""
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["headers"])


def api(browser: httpx.Client, running: Running, path: str = "/api") -> httpx.Response:
    """A request of a program, or of a page's script."""
    return browser.get(f"{running.url}{path}", headers={"Accept": "application/json", "Sec-Fetch-Site": "same-origin"})


def failure(answer: httpx.Response, status: int) -> None:
    """A login has failed, and the browser learns no more."""
    assert answer.status_code == status
    assert "The login has failed" in answer.text
    assert not re.search(r"state|nonce|token|signature|issuer|iss\b", answer.text)
    assert_kept_nowhere(answer)
    assert COOKIE not in {name for name in answer.cookies if answer.cookies[name]}


def assert_kept_nowhere(answer: httpx.Response) -> None:
    for name, value in NO_STORE:
        assert answer.headers[name] == value


def reasons(running: Running) -> dict[str, float]:
    """What has failed, by the metrics."""
    page = Page.of(running.gateway)
    return {reason: count for (reason,), count in page.by("pylae_login_failures_total", "reason").items()}


def test_a_login(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start()
    login = oidc_provider.login(browser, f"{running.url}/orders/7?page=2&q=a%20b")
    assert login.answer.json()["target"] == "/orders/7?page=2&q=a%20b"
    fields = told(login.answer)
    assert (fields["x-user-id"], fields["x-user-email"], fields["x-user-role"]) == (
        "ada",
        "ada@example.com",
        "customer",
    )
    begun, back = login.way[0], login.at("/oauth2/callback")
    assert (begun.status_code, back.status_code) == (302, 303)
    for answer in (begun, back):
        assert_kept_nowhere(answer)
    (attempt,) = begun.headers.get_list("set-cookie")
    name = attempt.partition("=")[0]
    assert re.fullmatch(rf"{COOKIE}-attempt-[\w-]{{8}}", name)
    assert attempt.split("; ")[1:] == ["Path=/", "Max-Age=600", "HttpOnly", "SameSite=Lax"]
    session, used = back.headers.get_list("set-cookie")
    assert session.split("; ")[1:] == ["Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Lax"]
    assert len(session.partition(";")[0]) <= 1024
    assert used.startswith(f"{name}=; Path=/; Max-Age=0;")
    assert told(api(browser, running))["x-user-id"] == "ada"
    assert Page.of(running.gateway).value("pylae_logins_total", authenticator="oidc") == 1


def test_what_the_provider_is_asked(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start(scopes=["openid", "email"], prompt="login", extra={"ui_locales": "de", "login_hint": "grace"})
    for _ in range(2):
        browser.cookies.clear()
        assert told(oidc_provider.login(browser, f"{running.url}/").answer)["x-user-id"] == "grace"
    first, second = (one.sent for one in oidc_provider.calls("par"))
    known = {"response_type": "code", "client_id": "gateway", "redirect_uri": f"{running.url}/oauth2/callback"}
    known |= {"scope": "openid email", "code_challenge_method": "S256", "prompt": "login", "ui_locales": "de"}
    assert known.items() <= first.items()
    for random in ("state", "nonce", "code_challenge"):
        assert len(first[random]) >= 22
        assert first[random] != second[random]
    assert all(set(one.sent) == {"client_id", "request_uri"} for one in oidc_provider.calls("authorization")[::2])
    token = oidc_provider.calls("token")[0]
    assert set(token.sent) == {"grant_type", "code", "redirect_uri", "code_verifier"}
    assert token.fields["authorization"].startswith("Basic ")


@pytest.mark.parametrize("method", ["post", "none"])
def test_how_the_client_proves_who_it_is(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client, method: str
) -> None:
    kind = {"post": "client_secret_post", "none": "none"}[method]
    secret = {"client_secret": None} if method == "none" else {"client_auth": "post"}
    running = start(client={"token_endpoint_auth_method": kind}, **secret)
    assert told(oidc_provider.login(browser, f"{running.url}/").answer)["x-user-id"] == "ada"
    (call,) = oidc_provider.calls("token")
    assert "authorization" not in call.fields
    assert ("client_secret" in call.sent) is (method == "post")


def test_a_provider_without_pushed_requests(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    oidc_provider.alter("discovery", lambda _, said: said.saying(pushed_authorization_request_endpoint=None))
    running = start()
    assert told(oidc_provider.login(browser, f"{running.url}/").answer)["x-user-id"] == "ada"
    assert "code_challenge" in oidc_provider.calls("authorization")[0].sent


def test_a_provider_that_refuses_pushed_requests(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client
) -> None:
    oidc_provider.alter("par", Answer(400, body=b'{"error": "unauthorized_client"}'))
    running = start()
    assert told(oidc_provider.login(browser, f"{running.url}/").answer)["x-user-id"] == "ada"
    assert "code_challenge" in oidc_provider.calls("authorization")[0].sent


def test_pushed_requests_that_are_required_are_not_left_out(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client
) -> None:
    oidc_provider.configure(require_par=True)
    oidc_provider.alter("par", Answer(400, body=b'{"error": "unauthorized_client"}'))
    running = start()
    failure(open_page(browser, f"{running.url}/"), 503)
    assert reasons(running) == {"oidc_par_failed": 1}


def test_several_tabs(start: Start, browser: httpx.Client) -> None:
    running = start()
    tabs = [follow(browser, f"{running.url}/tab/{tab}", until=running.url).answer for tab in range(3)]
    assert len([name for name in browser.cookies if "-attempt-" in name]) == 3
    for tab in (1, 0, 2):
        answer = follow(browser, tabs[tab].headers["location"]).answer
        assert answer.json()["target"] == f"/tab/{tab}"
        assert told(answer)["x-user-id"] == "ada"
    assert not [name for name in browser.cookies if "-attempt-" in name]


def test_only_a_few_attempts_at_once(start: Start, browser: httpx.Client) -> None:
    running = start()
    tabs = [follow(browser, f"{running.url}/tab/{tab}", until=running.url).answer for tab in range(7)]
    assert len([name for name in browser.cookies if "-attempt-" in name]) == 5
    answers = [follow(browser, tab.headers["location"]).answer.status_code for tab in tabs]
    # All began in the same second or so: which ones made room is not said.
    assert sorted(answers) == [200] * 5 + [400] * 2


@pytest.fixture
def returned(start: Start, browser: httpx.Client) -> tuple[Running, httpx.URL]:
    """A login whose last step is still to be made: where the provider sends the browser."""
    running = start()
    answer = follow(browser, f"{running.url}/orders", until=running.url).answer
    return running, httpx.URL(answer.headers["location"])


def test_the_control(returned: tuple[Running, httpx.URL], browser: httpx.Client) -> None:
    _, back = returned
    assert told(follow(browser, str(back)).answer)["x-user-id"] == "ada"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"state": None}, "state_missing"),
        ({"state": ""}, "state_missing"),
        ({"state": "another"}, "attempt_missing"),
        ({"iss": None}, "iss_missing"),
        ({"iss": "https://evil.test"}, "iss_mismatch"),
        ({"iss": ""}, "iss_mismatch"),
        ({"code": None}, "code_missing"),
        ({"code": ""}, "code_missing"),
        ({"code": "another"}, "code_refused"),
        ({"error": "invalid_scope"}, "provider_error"),
        ({"error": "<script>"}, "provider_error"),
    ],
)
def test_callbacks_that_were_changed(
    returned: tuple[Running, httpx.URL], browser: httpx.Client, changed: dict[str, str | None], reason: str
) -> None:
    running, back = returned
    sent = {name: value for name, value in {**dict(back.params), **changed}.items() if value is not None}
    failure(open_page(browser, str(back.copy_with(params=sent)), "cross-site"), 400)
    assert reasons(running) == {f"oidc_{reason}": 1}
    assert api(browser, running).status_code == 401


@pytest.mark.parametrize("name", ["state", "code", "iss"])
def test_a_parameter_that_is_there_twice(returned: tuple[Running, httpx.URL], browser: httpx.Client, name: str) -> None:
    running, back = returned
    failure(open_page(browser, f"{back}&{name}={back.params[name]}", "cross-site"), 400)
    assert reasons(running) == {"oidc_parameter_repeated": 1}


def test_a_callback_counts_once(
    returned: tuple[Running, httpx.URL], browser: httpx.Client, oidc_provider: OidcProvider
) -> None:
    running, back = returned
    before = dict(browser.cookies)
    assert open_page(browser, str(back), "cross-site").status_code == 303
    failure(open_page(browser, str(back), "cross-site"), 400)
    with oidc_provider.browser() as thief:
        thief.cookies.update(before)
        failure(open_page(thief, str(back), "cross-site"), 400)
    assert reasons(running) == {"oidc_attempt_missing": 1, "oidc_attempt_used": 1}
    assert len(oidc_provider.calls("token")) == 1


def test_a_callback_of_another_browser(returned: tuple[Running, httpx.URL], oidc_provider: OidcProvider) -> None:
    """Somebody makes a browser finish a login of theirs (login CSRF)."""
    running, back = returned
    with oidc_provider.browser() as victim:
        # It has an attempt of its own.
        assert follow(victim, f"{running.url}/", until=running.url).answer.is_redirect
        failure(open_page(victim, str(back), "cross-site"), 400)
    assert reasons(running) == {"oidc_attempt_missing": 1}


def test_an_attempt_that_was_changed(returned: tuple[Running, httpx.URL], browser: httpx.Client) -> None:
    running, back = returned
    (name,) = [one for one in browser.cookies if "-attempt-" in one]
    value = browser.cookies[name]
    browser.cookies.delete(name)
    browser.cookies.set(name, value[:-4] + ("AAAA" if value[-4:] != "AAAA" else "BBBB"))
    failure(open_page(browser, str(back), "cross-site"), 400)
    assert reasons(running) == {"oidc_attempt_invalid": 1}


def test_a_provider_that_refuses_a_login(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start()
    for error, status, reason in (
        ("access_denied", 403, "access_denied"),
        ("temporarily_unavailable", 503, "provider_unavailable"),
        ("invalid_scope", 400, "provider_error"),
    ):
        oidc_provider.configure(refuse=error)
        answer = oidc_provider.login(browser, f"{running.url}/").answer
        failure(answer, status)
        assert "as it was told" not in answer.text
        assert reasons(running)[f"oidc_{reason}"] == 1


def test_programs_get_a_problem(start: Start, browser: httpx.Client) -> None:
    running = start()
    assert api(browser, running).status_code == 401
    answer = browser.get(f"{running.url}/oauth2/callback?state=a&code=b", headers={"Accept": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["detail"], problem["status"]) == ("the login has failed", 400)
    assert problem["request_id"]


LIES: list[tuple[str, dict[str, Any], str]] = [
    ("another issuer", {"iss": "https://evil.test"}, "id_token_issuer"),
    ("no issuer", {"iss": None}, "id_token_claim_missing"),
    ("another audience", {"aud": "somebody"}, "id_token_audience"),
    ("several audiences, and nobody authorized", {"aud": ["gateway", "somebody"]}, "azp_mismatch"),
    ("somebody else authorized", {"azp": "somebody"}, "azp_mismatch"),
    ("over", {"exp": 1000}, "id_token_expired"),
    ("without an end", {"exp": None}, "id_token_claim_missing"),
    ("an end that is a text", {"exp": "9999999999"}, "id_token_invalid"),
    ("issued later", {"iat": 9_999_999_999}, "issued_in_future"),
    ("not yet valid", {"nbf": 9_999_999_999}, "id_token_not_yet_valid"),
    ("of another login", {"nonce": "another"}, "nonce_mismatch"),
    ("of no login", {"nonce": None}, "nonce_missing"),
    ("a nonce that is no text", {"nonce": ["a"]}, "nonce_mismatch"),
    ("for another access token", {"at_hash": "another"}, "at_hash_mismatch"),
    ("of nobody", {"sub": None}, "id_token_claim_missing"),
    ("of an empty name", {"sub": ""}, "id_token_invalid"),
    ("an access token", {"header": {"typ": "at+jwt"}}, "id_token_type"),
    ("a logout token", {"header": {"typ": "logout+jwt"}}, "id_token_type"),
    ("unsigned", {"header": {"alg": "none"}}, "id_token_algorithm"),
    ("signed with the public key", {"header": {"alg": "HS256"}}, "id_token_algorithm"),
    ("another key", {"header": {"kid": "another"}}, "id_token_key_unknown"),
    ("an extension", {"header": {"crit": ["b64"], "b64": False}}, "id_token_critical"),
]


@pytest.mark.parametrize(
    ("lie", "reason"), [(lie, reason) for _, lie, reason in LIES], ids=[name for name, _, _ in LIES]
)
def test_a_provider_that_lies(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client, lie: dict[str, Any], reason: str
) -> None:
    running = start()
    oidc_provider.lie(**lie)
    failure(oidc_provider.login(browser, f"{running.url}/").answer, 400)
    assert reasons(running) == {f"oidc_{reason}": 1}
    assert api(browser, running).status_code == 401
    oidc_provider.mend()
    assert told(oidc_provider.login(browser, f"{running.url}/").answer)["x-user-id"] == "ada"


def test_a_token_that_is_signed_by_somebody_else(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client
) -> None:
    running = start()
    mine = oidc_provider.keys.first
    forged = oidc_provider.rotate()
    forged.kid = mine.kid
    oidc_provider.keys.known = [mine]
    oidc_provider.configure()
    oidc_provider.lie(key=forged)
    failure(oidc_provider.login(browser, f"{running.url}/").answer, 400)
    assert reasons(running) == {"oidc_id_token_signature": 1}


ANSWERS: list[tuple[str, str, Answer, str, int]] = [
    (
        "no ID token",
        "token",
        Answer(200, body=b'{"access_token": "a", "token_type": "Bearer"}'),
        "id_token_missing",
        400,
    ),
    ("no JSON", "token", Answer(200, body=b"<html>"), "token_response_invalid", 503),
    ("no type", "token", Answer(200, (("Content-Type", "text/plain"),), b"{}"), "token_response_invalid", 503),
    ("too long", "token", Answer(200, body=b" " * 300_000), "token_failed", 503),
    ("a redirect", "token", Answer(302, (("Location", "https://evil.test/"),)), "token_failed", 503),
    ("a failure", "token", Answer(500), "token_failed", 503),
    ("a refusal", "token", Answer(401, body=b'{"error": "invalid_client"}'), "client_refused", 502),
    ("no keys", "jwks", Answer(200, body=b'{"keys": []}'), "keys_failed", 503),
    ("keys that are secrets", "jwks", Answer(200, body=b'{"keys": [{"kty": "oct", "k": "YQ"}]}'), "keys_failed", 503),
    ("keys elsewhere", "jwks", Answer(302, (("Location", "https://evil.test/"),)), "keys_failed", 503),
    ("nothing", "discovery", Answer(404), "discovery_failed", 503),
    ("another issuer", "discovery", Answer(200, body=b'{"issuer": "https://evil.test"}'), "discovery_issuer", 503),
]


@pytest.mark.parametrize(
    ("endpoint", "answer", "reason", "status"),
    [one[1:] for one in ANSWERS],
    ids=[f"{one[1]} {one[0]}" for one in ANSWERS],
)
def test_answers_that_cannot_be_used(
    start: Start,
    oidc_provider: OidcProvider,
    browser: httpx.Client,
    endpoint: str,
    answer: Answer,
    reason: str,
    status: int,
) -> None:
    running = start()
    oidc_provider.alter(endpoint, answer)
    failure(oidc_provider.login(browser, f"{running.url}/").answer, status)
    assert reasons(running) == {f"oidc_{reason}": 1}
    oidc_provider.mend()
    assert told(oidc_provider.login(browser, f"{running.url}/").answer)["x-user-id"] == "ada"


def test_a_provider_that_is_away(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start()
    oidc_provider.down()
    failure(open_page(browser, f"{running.url}/"), 503)
    assert api(browser, running).status_code == 401
    oidc_provider.mend()
    assert told(oidc_provider.login(browser, f"{running.url}/").answer)["x-user-id"] == "ada"
    # What was discovered is enough to go on with.
    oidc_provider.alter("discovery", None)
    browser.cookies.clear()
    assert told(oidc_provider.login(browser, f"{running.url}/").answer)["x-user-id"] == "ada"


def test_keys_of_the_provider_change(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start()
    assert told(oidc_provider.login(browser, f"{running.url}/").answer)["x-user-id"] == "ada"
    oidc_provider.rotate()
    browser.cookies.clear()
    assert told(oidc_provider.login(browser, f"{running.url}/").answer)["x-user-id"] == "ada"
    assert len(oidc_provider.calls("jwks")) == 2
    # Unknown keys have the set fetched only so often.
    oidc_provider.lie(header={"kid": "another"})
    for _ in range(3):
        browser.cookies.clear()
        failure(oidc_provider.login(browser, f"{running.url}/").answer, 400)
    assert len(oidc_provider.calls("jwks")) == 2


def test_where_a_link_leads_back_to(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start()
    for given, found in [
        ("/orders?a=b", "/orders?a=b"),
        ("//evil.test/", "/"),
        ("https://evil.test/", "/"),
        ("/\\evil.test", "/"),
        ("/oauth2/logout", "/"),
        ("", "/"),
    ]:
        url = f"{running.url}/oauth2/login?{urlencode({'return_to': given})}"
        login = oidc_provider.login(browser, url)
        assert login.at("/oauth2/callback").headers["location"] == found, given
    twice = f"{running.url}/oauth2/login?return_to=/a&return_to=/b"
    assert oidc_provider.login(browser, twice).at("/oauth2/callback").headers["location"] == "/"


def test_a_strict_cookie(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    """Browsers send it with the navigation of a page of the gateway, but not with a redirect from another site."""
    running = start(same_site="strict")
    login = oidc_provider.login(browser, f"{running.url}/orders?a=1&b=2")
    assert login.answer.request.url.path == "/oauth2/callback"
    assert '<meta http-equiv="refresh" content="0; url=/orders?a=1&amp;b=2">' in login.answer.text
    assert "SameSite=Strict" in login.answer.headers.get_list("set-cookie")[0]
    assert_kept_nowhere(login.answer)
    assert told(api(browser, running))["x-user-id"] == "ada"


def test_claims(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    accounts = {"ada": {"email": "ada@example.com", "groups": ["staff", "admin"], "realm_access": {"roles": ["a:b"]}}}
    oidc_provider.configure(accounts=accounts)
    claims = {"id": "email", "role": "groups", "permissions": "realm_access.roles"}
    config = {"routes": [{"prefix": "/", "service": "all", "permissions": "a:b", "roles": "staff"}]}
    running = start(config, claims=claims)
    fields = told(oidc_provider.login(browser, f"{running.url}/").answer)
    assert (fields["x-user-id"], fields["x-user-role"]) == ("ada@example.com", "staff,admin")


def test_claims_of_userinfo(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    oidc_provider.configure(id_token_claims=False)
    running = start(userinfo=True)
    assert told(oidc_provider.login(browser, f"{running.url}/").answer)["x-user-role"] == "customer"
    for answer, reason in (
        (Answer(200, body=b'{"sub": "grace"}'), "userinfo_subject"),
        (Answer(401), "userinfo_failed"),
        (Answer(200, (("Content-Type", "application/jwt"),), b"a.b.c"), "userinfo_failed"),
    ):
        browser.cookies.clear()
        oidc_provider.alter("userinfo", answer)
        assert oidc_provider.login(browser, f"{running.url}/").answer.status_code in (400, 503)
        assert f"oidc_{reason}" in reasons(running)


def test_a_user_that_does_not_fit_into_a_cookie(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client
) -> None:
    oidc_provider.configure(accounts={"ada": {"groups": [f"group number {number}" for number in range(500)]}})
    running = start(claims={"permissions": "groups"})
    login = oidc_provider.login(browser, f"{running.url}/")
    assert told(login.answer)["x-user-id"] == "ada"
    assert len(login.at("/oauth2/callback").headers.get_list("set-cookie")[0]) < 500
    assert told(api(browser, running))["x-user-id"] == "ada"
    whose = browser.get(f"{running.url}/oauth2/session").json()
    assert len(whose["permissions"]) == 500


def test_a_function_says_who_has_access(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    def user(claims: dict[str, Any]) -> User | None:
        return User(claims["email"], role="staff") if claims["sub"] == "ada" else None

    running = start(user=user)
    fields = told(oidc_provider.login(browser, f"{running.url}/").answer)
    assert (fields["x-user-id"], fields["x-user-role"]) == ("ada@example.com", "staff")
    browser.cookies.clear()
    answer = oidc_provider.login(browser, f"{running.url}/", "grace").answer
    assert (answer.status_code, "You have no access" in answer.text) == (403, True)
    assert reasons(running) == {"oidc_no_access": 1}


def test_several_providers(gateway: Callable[..., Running], oidc_provider: OidcProvider, echo: Any) -> None:
    with OidcProvider(login="grace") as other, oidc_provider.browser() as browser:
        logins = [oidc_provider.settings(name="shop"), other.settings(name="staff", path="/staff/login")]
        routes = [
            {"prefix": "/shop", "service": "all", "auth": "shop"},
            {"prefix": "/admin", "service": "all", "auth": "staff"},
        ]
        running = gateway({"auth": {"oidc": logins}, "routes": routes}, all=echo)
        oidc_provider.register(running.url)
        other.register(running.url, "/staff/login")
        assert told(oidc_provider.login(browser, f"{running.url}/shop/a").answer)["x-user-id"] == "ada"
        assert told(other.login(browser, f"{running.url}/admin/b").answer)["x-user-id"] == "grace"
        assert {"pylae-shop", "pylae-staff"} <= set(browser.cookies)
        # A session of one is none of the other.
        shop = browser.cookies["pylae-shop"]
        with oidc_provider.browser(cookies={"pylae-staff": shop, "pylae-shop": shop}) as thief:
            assert thief.get(f"{running.url}/admin/b", headers={"Accept": "*/*"}).status_code == 401
            assert thief.get(f"{running.url}/shop/a", headers={"Accept": "*/*"}).status_code == 200
        # The answer of one provider does not end an attempt at the other (mix-up).
        back = follow(browser, f"{running.url}/staff/login/login", until=running.url).answer.headers["location"]
        mixed = back.replace("/staff/login/callback", "/oauth2/callback")
        failure(open_page(browser, mixed, "cross-site"), 400)


def test_whose_session_it_is(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start()
    url = f"{running.url}/oauth2/session"
    assert browser.get(url).status_code == 401
    oidc_provider.login(browser, f"{running.url}/")
    answer = browser.get(url)
    said = answer.json()
    assert said.pop("expires") > 0
    assert said == {"id": "ada", "email": "ada@example.com", "role": "customer", "permissions": []}
    assert_kept_nowhere(answer)
    assert browser.post(url).status_code in (403, 405)


def test_there_is_nothing_else_below_its_path(start: Start, browser: httpx.Client) -> None:
    running = start()
    assert browser.post(f"{running.url}/oauth2/callback").status_code == 405
    assert browser.get(f"{running.url}/oauth2/backchannel-logout").headers["allow"] == "POST"
    # Others are paths of routes.
    assert browser.get(f"{running.url}/oauth2/other", headers={"Accept": "*/*"}).status_code == 401


def test_a_login_is_behind_a_name(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start(public_url="https://shop.example", path="/a/b")
    oidc_provider.register("https://shop.example", "/a/b")
    begun = open_page(browser, f"{running.url}/orders")
    (attempt,) = begun.headers.get_list("set-cookie")
    assert attempt.startswith("__Host-pylae-oidc-attempt-")
    assert attempt.endswith("; Secure")
    (pushed,) = oidc_provider.calls("par")
    assert pushed.sent["redirect_uri"] == "https://shop.example/a/b/callback"
    assert not parse_qs(urlsplit(begun.headers["location"]).query).get("redirect_uri")
