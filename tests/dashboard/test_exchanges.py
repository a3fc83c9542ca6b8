"""Exchanges: one is traced from life, and what policies cost is shown."""

from __future__ import annotations

from collections.abc import Callable

from support.admin import Admin
from support.dashboard import Reader
from support.exchanges import ask
from support.instance import EchoInstance


def test_the_next_request_is_traced(
    admin: Callable[..., Admin], echo: EchoInstance, look: Callable[..., Reader]
) -> None:
    api = admin("routes: [{name: users, path: /users, service: users, rate_limit: 1000/second}]", users=echo)
    ask(api.running.address, "/users")
    reader = look(api, path="/exchanges?route=users")
    reader.page.locator("button.pick").first.click()
    reader.click("button", "Trace the next one like it")
    trace = reader.page.get_by_role("region", name="Trace")
    reader.sees("Waiting for the next one like it")
    # When the gateway begins to look is not to be seen.
    for _ in range(200):
        ask(api.running.address, "/users")
        if trace.count():
            break
        reader.page.wait_for_timeout(100)
    assert "rate_limit" in trace.inner_text()
    assert "Step by step" in trace.inner_text()
    reader.open("/routes?route=users")
    reader.sees("What policies and hooks cost")
    reader.row("rate_limit")
