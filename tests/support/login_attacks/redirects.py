"""Where a login may lead afterwards: to a page of this gateway, however the address is spelt."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

import httpx

from support.login_attacks.stage import Attack, Attempt, Stage
from support.oidc_provider import follow
from support.oidc_provider.browser import open_page

SOURCE = "RFC 9700, section 4.11.1"
SPELLINGS = (
    "https://evil.example/",
    "HTTPS://evil.example/",
    "http:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "//evil.example/",
    "///evil.example/",
    "////evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "\\/evil.example/",
    "/\\/evil.example/",
    "//\\evil.example/",
    "/\t/evil.example/",
    "/\n/evil.example/",
    "/\r\n/evil.example/",
    "\t//evil.example/",
    " //evil.example/",
    "\x00//evil.example/",
    "/orders\r\nLocation: https://evil.example/",
    "/orders\r\nSet-Cookie: pylae-oidc=x",
    "//evil.example\\@127.0.0.1/",
    "//127.0.0.1@evil.example/",
    "http://127.0.0.1@evil.example/",
    "http://127.0.0.1.evil.example/",
    "@evil.example/",
    ".evil.example/",
    ":443/",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "ftp://evil.example/",
    "//evil%2eexample/",
    "/%2f/evil.example/\\..//evil.example",
    "//[::ffff:198.51.100.7]/",
    "//3325256711/",
    "/.//evil.example/",
    "/orders/..//evil.example/",
    "／／evil.example/",
)


def leads_elsewhere(location: str, origin: str) -> bool:
    """Whether a browser leaves the origin for this `Location` (WHATWG URL, section 4.4: what it removes, and what it
    takes for a slash)."""
    text = re.sub(r"[\t\n\r]", "", location.strip("".join(map(chr, range(33))))).replace("\\", "/")
    if text.startswith("/"):
        return text.startswith("//")
    there = urlsplit(text)
    return f"{there.scheme}://{there.netloc}" != origin


def _spelt(spelling: str) -> Attempt:
    def attempt(stage: Stage, is_wrong: bool) -> httpx.Response:
        target = quote(spelling if is_wrong else "/orders", safe="")
        with stage.browser() as browser:
            first = open_page(browser, f"{stage.running.url}/oauth2/login?return_to={target}")
            if first.status_code != 302:
                return first
            back = follow(browser, first.headers["Location"], until=f"{stage.running.url}/").answer
            last = open_page(browser, back.headers["Location"])
            assert "Location" in last.headers, last.text
            assert not leads_elsewhere(last.headers["Location"], stage.running.url), last.headers["Location"]
            assert "evil." not in last.headers.get("Set-Cookie", "")
            there = open_page(browser, str(httpx.URL(stage.running.url).join(last.headers["Location"])))
            # At the first page of the gateway, and not where it was told to go.
            return httpx.Response(400) if is_wrong and there.json()["target"] == "/" else there

    return attempt


ATTACKS = tuple(
    Attack(f"after a login to {spelling!r}", SOURCE, "", _spelt(spelling), "redirect") for spelling in SPELLINGS
)
