"""The dashboard as a process of its own, and somebody who reads it in a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from support.browser import CHROMIUM, FLAGS

PATHS = (
    *("/", "/services", "/routes", "/exchanges"),
    *("/configuration", "/configuration?tab=edit", "/configuration?tab=history"),
    *("/consumers", "/nodes", "/limits"),
)
"""All pages, with their parts."""
SCRIPT = "<script>document.marked=1;alert(1)</script><img src=x onerror=document.marked=1>"
"""What must be text wherever it appears."""
PATIENCE = 15_000
"""Milliseconds that a page has for what a test waits for."""


class Dashboard:
    """`pylae dashboard` for the admin APIs at these addresses."""

    def __init__(self, *addresses: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pylae", "dashboard", *addresses, "--port", "0", "--no-open"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout is not None
        printed = ""
        for line in self.process.stdout:
            printed += line
            if found := re.search(r"http://\S+", line):
                self.url = found[0]
                return
        raise AssertionError(f"the dashboard has ended: {printed}")

    @property
    def memory(self) -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    @property
    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> str:
        """Ends it, and returns what it has said since it was there."""
        self.process.terminate()
        said, _ = self.process.communicate(timeout=30)
        return said or ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        said = self.stop()
        if kind is None:
            assert not said, f"the dashboard complains: {said}"


class Reader:
    """Somebody who reads the dashboard in a browser of his own.

    Whatever no page may do is remembered as a fault: an error on the console, a dialog, a script of somebody else, a
    request to another host.
    """

    def __init__(self, context: Any, url: str) -> None:
        self.url, self.faults, self.clicks = url, list[str](), 0
        self.host = urlsplit(url).netloc
        self.context = context
        context.set_default_timeout(PATIENCE)
        context.route("**/*", self._route)
        self.page = context.new_page()
        self.page.on("console", self._told)
        self.page.on("pageerror", lambda error: self.faults.append(f"an error: {error}"))
        self.page.on("dialog", self._asked)
        self.page.on("websocket", lambda socket: self._look(socket.url))

    def _route(self, route: Any) -> None:
        if self._look(route.request.url):
            route.continue_()
        else:
            route.abort()

    def _look(self, url: str) -> bool:
        parts = urlsplit(url)
        if parts.netloc == self.host or parts.scheme in ("data", "blob"):
            return True
        self.faults.append(f"it asks another host: {url}")
        return False

    def _told(self, message: Any) -> None:
        if message.type == "error":
            self.faults.append(f"on the console: {message.text} ({message.location.get('url')})")

    def _asked(self, dialog: Any) -> None:
        self.faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def log_in(self, token: str, path: str = "/") -> None:
        """Logs in with a token and opens a page."""
        self.page.goto(f"{self.url}/login")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"{self.url}/")
        if path != "/":
            self.open(path)
        self.is_there()

    def open(self, path: str) -> None:
        """Opens a page, and waits until it is there."""
        self.page.goto(f"{self.url}{path}")
        self.is_there()

    def is_there(self) -> None:
        """Waits until the page is live: its heading is there, and it has its connection."""
        self.page.get_by_role("heading", level=1).wait_for()
        self.page.wait_for_function("window.socket?.connected === true")

    def click(self, role: str, name: str | re.Pattern[str], *, exact: bool = False, within: Any = None) -> None:
        """Clicks on something, and counts it."""
        self.clicks += 1
        (within or self.page).get_by_role(role, name=name, exact=exact).first.click()

    def press(self, *keys: str) -> None:
        """Presses keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def sees(self, text: str | re.Pattern[str], *, within: Any = None) -> Any:
        """Waits until a text is visible, and returns where it is."""
        found = (within or self.page).get_by_text(text).filter(visible=True).first
        found.wait_for()
        return found

    def row(self, text: str | re.Pattern[str]) -> Any:
        """Waits for the row of a table that has this text."""
        found = self.page.get_by_role("row").filter(has_text=text).first
        found.wait_for()
        return found

    def choose(self, label: str, option: str | re.Pattern[str]) -> None:
        """Picks something of a list."""
        self.page.get_by_role("combobox", name=label).click()
        self.page.get_by_role("option", name=option).first.click()

    def confirm(self, word: str) -> None:
        """Presses a button of the question that is asked."""
        self.page.get_by_role("dialog").get_by_role("button", name=word, exact=True).click()

    def dark(self, wanted: bool) -> None:
        """Has the system of the reader dark or light."""
        self.page.emulate_media(color_scheme="dark" if wanted else "light")

    def is_clean(self) -> None:
        """Fails if a page has done what none may do."""
        assert self.page.evaluate("document.marked === undefined"), "a script of somebody else ran"
        assert not self.faults, self.faults


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser in which each reader has a profile of his own."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def reading(browser: Any, url: str, **options: Any) -> Iterator[Reader]:
    """Somebody who reads the dashboard at this address; fails at the end if a page did what none may do."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    try:
        reader = Reader(context, url)
        yield reader
        reader.is_clean()
    finally:
        context.close()


def serious(page: Any) -> list[str]:
    """What axe finds on a page that keeps people out: findings that are serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # What fades in has other colours for a moment.
    page.wait_for_function("document.getAnimations().every((one) => one.playState !== 'running')")
    found = axe.run(page).response["violations"]
    return [_finding(one) for one in found if one["impact"] in ("serious", "critical")]


def _finding(one: dict[str, Any]) -> str:
    places: Sequence[dict[str, Any]] = one["nodes"]
    return f"{one['id']}: {one['help']}: {'; '.join(node['html'][:160] for node in places[:4])}"
