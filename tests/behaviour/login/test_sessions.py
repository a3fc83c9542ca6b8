"""Sessions: their tokens are refreshed, they end, and they outlive what they should."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from pylae import Gateway
from pylae.errors import StoreUnavailableError
from pylae.hooks import User
from pylae.identity.login import front
from pylae.identity.login.records import Records
from pylae.store.kept import Kept
from support.exposition import Page
from support.instance import EchoInstance
from support.oidc_provider import Answer, OidcProvider, follow
from support.oidc_provider.browser import NAVIGATION, open_page
from support.peer import PATIENCE, wait_until
from support.running import Running, configure

from .conftest import SECRETS, configured

Start = Callable[..., Running]
COOKIE = "pylae-oidc"
PROGRAM = {"Accept": "application/json", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
SOON = {"ttl": {"AccessToken": 2}}
"""Access tokens that are to be refreshed after a second."""


def who(browser: httpx.Client, running: Running) -> str | None:
    """Whom the service is told of; None if nobody is logged in."""
    answer = browser.get(f"{running.url}/api", headers=PROGRAM)
    if answer.status_code == 401:
        return None
    assert answer.status_code == 200, answer.text
    return str(dict(answer.json()["headers"])["x-user-id"])


def role(browser: httpx.Client, running: Running) -> str:
    fields = browser.get(f"{running.url}/api", headers=PROGRAM).json()["headers"]
    return str(dict(fields).get("x-user-role", ""))


def counted(running: Running, name: str, **labels: str) -> float:
    return Page.of(running.gateway).value(name, **labels)


def login(provider: OidcProvider, browser: httpx.Client, running: Running) -> str:
    """Logs in, and returns the cookie of the session."""
    assert provider.login(browser, f"{running.url}/").answer.status_code == 200
    return str(browser.cookies[COOKIE])


def refreshes(provider: OidcProvider) -> int:
    return len(provider.calls("token", grant_type="refresh_token"))


def until_refreshed(provider: OidcProvider, browser: httpx.Client, running: Running, count: int = 1) -> None:
    """Goes on until tokens have been refreshed so often."""

    def is_refreshed() -> bool:
        assert who(browser, running) == "ada"
        return refreshes(provider) >= count

    wait_until(is_refreshed)


def test_tokens_are_refreshed(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    oidc_provider.configure(**SOON)
    running = start()
    first = login(oidc_provider, browser, running)
    until_refreshed(oidc_provider, browser, running, 3)
    tokens = [one.sent["refresh_token"] for one in oidc_provider.calls("token", grant_type="refresh_token")]
    # Each was good once.
    assert len(set(tokens)) == len(tokens)
    assert browser.cookies[COOKIE] != first
    assert counted(running, "pylae_session_refreshes_total", result="refreshed") >= 2


def test_many_requests_refresh_once(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    oidc_provider.configure(**SOON)
    running = start()
    login(oidc_provider, browser, running)
    # What comes of a refresh lasts.
    oidc_provider.configure(ttl={})

    def ask(_: int) -> int:
        with httpx.Client(cookies=dict(browser.cookies), trust_env=False, timeout=30) as one:
            return one.get(f"{running.url}/api", headers=PROGRAM).status_code

    before = refreshes(oidc_provider)
    with ThreadPoolExecutor(50) as pool:
        with oidc_provider.held("token") as wait:
            first = pool.submit(until_refreshed, oidc_provider, browser, running, before + 1)
            wait(1)
            others = [pool.submit(ask, number) for number in range(49)]
        first.result()
        assert [one.result() for one in others] == [200] * 49
    assert refreshes(oidc_provider) == before + 1


def test_roles_follow_a_refresh(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    oidc_provider.configure(**SOON)
    running = start()
    login(oidc_provider, browser, running)
    assert role(browser, running) == "customer"
    oidc_provider.configure(accounts={"ada": {"email": "ada@example.com", "role": "owner"}})
    wait_until(lambda: role(browser, running) == "owner")


def test_a_user_without_access_any_more(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    barred: list[str] = []

    def user(claims: dict[str, Any]) -> User | None:
        return None if claims["sub"] in barred else User(claims["sub"])

    oidc_provider.configure(**SOON)
    running = start(user=user)
    login(oidc_provider, browser, running)
    barred.append("ada")
    wait_until(lambda: who(browser, running) is None)
    assert counted(running, "pylae_sessions_ended_total", by="refresh") == 1


def test_a_refused_refresh_ends_the_session(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    oidc_provider.configure(**SOON)
    running = start()
    cookie = login(oidc_provider, browser, running)
    oidc_provider.alter("token", Answer(400, body=b'{"error": "invalid_grant"}'))
    wait_until(lambda: who(browser, running) is None)
    assert COOKIE not in browser.cookies
    browser.cookies.set(COOKIE, cookie, domain="127.0.0.1")
    assert who(browser, running) is None
    assert counted(running, "pylae_login_failures_total", reason="oidc_refresh_refused") == 1
    oidc_provider.mend()
    login(oidc_provider, browser, running)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(503), "refresh_failed"),
        (Answer(200, body=b"<html>"), "token_response_invalid"),
        (Answer(401, body=b'{"error": "invalid_client"}'), "client_refused"),
        (None, "refresh_failed"),
    ],
    ids=["unavailable", "nonsense", "client", "down"],
)
def test_a_provider_that_is_away_ends_no_session(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client, answer: Answer | None, reason: str
) -> None:
    oidc_provider.configure(**SOON)
    running = start()
    login(oidc_provider, browser, running)
    if answer is None:
        oidc_provider.down()
    else:
        oidc_provider.alter("token", answer)

    def has_failed() -> bool:
        assert who(browser, running) == "ada"
        return f"oidc_{reason}" in running.gateway.metrics()

    wait_until(has_failed)
    assert who(browser, running) == "ada"
    assert counted(running, "pylae_session_refreshes_total", result="failed") >= 1


def test_another_user_in_a_refresh_ends_the_session(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client
) -> None:
    oidc_provider.configure(**SOON)
    running = start()
    login(oidc_provider, browser, running)
    oidc_provider.lie(sub="grace")
    wait_until(lambda: who(browser, running) is None)
    assert counted(running, "pylae_login_failures_total", reason="oidc_subject_changed") == 1


def test_a_session_ends_by_itself(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start(lifetime="3s", idle="2s")
    cookie = login(oidc_provider, browser, running)

    def is_over() -> bool:
        browser.cookies.set(COOKIE, cookie, domain="127.0.0.1")
        return who(browser, running) is None

    wait_until(is_over)


def test_a_session_that_nobody_uses_ends(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start(idle="2s")
    cookie = login(oidc_provider, browser, running)
    url = f"{running.url}/oauth2/session"
    # To ask is no use of it.
    wait_until(lambda: browser.get(url).status_code == 401)
    browser.cookies.set(COOKIE, cookie, domain="127.0.0.1")
    assert who(browser, running) is None
    assert counted(running, "pylae_sessions_ended_total", by="idle") == 1


def test_a_logout(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start()
    cookie = login(oidc_provider, browser, running)
    url = f"{running.url}/oauth2/logout"
    answer = browser.post(url, headers={"Origin": running.url, "Sec-Fetch-Site": "same-origin"}, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["location"].startswith(f"{oidc_provider.issuer}/session/end?")
    assert COOKIE not in browser.cookies
    # Who has kept the cookie has no session either.
    browser.cookies.set(COOKIE, cookie, domain="127.0.0.1")
    assert who(browser, running) is None
    assert browser.get(f"{running.url}/oauth2/session").status_code == 401
    assert "at+jwt" not in answer.headers["location"]
    (revoked,) = oidc_provider.wait_for_calls("revocation", 1)
    assert revoked.sent["token_type_hint"] == "refresh_token"
    # The provider asks nobody whether to log out, and sends the browser back.
    last = follow(browser, answer.headers["location"], until=running.url).answer
    assert last.headers["location"] == f"{running.url}/oauth2/logout"
    browser.cookies.delete(COOKIE, domain="127.0.0.1")
    back = open_page(browser, last.headers["location"], "cross-site")
    assert (back.status_code, back.headers["location"]) == (303, "/")
    oidc_provider.configure(login="")
    assert "Password" in follow(browser, f"{running.url}/").answer.text


def test_where_a_logout_ends(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start(logout_url="https://shop.example/bye")
    login(oidc_provider, browser, running)
    way = follow(browser, f"{running.url}/oauth2/logout", until="https://shop.example").answer
    assert way.headers["location"] == "https://shop.example/bye"


def test_a_provider_that_cannot_log_out(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    nothing = {"end_session_endpoint": None, "revocation_endpoint": None}
    oidc_provider.alter("discovery", lambda _, said: said.saying(**nothing))
    running = start()
    login(oidc_provider, browser, running)
    answer = open_page(browser, f"{running.url}/oauth2/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert who(browser, running) is None


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("GET", {"Sec-Fetch-Site": "cross-site"}),
        ("GET", {"Sec-Fetch-Site": "same-site"}),
        ("GET", {}),
        ("POST", {"Sec-Fetch-Site": "cross-site"}),
        ("POST", {"Sec-Fetch-Site": "same-site"}),
        ("POST", {"Origin": "https://evil.test"}),
        ("POST", {"Origin": "null"}),
        ("POST", {}),
    ],
)
def test_nobody_is_logged_out_by_other_sites(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client, method: str, fields: dict[str, str]
) -> None:
    running = start()
    login(oidc_provider, browser, running)
    answer = browser.request(method, f"{running.url}/oauth2/logout", headers={**NAVIGATION, **fields})
    assert answer.status_code == 403 or '<form method="post" action="/oauth2/logout">' in answer.text
    if answer.status_code == 200:
        assert answer.headers["x-frame-options"] == "DENY"
        # Forms say where they come from only if the page lets them.
        assert answer.headers["referrer-policy"] == "same-origin"
    assert who(browser, running) == "ada"


def test_a_logout_at_the_provider(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start()
    cookie = login(oidc_provider, browser, running)
    with oidc_provider.browser() as other:
        login(oidc_provider, other, running)
        follow(browser, f"{oidc_provider.issuer}/session/end")
        wait_until(lambda: who(browser, running) is None)
        browser.cookies.set(COOKIE, cookie, domain="127.0.0.1")
        assert who(browser, running) is None
        # It was another session at the provider.
        assert who(other, running) == "ada"
    assert counted(running, "pylae_sessions_ended_total", by="provider") == 1


def tell(running: Running, token: str | None, **fields: str) -> httpx.Response:
    """A logout token, as the provider sends it."""
    sent = {} if token is None else {"logout_token": token}
    return httpx.post(f"{running.url}/oauth2/backchannel-logout", data=sent, headers=fields, trust_env=False)


def test_a_logout_of_all_sessions_of_a_user(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start()
    login(oidc_provider, browser, running)
    with oidc_provider.browser() as second, oidc_provider.browser() as other:
        login(oidc_provider, second, running)
        assert oidc_provider.login(other, f"{running.url}/", "grace").answer.status_code == 200
        answer = tell(running, oidc_provider.logout_token(sub="ada"))
        assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, b"", "no-store")
        assert [who(one, running) for one in (browser, second, other)] == [None, None, "grace"]
    # Nobody has a session: there is nothing wrong with that.
    assert tell(running, oidc_provider.logout_token(sub="ada")).status_code == 200


TOKENS: list[tuple[str, dict[str, Any], str]] = [
    ("no event", {"events": None}, "claim_missing"),
    ("another event", {"events": {"https://a.test": {}}}, "event"),
    ("an event that is none", {"events": ["http://schemas.openid.net/event/backchannel-logout"]}, "event"),
    ("a nonce", {"nonce": "a"}, "nonce"),
    ("another issuer", {"iss": "https://evil.test"}, "issuer"),
    ("another audience", {"aud": "somebody"}, "audience"),
    ("over", {"exp": 1000}, "expired"),
    ("without an end", {"exp": None}, "claim_missing"),
    ("issued later", {"iat": 9_999_999_999}, "issued_in_future"),
    ("no id", {"jti": None}, "claim_missing"),
    ("an id that is no text", {"jti": 7}, "invalid"),
    ("an empty id", {"jti": ""}, "invalid"),
    ("nobody", {"sub": None, "sid": None}, "subject"),
    ("a session that is no text", {"sid": {"a": 1}}, "subject"),
    ("an access token", {"header": {"typ": "at+jwt"}}, "type"),
    ("unsigned", {"header": {"alg": "none"}}, "algorithm"),
    ("another key", {"header": {"kid": "another"}}, "key_unknown"),
]


def test_logout_tokens_that_are_none(start: Start, oidc_provider: OidcProvider, browser: httpx.Client) -> None:
    running = start()
    login(oidc_provider, browser, running)
    page = lambda: Page.of(running.gateway).by("pylae_login_failures_total", "reason")  # noqa: E731
    for name, changed, reason in TOKENS:
        before = page().get((f"oidc_logout_token_{reason}",), 0)
        answer = tell(running, oidc_provider.logout_token(**{"sub": "ada", **changed}))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), name
        assert answer.headers["cache-control"] == "no-store"
        assert page().get((f"oidc_logout_token_{reason}",), 0) == before + 1, name
        assert "token" not in answer.json()["error_description"]
    for wrong in (None, "", "a", "a.b.c", "a" * 60_000):
        assert tell(running, wrong).status_code == 400
    assert tell(running, "a" * 70_000).status_code in (400, 413)
    # An ID token of the same user is none.
    assert tell(running, oidc_provider.sign({**_identity(oidc_provider)})).status_code == 400
    assert who(browser, running) == "ada"
    good = oidc_provider.logout_token(sub="ada")
    assert tell(running, good).status_code == 200
    assert who(browser, running) is None
    # Each is told once.
    login(oidc_provider, browser, running)
    assert tell(running, good).status_code == 400
    assert page()[("oidc_logout_token_replayed",)] == 1
    assert who(browser, running) == "ada"


def _identity(provider: OidcProvider) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": provider.issuer, "aud": "gateway", "sub": "ada", "iat": now, "exp": now + 60, "jti": "a"}


def test_a_restart(
    gateway: Callable[..., Running],
    oidc_provider: OidcProvider,
    browser: httpx.Client,
    echo: EchoInstance,
    tmp_path: Path,
) -> None:
    config = {**configured(oidc_provider), "state": str(tmp_path)}
    running = gateway(config, all=echo)
    oidc_provider.register(running.url)
    cookie = login(oidc_provider, browser, running)
    with oidc_provider.browser() as other:
        login(oidc_provider, other, running)
        running.stop()
        again = gateway(config, all=echo)
        oidc_provider.register(again.url)
        assert who(browser, again) == who(other, again) == "ada"
        assert browser.get(f"{again.url}/oauth2/logout", headers={"Sec-Fetch-Site": "none"}).status_code == 303
        again.stop()
        last = gateway(config, all=echo)
        browser.cookies.set(COOKIE, cookie, domain="127.0.0.1")
        # What had ended is read while it starts.
        wait_until(lambda: who(browser, last) is None)
        assert who(other, last) == "ada"


def test_the_secret_of_the_cookies_changes(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client, echo: EchoInstance
) -> None:
    running = start()
    first = login(oidc_provider, browser, running)
    new = "another secret that seals cookies, of many bytes"

    def apply(*secrets: str) -> None:
        config = configured(oidc_provider, cookie_secret=list(secrets))
        running.gateway.apply(Gateway(**configure(config, all=echo)))

    apply(new, *SECRETS)
    assert who(browser, running) == "ada"
    with oidc_provider.browser() as other:
        login(oidc_provider, other, running)
        apply(new)
        # Its cookie and its record are of the former secret.
        assert who(browser, running) is None
        assert who(other, running) == "ada"
        apply(*SECRETS)
        assert who(other, running) is None
    assert browser.cookies.get(COOKIE) in (None, first)


def test_a_generated_secret_lasts(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client, echo: EchoInstance
) -> None:
    running = start(cookie_secret=None)
    login(oidc_provider, browser, running)
    config = configured(oidc_provider, cookie_secret=None, idle="2h")
    running.gateway.apply(Gateway(**configure(config, all=echo)))
    assert who(browser, running) == "ada"


def test_a_store_that_is_gone(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    oidc_provider.configure(**SOON)
    running = start()
    login(oidc_provider, browser, running)

    def gone(_: Kept) -> None:
        raise StoreUnavailableError("the store is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Kept, "opened", gone)

        def has_noticed() -> bool:
            assert who(browser, running) == "ada"
            return "oidc_store_unavailable" in running.gateway.metrics()

        wait_until(has_noticed)
        assert browser.get(f"{running.url}/oauth2/session").status_code == 503
        assert tell(running, oidc_provider.logout_token(sub="ada")).status_code == 503
        with oidc_provider.browser() as other:
            answer = oidc_provider.login(other, f"{running.url}/").answer
            assert (answer.status_code, "The login has failed" in answer.text) == (503, True)
    assert browser.get(f"{running.url}/oauth2/session").json()["id"] == "ada"


def test_a_store_that_does_not_answer(
    start: Start, oidc_provider: OidcProvider, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    oidc_provider.configure(**SOON)
    running = start()
    login(oidc_provider, browser, running)
    answers = threading.Event()
    read = Records.read

    def slow(records: Records, session_id: str) -> Any:
        answers.wait(PATIENCE)
        return read(records, session_id)

    with monkeypatch.context() as patch:
        patch.setattr(Records, "read", slow)
        patch.setattr(front, "PATIENCE", 0.1)

        def has_noticed() -> bool:
            assert who(browser, running) == "ada"
            return "oidc_store_unavailable" in running.gateway.metrics()

        wait_until(has_noticed)
        assert browser.get(f"{running.url}/oauth2/session").status_code == 503
        assert "oidc_too_slow" in running.gateway.metrics()
        answers.set()
    assert who(browser, running) == "ada"
