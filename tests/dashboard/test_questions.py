"""The questions that people ask at night, from a cold start: each is answered in at most four clicks."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pylae.testing import FakeService, Reply
from support import browser as chromium
from support.admin import Admin
from support.dashboard import Reader
from support.instance import EchoInstance
from support.peer import wait_until

pytestmark = chromium.needed

MOST = 4
"""Clicks, that on the button of the login included."""
KEY = "a-key-of-billing"


@contextmanager
def visited(api: Admin, *targets: str) -> Iterator[None]:
    """A client that goes on asking, whatever the answer is, some ten times a second."""
    ended = threading.Event()

    def visit() -> None:
        while not ended.wait(0.1):
            for target in targets:
                api.running.get(target)

    client = threading.Thread(target=visit, daemon=True)
    client.start()
    try:
        yield
    finally:
        ended.set()
        client.join()


def test_which_service_is_failing_since_when(
    admin: Callable[..., Admin], echo: EchoInstance, service: FakeService, look: Callable[..., Reader]
) -> None:
    service.answer = Reply(status=500)
    routes = [
        {"name": "users", "prefix": "/users", "service": "users", "auth_required": False},
        {"name": "orders", "prefix": "/orders", "service": "orders", "auth_required": False},
    ]
    api = admin({"routes": routes}, users=echo, orders=service)
    with visited(api, "/users", "/orders"):
        reader = look(api)
        wrong = reader.page.get_by_role("group", name="What is wrong now").get_by_role("row")
        told = wrong.filter(has_text="orders").first
        told.wait_for()
        assert re.search(r"\d\d:\d\d:\d\d \(.+\)", told.inner_text()), told.inner_text()
        assert not wrong.filter(has_text="users").count()
        # One more click leads to the service: which instance, and why.
        reader.click("link", "orders", within=told)
        reader.sees(service.url)
        reader.sees(re.compile("most attempts fail|most answers are errors"))
        assert reader.clicks <= MOST


def test_why_a_user_got_403(admin: Callable[..., Admin], echo: EchoInstance, look: Callable[..., Reader]) -> None:
    consumers = {"billing": {"keys": [hashlib.sha256(KEY.encode()).hexdigest()], "role": "robot"}}
    routes = [
        {"name": "reports", "prefix": "/reports", "service": "all", "roles": "admin"},
        {"name": "open", "prefix": "/", "service": "all", "auth_required": False},
    ]
    api = admin({"auth": {"api_key": {"consumers": consumers}}, "routes": routes}, all=echo)
    for _ in range(20):
        api.running.get("/x")
    assert api.running.get("/reports/7", f"X-API-Key: {KEY}").status == 403
    reader = look(api)
    reader.click("link", re.compile("Exchanges"))
    reader.page.get_by_label("User or consumer").fill("billing")
    reader.click("button", re.compile(r"\d\d:\d\d:\d\d"), within=reader.row("403"))
    reader.sees(re.compile("role"))
    reader.sees(re.compile("roles.*admin"))
    assert reader.clicks <= MOST


def test_what_changed_before_it_got_slow(
    admin: Callable[..., Admin], service: FakeService, look: Callable[..., Reader]
) -> None:
    """A change of the configuration leads to a slow instance."""
    route = {"name": "all", "prefix": "/", "service": "all", "auth_required": False}
    with FakeService(Reply(body=b"at last", delay=0.3)) as slow:
        api = admin({"routes": [route]}, all=service)
        with visited(api, "/x"):
            reader = look(api)
            # What it was like before is known.
            wait_until(lambda: any(api.get("/timeline")["gateway"]["p99"]), patience=30)
            document = api.get("/config")
            document["services"]["all"]["instances"] = [slow.url]
            reason = {"reason": "the new machine"}
            assert api.http.put("/config", json=document, headers={"If-Match": "*"}, params=reason).status_code == 200
            change = reader.page.get_by_role("listitem").filter(has_text="the new machine")
            change.evaluate("element => { element.dataset.seen = 'early'; }")
            change.get_by_text(re.compile("p99 .* before, .* after")).wait_for(timeout=45_000)
            # It has stayed, so nobody who was about to click on it has missed it.
            assert change.get_attribute("data-seen") == "early"
            # What it was, and what it is.
            change.get_by_role("button").first.click()
            reader.clicks += 1
            reader.sees(re.compile(f"services.all.instances.*{re.escape(slow.url)}"), within=change)
            # And from there the way back.
            reader.click("link", "Compare and roll back", within=change)
            reader.click("button", re.compile("Roll back to"))
            reader.page.get_by_role("dialog").wait_for()
            assert reader.clicks <= MOST
