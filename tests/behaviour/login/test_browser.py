"""A real browser, from the first page to the last: it logs in at the provider's own form, works, and logs out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pylae.testing import FakeService, Reply
from support import browser as chromium
from support.instance import EchoInstance
from support.oidc_provider import OidcProvider
from support.running import Running
from support.tls import Authority

pytestmark = chromium.needed

SCRIPT = """async (path) => {
    const answer = await fetch(path, {method: path.endsWith("/write") ? "POST" : "GET"});
    return {status: answer.status, redirected: answer.redirected, text: await answer.text()};
}"""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[OidcProvider]:
    """A provider on another site than the gateway, as they are."""
    with OidcProvider(host="127.0.0.2", login="") as provider:
        yield provider


@pytest.fixture
def provider(elsewhere: OidcProvider) -> OidcProvider:
    elsewhere.reset()
    return elsewhere


@pytest.fixture
def shop(gateway: Callable[..., Running], provider: OidcProvider, echo: EchoInstance) -> Running:
    config = {
        "auth": {"oidc": provider.settings(logout_url="/open")},
        "routes": [
            {"name": "open", "prefix": "/open", "service": "all", "auth_required": False},
            {"name": "all", "prefix": "/", "service": "all"},
        ],
    }
    running = gateway(config, all=echo)
    provider.register(running.url)
    return running


def fill_in(page: Any, account: str = "ada") -> None:
    """Logs in at the form of the provider."""
    page.get_by_label("Name").select_option(account)
    page.get_by_label("Password").fill("anything")
    page.get_by_role("button", name="Log in").click()


def cookies(context: Any, host: str = "127.0.0.1") -> dict[str, Any]:
    """Cookies of the gateway by name."""
    return {one["name"]: one for one in context.cookies() if one["domain"] == host}


def said(page: Any) -> str:
    return str(page.locator("body").inner_text()).lower()


def known(page: Any) -> str | None:
    """Whom the instance was told to have asked for the page."""
    return user(page.locator("body").inner_text())


def user(text: str) -> str | None:
    return dict(json.loads(text)["headers"]).get("x-user-id")


def test_from_the_first_page_to_the_last(shop: Running, provider: OidcProvider, tmp_path: Path) -> None:
    with chromium.browser(tmp_path) as context:
        page = context.new_page()
        page.goto(f"{shop.url}/orders?page=2&sort=a%20b")
        assert urlsplit(page.url).netloc == urlsplit(provider.issuer).netloc
        fill_in(page)
        page.wait_for_url(f"{shop.url}/**")
        assert page.url == f"{shop.url}/orders?page=2&sort=a%20b"
        assert known(page) == "ada"
        # What the instance gets has no trace of the login.
        (cookie,) = cookies(context).values()
        assert cookie["name"] not in said(page)
        assert (cookie["name"], cookie["path"]) == ("pylae-oidc", "/")
        assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, False, "Lax")
        assert page.evaluate("document.cookie") == ""
        # A script in the page: no provider is asked.
        before = len(provider.calls("authorization"))
        answer = page.evaluate(SCRIPT, "/api/orders")
        assert (answer["status"], user(answer["text"])) == (200, "ada")
        assert page.evaluate(SCRIPT, "/write")["status"] == 200

        page.goto(f"{shop.url}/oauth2/logout")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(f"{shop.url}/open")
        assert cookies(context) == {}
        # A script is told 401, and not led away.
        answer = page.evaluate(SCRIPT, "/api/orders")
        assert (answer["status"], answer["redirected"]) == (401, False)
        assert len(provider.calls("authorization")) == before
        # What the browser had shown before is not shown from its memory.
        page.goto(f"{shop.url}/orders?page=2")
        page.get_by_label("Password").wait_for()


def test_the_back_button_after_a_logout(
    gateway: Callable[..., Running], provider: OidcProvider, service: FakeService, tmp_path: Path
) -> None:
    """A page that is not to be kept is asked for again, and then there is nobody who may see it."""
    service.answer = Reply(headers=(("Content-Type", "text/plain"), ("Cache-Control", "no-store")), body=b"a secret")
    running = gateway({"auth": {"oidc": provider.settings(logout_url="/oauth2/session")}}, all=service)
    provider.register(running.url)
    with chromium.browser(tmp_path) as context:
        page = context.new_page()
        page.goto(f"{running.url}/private")
        fill_in(page)
        page.wait_for_url(f"{running.url}/private")
        assert "a secret" in said(page)
        page.goto(f"{running.url}/oauth2/logout")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(f"{running.url}/oauth2/session")
        asked = len(service.requests)
        page.go_back()
        page.go_back()
        page.get_by_label("Password").wait_for()
        assert len(service.requests) == asked


def test_a_strict_cookie(
    gateway: Callable[..., Running], provider: OidcProvider, echo: EchoInstance, tmp_path: Path
) -> None:
    """A browser does not send it with what a redirect of another site leads to, so there must be a page between."""
    running = gateway({"auth": {"oidc": provider.settings(same_site="strict")}}, all=echo)
    provider.register(running.url)
    with chromium.browser(tmp_path) as context:
        page = context.new_page()
        page.goto(f"{running.url}/private?a=b")
        fill_in(page)
        page.wait_for_url(f"{running.url}/private?a=b")
        assert known(page) == "ada"
        assert cookies(context)["pylae-oidc"]["sameSite"] == "Strict"


def test_over_tls(gateway: Callable[..., Running], provider: OidcProvider, echo: EchoInstance, tmp_path: Path) -> None:
    """The cookie has the prefix by which browsers keep it from other hosts and from plain HTTP (RFC 6265bis)."""
    tls = Authority(tmp_path).issue("gateway", "127.0.0.1")
    listeners = [{"address": "127.0.0.1:0", "tls": tls}]
    running = gateway({"auth": {"oidc": provider.settings()}, "listeners": listeners}, all=echo)
    origin = f"https://{running.address}"
    provider.register(origin)
    with chromium.browser(tmp_path, ignore_https_errors=True) as context:
        page = context.new_page()
        page.goto(f"{origin}/private")
        fill_in(page)
        page.wait_for_url(f"{origin}/private")
        assert known(page) == "ada"
        (cookie,) = cookies(context).values()
        assert (cookie["name"], cookie["secure"], cookie["path"]) == ("__Host-pylae-oidc", True, "/")


def test_two_tabs_log_in_at_once(shop: Running, tmp_path: Path) -> None:
    with chromium.browser(tmp_path) as context:
        first, second = context.new_page(), context.new_page()
        first.goto(f"{shop.url}/one")
        second.goto(f"{shop.url}/two")
        attempts = [name for name in cookies(context) if "-attempt-" in name]
        assert len(attempts) == 2
        # The one that began last ends first.
        fill_in(second)
        second.wait_for_url(f"{shop.url}/two")
        fill_in(first)
        first.wait_for_url(f"{shop.url}/one")
        assert [name for name in cookies(context) if "-attempt-" in name] == []
        for page in (first, second):
            assert known(page) == "ada"


def test_somebody_who_cancels(shop: Running, tmp_path: Path) -> None:
    with chromium.browser(tmp_path) as context:
        page = context.new_page()
        page.goto(f"{shop.url}/one")
        page.get_by_role("button", name="Cancel").click()
        page.wait_for_url(f"{shop.url}/oauth2/callback?**")
        assert "login" in said(page)
        assert "access_denied" not in said(page)
        # Nothing is broken: it works the next time.
        page.goto(f"{shop.url}/one")
        fill_in(page)
        page.wait_for_url(f"{shop.url}/one")


def test_a_page_of_another_site_changes_nothing(
    shop: Running, provider: OidcProvider, echo: EchoInstance, tmp_path: Path
) -> None:
    """It posts a form, as pages may to any address; the cookie is Lax, and the gateway looks besides."""
    with chromium.browser(tmp_path) as context:
        page = context.new_page()
        page.goto(f"{shop.url}/one")
        fill_in(page)
        page.wait_for_url(f"{shop.url}/one")
        evil = f'<form method="post" action="{shop.url}/write"><button>Win</button></form>'
        context.route(f"{provider.issuer}/evil", lambda route: route.fulfill(body=evil, content_type="text/html"))
        page.goto(f"{provider.issuer}/evil")
        with page.expect_response(f"{shop.url}/write") as answer:
            page.get_by_role("button", name="Win").click()
        assert answer.value.status == 401
        # Not of all requests: the browser asks for an icon when it likes.
        assert echo.methods["POST"] == 0
        # A link does open its page, as somebody who is logged in.
        link = f'<a href="{shop.url}/one">here</a>'
        context.route(f"{provider.issuer}/link", lambda route: route.fulfill(body=link, content_type="text/html"))
        page.goto(f"{provider.issuer}/link")
        page.get_by_role("link", name="here").click()
        page.wait_for_url(f"{shop.url}/one")
        assert known(page) == "ada"
