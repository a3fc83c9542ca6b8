"""A client that does what a browser does with redirects and cookies, and that clicks where a page has one button."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import httpx

NAVIGATION = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
"""Fields of a request that opens a page (Fetch Metadata)."""
_FORM = re.compile(r'id="op.logoutForm" method="post" action="([^"]+)"><input type="hidden" name="xsrf" value="(\w+)"')
_MOST = 20


@dataclass
class Login:
    """Where a request has led."""

    answer: httpx.Response
    """The last answer."""
    way: list[httpx.Response] = field(default_factory=list)
    """All answers before it."""

    @property
    def urls(self) -> list[str]:
        """Where the browser has been."""
        return [str(one.request.url) for one in (*self.way, self.answer)]

    def at(self, path: str) -> httpx.Response:
        """The answer of the one step of the way to a path."""
        (found,) = [one for one in (*self.way, self.answer) if one.request.url.path == path]
        return found


def open_page(browser: httpx.Client, url: str, site: str = "none") -> httpx.Response:
    """One navigation, without following redirects. `site` is what `Sec-Fetch-Site` says."""
    return browser.get(url, headers={**NAVIGATION, "Sec-Fetch-Site": site}, follow_redirects=False)


def follow(browser: httpx.Client, url: str, *, until: str = "") -> Login:
    """Opens a page and follows where it leads: redirects, and the provider's question whether to log out.

    Stops before a redirect to a URL that begins with `until`, if that is given; `answer` is the redirect then.
    """
    way: list[httpx.Response] = []
    answer, site = open_page(browser, url), "none"
    while len(way) < _MOST:
        if answer.is_redirect:
            target = urljoin(str(answer.request.url), answer.headers["Location"])
            if until and target.startswith(until):
                return Login(answer, way)
            way.append(answer)
            # Whoever has been elsewhere comes from there.
            site = site if urlsplit(target).netloc == urlsplit(url).netloc else "cross-site"
            answer = open_page(browser, target, site)
        elif form := _FORM.search(answer.text):
            way.append(answer)
            sent = {"xsrf": form[2], "logout": "yes"}
            answer = browser.post(form[1], data=sent, headers=NAVIGATION, follow_redirects=False)
        else:
            return Login(answer, way)
    raise AssertionError(f"redirects without an end: {[str(one.request.url) for one in way]}")
