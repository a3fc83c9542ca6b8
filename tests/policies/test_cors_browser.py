"""CORS as a real browser sees it: headless Chromium loads a page from one origin and calls the gateway on another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pylae.testing import FakeService, Received, Reply
from support import browser as chromium
from support.exchanges import gateway, nobody

CALL = """async ([url, options]) => {
    try {
        const response = await fetch(url, options);
        return {
            status: response.status,
            body: await response.text(),
            headers: Object.fromEntries(response.headers.entries()),
        };
    } catch (error) {
        return {failed: error.name};
    }
}"""

pytestmark = chromium.needed


class Browser:
    """A page of an allowed origin, a page of another one, and the gateway that both call."""

    def __init__(self, pages: dict[str, Any], address: str, requests: list[Received]) -> None:
        self.pages, self.address, self.requests = pages, address, requests

    def call(self, path: str, page: str = "app", **options: Any) -> dict[str, Any]:
        """`fetch` from the page. `{"failed": …}` if the browser does not let the page see the answer."""
        result: dict[str, Any] = self.pages[page].evaluate(CALL, [f"http://{self.address}{path}", options])
        return result


def answer(request: Received) -> Reply:
    headers = [("X-Total", "7"), ("X-Secret", "8"), ("Access-Control-Allow-Origin", "*"), ("Set-Cookie", "seen=1")]
    return Reply(headers=headers, body=f"{request.method} {request.headers.get('Cookie')}".encode())


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    page = Reply(headers=[("Content-Type", "text/html")], body=b"<!doctype html><title>page</title>")
    with ExitStack() as stack:
        app, other = stack.enter_context(FakeService(page)), stack.enter_context(FakeService(page))
        service = stack.enter_context(FakeService(answer))
        cors = {"origins": [app.url], "expose": ["X-Total"], "credentials": True}
        common: dict[str, Any] = {"auth_required": False}
        configuration = {
            "auth": {"jwt": {"secret": "a-secret-of-at-least-32-bytes-here", "algorithms": ["HS256"]}},
            "services": {"one": {"instances": [service.url]}, "gone": {"instances": [stack.enter_context(nobody())]}},
            "policies": {"cors": cors},
            "routes": [
                {"path": "/items", "method": "GET|POST|PUT", "service": "one", **common},
                {"path": "/strict", "service": "one", **common, "cors": {**cors, "methods": "GET", "headers": []}},
                {"path": "/open", "service": "one", **common, "cors": True},
                {"path": "/none", "service": "one", **common, "cors": False, "method": "GET|PUT"},
                {"path": "/401", "service": "one"},
                {"path": "/429", "service": "one", **common, "rate_limit": {"limit": 1, "per": "1h"}},
                {"path": "/502", "service": "gone", "retries": 0, **common},
            ],
        }
        address = stack.enter_context(gateway(folder, configuration))
        context = stack.enter_context(chromium.browser(folder))
        pages = {}
        for name, origin in [("app", app.url), ("other", other.url)]:
            pages[name] = context.new_page()
            pages[name].goto(origin)
        yield Browser(pages, address, service.requests)


def test_simple(browser: Browser) -> None:
    assert browser.call("/items")["body"] == "GET None"


def test_preflighted(browser: Browser) -> None:
    before = len(browser.requests)
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json", "X-Any": "1"}
    reply = browser.call("/items", method="PUT", headers=headers, body="{}")
    assert (reply["status"], reply["body"]) == (200, "PUT None")
    assert [request.method for request in browser.requests[before:]] == ["PUT"]
    assert browser.requests[-1].headers["Authorization"] == "Bearer x"


def test_credentialed(browser: Browser) -> None:
    browser.call("/items", credentials="include")
    assert browser.call("/items", credentials="include")["body"] == "GET seen=1"


def test_credentials_need_the_setting(browser: Browser) -> None:
    assert browser.call("/open")["status"] == 200
    assert "failed" in browser.call("/open", credentials="include")


def test_refused_origin(browser: Browser) -> None:
    before = len(browser.requests)
    assert "failed" in browser.call("/items", page="other")
    assert "failed" in browser.call("/items", page="other", method="PUT")
    # The simple request got through, as it does with any server; the preflighted one did not.
    assert [request.method for request in browser.requests[before:]] == ["GET"]
    assert browser.call("/open", page="other")["status"] == 200


def test_refused_method_and_field(browser: Browser) -> None:
    assert browser.call("/strict")["status"] == 200
    assert "failed" in browser.call("/strict", method="DELETE")
    assert "failed" in browser.call("/strict", headers={"X-Any": "1"})


def test_without_the_policy_the_service_speaks(browser: Browser) -> None:
    assert browser.call("/none", page="other")["status"] == 200
    assert "failed" in browser.call("/none", method="PUT")


def test_exposed_fields(browser: Browser) -> None:
    headers = browser.call("/items")["headers"]
    assert headers.get("x-total") == "7"
    assert "x-secret" not in headers
    assert "x-request-id" not in headers


@pytest.mark.parametrize("status", [401, 429, 502])
def test_errors_are_readable(browser: Browser, status: int) -> None:
    if status == 429:
        assert browser.call("/429")["status"] == 200
    reply = browser.call(f"/{status}", headers={"X-Any": "1"})
    assert reply["status"] == status
    assert json.loads(reply["body"])["status"] == status
