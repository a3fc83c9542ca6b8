"""A browser asks its user for name and password, and sends them: to the admin API and to routes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import browser as chromium
from support.admin import Admin
from support.instance import EchoInstance
from support.peer import raw
from support.running import Running

PASSWORD = "correct horse"
PASSWORD_HASH = "$argon2id$v=19$m=64,t=1,p=1$ggIQNu2DD2rHP1C01g5C3g$YFUy9Bwxr+f+Z16LDdU2qwXJkqYupQLdPcV1tzSWMp0"

pytestmark = chromium.needed


def login(password: str) -> dict[str, Any]:
    """What the user of a browser types."""
    return {"http_credentials": {"username": "ada", "password": password}}


def test_the_page_of_the_admin_api(admin: Callable[..., Admin], echo: EchoInstance, tmp_path: Path) -> None:
    with admin(all=echo) as api, chromium.browser(tmp_path, **login(api.token)) as context:
        page = context.new_page()
        assert page.goto(f"http://{api.address}/").status == 200
        assert "admin" in page.locator("h1").inner_text().lower()
        assert page.get_by_text("/config/validate").first.is_visible()
        page.get_by_role("link", name="openapi.json").click()
        page.wait_for_url("**/openapi.json")
        assert "openapi" in json.loads(page.locator("body").inner_text())


def test_a_wrong_password_opens_nothing(admin: Callable[..., Admin], echo: EchoInstance, tmp_path: Path) -> None:
    with admin(all=echo) as api, chromium.browser(tmp_path, **login("wrong")) as context:
        page = context.new_page()
        assert page.goto(f"http://{api.address}/").status == 401
        assert page.locator("h1").count() == 0


def test_challenges_have_a_field_each(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    """Browsers look at the first challenge of a field."""
    with admin(all=echo) as api:
        (answer,) = raw(api.address, f"GET / HTTP/1.1\r\nHost: {api.address}\r\n\r\n".encode(), 1)
        challenges = ['Basic realm="pylae admin", charset="UTF-8"', 'Bearer realm="pylae admin"']
        assert sorted(answer.all("WWW-Authenticate")) == challenges


def test_a_route_that_takes_tokens_too(gateway: Callable[..., Running], echo: EchoInstance, tmp_path: Path) -> None:
    auth = {"jwt": {"secret": "a secret of more than 32 bytes of text"}}
    auth |= {"basic": {"users": {"ada": PASSWORD_HASH}}, "api_key": {"consumers": {"bob": "0" * 64}}}
    running = gateway({"auth": auth}, all=echo)
    with chromium.browser(tmp_path, **login(PASSWORD)) as context:
        page = context.new_page()
        assert page.goto(f"{running.url}/").status == 200
        assert "x-user-id" in page.locator("body").inner_text().lower()
