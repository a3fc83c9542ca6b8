"""What holds on every page: it can be read by everybody, in light and dark, by keyboard; and text is text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest

from support import browser as chromium
from support.admin import Admin
from support.dashboard import PATHS, SCRIPT, Reader, serious
from support.instance import EchoInstance

pytestmark = chromium.needed

KEY = "a key that is long enough to be one"


@pytest.fixture
def hostile(admin: Callable[..., Admin], echo: EchoInstance) -> Admin:
    """A gateway in which everything that others choose is a script."""
    config = {
        "auth": {"api_key": {"consumers": {SCRIPT: {"keys": [hashlib.sha256(KEY.encode()).hexdigest()]}}}},
        "services": {"down": {"instances": ["http://127.0.0.1:9"]}},
        "routes": [
            {"name": SCRIPT, "prefix": "/orders", "service": "all", "rate_limit": "3/hour", "cache": "1m"},
            {"name": "open", "prefix": "/", "service": "down", "auth_required": False, "retries": 0},
        ],
    }
    api = admin(config, all=echo)
    agent = f"User-Agent: {SCRIPT}"
    for _ in range(5):
        api.running.get(f"/orders/{quote(SCRIPT)}", f"X-API-Key: {KEY}", agent)
    api.running.get(f"/{quote(SCRIPT)}?a={quote(SCRIPT)}", agent, f"Referer: {SCRIPT}")
    document = api.get("/config")
    document["routes"][1]["priority"] = 1
    answer = api.http.put("/config", json=document, headers={"If-Match": "*"}, params={"reason": SCRIPT})
    assert answer.status_code == 200, answer.text
    return api


def test_scripts_are_text(hostile: Admin, look: Callable[..., Reader]) -> None:
    reader = look(hostile)
    shown: set[str] = set()
    for path in (*PATHS, "/configuration?tab=history&entry=2", f"/configuration?search={quote(SCRIPT)}"):
        reader.open(path)
        reader.page.wait_for_load_state("networkidle")
        if SCRIPT[:18] in str(reader.page.locator("body").inner_text()):
            shown.add(path)
        reader.is_clean()
    # In what is written, and in what the gateway says of it.
    reader.open("/configuration?tab=edit")
    reader.page.get_by_role("textbox", name=re.compile("the configuration")).click()
    reader.press("Control+a")
    reader.page.keyboard.insert_text(f'"{SCRIPT}": "{SCRIPT}"')
    reader.click("button", "Check")
    reader.sees(re.compile(re.escape(SCRIPT[:24])), within=reader.page.locator(".problems"))
    reader.is_clean()
    # Where it must appear, it does.
    assert {"/routes", "/exchanges", "/configuration", "/configuration?tab=history", "/consumers", "/limits"} <= shown


@pytest.mark.parametrize("dark", [False, pytest.param(True, marks=pytest.mark.long)], ids=["light", "dark"])
def test_no_page_keeps_people_out(hostile: Admin, look: Callable[..., Reader], *, dark: bool) -> None:
    """By axe: no findings that are serious or critical."""
    reader = look(hostile, color_scheme="dark" if dark else "light", reduced_motion="reduce")
    found = {}
    for path in (*PATHS, "/configuration?tab=history&entry=2"):
        reader.open(path)
        reader.page.wait_for_load_state("networkidle")
        found[path] = serious(reader.page)
    reader.open("/consumers")
    reader.click("button", "New token")
    reader.page.get_by_role("dialog").get_by_label("Name").wait_for()
    found["a dialog"] = serious(reader.page)
    reader.context.clear_cookies()
    reader.page.goto(f"{reader.url}/login")
    found["/login"] = serious(reader.page)
    assert {path: findings for path, findings in found.items() if findings} == {}


def test_by_keyboard_alone(admin: Callable[..., Admin], echo: EchoInstance, look: Callable[..., Reader]) -> None:
    api = admin(all=echo)
    reader = look(api)
    page = reader.page

    def focused() -> str:
        return str(
            page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.innerText")
        )

    # The first stop leads past the navigation.
    reader.press("Tab")
    assert focused() == "Skip to the content"
    # Two letters open each page.
    for letter, title in (("k", "Consumers and keys"), ("c", "Configuration"), ("l", "Limits and cache")):
        reader.press("g", letter)
        page.get_by_role("heading", level=1, name=title).wait_for()
        reader.is_there()
    reader.press("?")
    reader.sees("Search on this page")
    reader.press("Escape")
    # A slash goes to the search field.
    reader.press("g", "c")
    page.get_by_role("heading", level=1, name="Configuration").wait_for()
    reader.is_there()
    reader.press("/")
    page.keyboard.type("workers")
    reader.sees(re.compile("^1 setting$"))
    # In the editor, letters are letters, and there is a way out.
    page.get_by_role("link", name="Edit").focus()
    reader.press("Enter")
    text = page.get_by_role("textbox", name=re.compile("the configuration"))
    text.wait_for()
    text.focus()
    page.keyboard.type("# gk?/")
    assert "# gk?/" in text.inner_text()
    reader.press("Escape", "Tab")
    assert page.evaluate("document.activeElement.closest('.cm-content') === null")
    # A token is made and shown without a mouse.
    reader.open("/consumers")
    page.get_by_role("button", name="New token").focus()
    reader.press("Enter")
    name = page.get_by_role("dialog").get_by_label("Name")
    name.wait_for()
    page.wait_for_function("document.activeElement.tagName === 'INPUT'")
    page.keyboard.type("mine")
    page.get_by_role("button", name="Make it").focus()
    reader.press("Enter")
    reader.sees("It is shown only now")
    page.wait_for_function("document.activeElement.innerText.includes('I have it')")
    reader.press("Enter")
    reader.row("mine")
