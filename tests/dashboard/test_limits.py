"""Limits and cache: who is near a limit, a limit that is reset, a cache that is purged."""

from __future__ import annotations

import re
from collections.abc import Callable

from pylae.testing import FakeService, Reply
from support import browser as chromium
from support.admin import Admin
from support.dashboard import Reader
from support.instance import EchoInstance

pytestmark = chromium.needed


def test_who_is_near_a_limit_and_its_reset(
    admin: Callable[..., Admin], echo: EchoInstance, look: Callable[..., Reader]
) -> None:
    route = {"name": "orders", "prefix": "/", "service": "all", "rate_limit": "5/hour", "auth_required": False}
    api = admin({"routes": [route]}, all=echo)
    answers = [api.running.get("/").status for _ in range(6)]
    assert answers == [200] * 5 + [429]
    reader = look(api, path="/limits")
    told = reader.row("used up").inner_text()
    assert ("127.0.0.1" in told, "orders" in told, "100%" in told) == (True, True, True)
    reader.choose("Limit", re.compile("orders: default"))
    reader.page.get_by_label("IP address").fill("127.0.0.1")
    reader.click("button", "Look")
    reader.sees(re.compile("0 of 5 left"))
    reader.click("button", "Reset")
    reader.confirm("Reset")
    reader.sees(re.compile("5 of 5 left.*It was reset"))
    assert api.running.get("/").status == 200


def test_the_cache_is_purged(admin: Callable[..., Admin], service: FakeService, look: Callable[..., Reader]) -> None:
    service.answer = Reply(headers=(("Cache-Control", "max-age=600"),), body=b"hello")
    route = {"name": "all", "prefix": "/", "service": "all", "cache": "10m", "auth_required": False}
    api = admin({"routes": [route]}, all=service)
    for _ in range(2):
        assert api.running.get("/a").status == 200
    assert len(service.requests) == 1
    reader = look(api, path="/limits")
    reader.sees(re.compile(r"1 answer in .* 50% of 2 requests served from it"))
    reader.page.get_by_label("Which").fill("/a")
    reader.click("button", "Purge")
    reader.confirm("Purge")
    # Also once the page has asked again.
    reader.sees(re.compile("^0 answers in "))
    reader.sees("1 answer purged.")
    api.running.get("/a")
    assert len(service.requests) == 2
