"""Where a browser goes after a login: nowhere but to a path of the same origin."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae.identity.login.returning import MOST, is_path, path_or_home

OWN = "/oauth2"
ELSEWHERE = [
    *(
        "//evil.test",
        "///evil.test",
        "////evil.test/a",
        "/\\evil.test",
        "\\\\evil.test",
        "\\/evil.test",
        "/\\/evil.test",
    ),
    *("https://evil.test", "http:evil.test", "https:/evil.test", "HTTPS://evil.test", "javascript:alert(1)"),
    *("data:text/html,x", "evil.test", "evil.test/a", "@evil.test", ".evil.test", ":80/", "?a", "#a", "", " "),
    *(
        "/\t/evil.test",
        "/\n/evil.test",
        "/\r/evil.test",
        "\t//evil.test",
        " //evil.test",
        "/ /evil.test",
        "/\x00",
        "/\x7f",
    ),
    *("/.//evil.test", "/..//evil.test", "/a/..//evil.test", "/%2e//evil.test", "/%2E%2e//evil.test", "/a/.;x//b"),
    *("/a\r\nSet-Cookie: b=c", "/é", "/\u2028", "/a\\b", "//\x00evil.test", "/\u3000/evil.test", "///", "//"),
]


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_is_no_path_of_the_same_origin(text: str) -> None:
    assert not is_path(text)
    assert path_or_home(text, OWN) == "/"


@pytest.mark.parametrize(
    "text",
    [
        "/",
        "/orders",
        "/orders?page=2&next=//evil.test",
        "/a//b",
        "/a/%2F/b",
        "/...",
        "/.a",
        "/a?b#c",
        "/a;v=1/b",
        "/@a:b",
    ],
)
def test_what_is_one(text: str) -> None:
    assert is_path(text)
    assert path_or_home(text, OWN) == text


@pytest.mark.parametrize("text", ["/oauth2", "/oauth2/login?return_to=/", "/oauth2/logout", "/oauth2?a"])
def test_nobody_returns_to_the_login_itself(text: str) -> None:
    assert path_or_home(text, OWN) == "/"
    assert path_or_home(text.replace("oauth2", "oauth20"), OWN) != "/"


def test_the_longest() -> None:
    assert is_path("/" + "a" * (MOST - 1))
    assert not is_path("/" + "a" * MOST)
    assert not is_path(None)


def as_a_browser(text: str) -> str:
    """What browsers make of the address in `Location` before they resolve it (URL Standard, section 4.4)."""
    trimmed = text.strip("".join(chr(number) for number in range(33)))
    return "".join(c for c in trimmed if c not in "\t\n\r").replace("\\", "/")


@given(st.text(alphabet=st.sampled_from("/\\.:@?#%25cCeE;a \t\n\r\x00é"), max_size=12) | st.text(max_size=20))
@settings(deadline=None)
def test_nothing_that_is_a_path_leads_elsewhere(text: str) -> None:
    if is_path(text):
        found = urlsplit(urljoin("https://gateway.test/oauth2/callback", as_a_browser(text)))
        assert (found.scheme, found.netloc) == ("https", "gateway.test")
        assert as_a_browser(text) == text
        assert not found.path.startswith("//")
