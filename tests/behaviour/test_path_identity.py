"""One canonical path: what is routed, authorised, limited and forwarded is the same (`threats.md`, path confusion)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from support.instance import EchoInstance
from support.peer import Message
from support.running import Running

ROUTES = """
auth: {jwt: {secret: a secret of more than thirty-two bytes, algorithms: HS256}}
routes:
  - {name: open, prefix: /, service: all, auth_required: false}
  - {name: closed, prefix: /admin, service: all}
  - {name: once, path: /once, service: all, auth_required: false, rate_limit: 1/day}
"""


def _get(running: Running, target: str, method: str = "GET") -> Message:
    return running.raw(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode("latin-1"), 1)[0]


@pytest.mark.parametrize(
    "target",
    [
        "/admin",
        "/admin/",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/%61dmin",
        "/%61%64%6D%69%6E",
        "/x/%2e%2e/admin",
        "/x/%2E./admin//y",
        "/admin/../admin",
        "/admin?/../open",
        "http://a/admin",
        "http://other//x/../admin",
    ],
)
def test_no_spelling_of_a_closed_path_is_open(target: str, gateway: Callable[..., Running], echo: EchoInstance) -> None:
    answer = _get(gateway(ROUTES, all=echo), target)
    assert answer.status == 401
    assert echo.count == 0


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/a/../b", "/b"),
        ("/a/./b//c", "/a/b/c"),
        ("/%7euser", "/~user"),
        ("/a%3bb", "/a%3Bb"),
        ("/a;x=1", "/a;x=1"),
        ("/admin;x", "/admin;x"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a|b", "/a%7Cb"),
        ("/a?q=/../x", "/a?q=/../x"),
        ("/a/b/..", "/a/"),
    ],
)
def test_the_instance_sees_the_path_that_was_routed(
    target: str, sent: str, gateway: Callable[..., Running], echo: EchoInstance
) -> None:
    answer = _get(gateway(ROUTES, all=echo), target)
    assert (answer.status, json.loads(answer.body)["target"]) == (200, sent)


@pytest.mark.parametrize(
    "target", ["/a%2Fb", "/a%2fadmin", "/a%5Cb", "/a\\b", "/a%00", "/a/..;/admin", "/a/..%3Bx/b", "/.."]
)
def test_what_two_readers_might_read_differently_is_refused(
    target: str, gateway: Callable[..., Running], echo: EchoInstance
) -> None:
    assert _get(gateway(ROUTES, all=echo), target).status == 400
    assert echo.count == 0


def test_spellings_share_a_limit(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    running = gateway(ROUTES, all=echo)
    spellings = ["/once", "//once", "/x/../once", "/%6fnce"]
    assert [_get(running, target).status for target in spellings] == [200, 429, 429, 429]


def test_the_asterisk_is_for_options_alone(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    running = gateway(ROUTES, all=echo)
    statuses = {method: _get(running, "*", method).status for method in ("OPTIONS", "GET", "POST")}
    assert statuses == {"OPTIONS": 404, "GET": 400, "POST": 400}
    assert [_get(running, target, "OPTIONS").status for target in ("**", "*x", "/*")] == [400, 400, 200]
    # No prefix takes it: it is not a path.
    assert echo.count == 1
