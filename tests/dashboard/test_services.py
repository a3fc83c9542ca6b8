"""Services: an instance that fails, a breaker that opens, and what is done about them."""

from __future__ import annotations

import re
from collections.abc import Callable

from pylae.testing import FakeService, Reply
from support import browser as chromium
from support.admin import Admin
from support.dashboard import Reader
from support.instance import EchoInstance

pytestmark = chromium.needed


def test_a_breaker_opens_and_is_closed(
    admin: Callable[..., Admin], service: FakeService, look: Callable[..., Reader]
) -> None:
    breaker = {"circuit_breaker": {"failure_threshold": 3, "timeout": "1h"}, "instances": [service.url]}
    api = admin({"services": {"orders": breaker}})
    service.answer = Reply(status=500)
    reader = look(api)
    reader.sees(re.compile("^Nothing: all instances get requests"))
    assert [api.running.get("/").status for _ in range(4)] == [500, 500, 500, 503]
    told = reader.row(re.compile("orders.*breaker open"))
    reader.sees(re.compile("3 failures in a row"), within=told)
    reader.click("link", "orders", within=told)
    reader.sees(re.compile(r"breaker open since \d\d:\d\d:\d\d"))
    service.answer = Reply(status=200)
    reader.click("button", "Reset breaker")
    reader.sees("breaker closed")
    assert api.running.get("/").status == 200


def test_an_instance_fails_and_is_drained(
    admin: Callable[..., Admin], echo: EchoInstance, service: FakeService, look: Callable[..., Reader]
) -> None:
    service.answer = Reply(status=503)
    health = {"health_check": {"path": "/", "interval": "200ms", "unhealthy_after": 1, "healthy_after": 1}}
    api = admin({"services": {"all": {**health, "instances": [echo.url, service.url]}}})
    reader = look(api, path="/services")
    reader.click("link", "all", within=reader.row(re.compile("all.*down")))
    bad = reader.page.locator(".instance").filter(has_text=service.url)
    reader.sees(re.compile("down: its health checks fail"), within=bad)
    service.answer = Reply(status=200)
    reader.sees(re.compile("^up$"), within=bad)
    reader.click("button", "Drain", within=bad)
    reader.confirm("Drain")
    reader.sees(re.compile("^draining$"), within=bad)
    (state,) = [one["state"] for one in api.get("/services/all")["instances"] if one["url"] == service.url]
    assert state == "draining"
    reader.click("button", "End drain", within=bad)
    reader.sees(re.compile("^up$"), within=bad)
