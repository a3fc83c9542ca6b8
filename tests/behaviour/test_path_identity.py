"""One canonical path: what is routed, authorised, limited and forwarded is the same (`threats.md`, path confusion)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pylae import Request
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
        "/admin;x",
        "/admin;x/y",
        "/admin;x=1;y=2/;z",
        "/x;/../admin;y/",
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
        ("/a;x=1/;y", "/a;x=1/;y"),
        ("/admin%3Bx", "/admin%3Bx"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a|b", "/a%7Cb"),
        ("/a?q=/../x", "/a?q=/../x"),
        ("/a/b/..", "/a/"),
        ("/;x/..", "/"),
    ],
)
def test_the_instance_sees_the_path_that_was_routed(
    target: str, sent: str, gateway: Callable[..., Running], echo: EchoInstance
) -> None:
    answer = _get(gateway(ROUTES, all=echo), target)
    assert (answer.status, json.loads(answer.body)["target"]) == (200, sent)


@pytest.mark.parametrize(
    "target",
    [
        *("/a%2Fb", "/a%2fadmin", "/a%5Cb", "/a\\b", "/a%00", "/a/..;/admin", "/a/..%3Bx/b", "/.."),
        *("/.;x/admin", "/..;x/admin", "/;x/admin", "/a/;/b"),
    ],
)
def test_what_two_readers_might_read_differently_is_refused(
    target: str, gateway: Callable[..., Running], echo: EchoInstance
) -> None:
    assert _get(gateway(ROUTES, all=echo), target).status == 400
    assert echo.count == 0


def test_spellings_share_a_limit(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    running = gateway(ROUTES, all=echo)
    spellings = ["/once", "//once", "/x/../once", "/%6fnce", "/once;x", "/once;y=1;z"]
    assert [_get(running, target).status for target in spellings] == [200, *[429] * 5]


PARAMETERS = """
routes:
  - {name: stripped, prefix: /api, service: all, strip_prefix: true}
  - {name: rewritten, path: "/old/{tenant}/{rest:path}", service: all, rewrite: "/{tenant}/new/{rest}"}
  - {name: named, path: "/users/{id}", service: all, rewrite: "/v2/{id}.json"}
  - {name: moved, pattern: "^/moved(/.*)$", service: all, rewrite: "/to{1}"}
  - {name: sent-away, path: "/away/{id}", redirect: {to: "{path}?id={id}", keep_query: false}}
  - {name: others, prefix: /, service: all}
"""


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/api;v=1/users;w=2/3;x", "/users;w=2/3;x"),
        ("/api;v=1", "/"),
        ("/api/;session=1?q;r", "/;session=1?q;r"),
        ("/old;a/t;b/c;d/e;f", "/t/new/c;d/e;f"),
        ("/old/t/;f", "/t/new/;f"),
        ("/users/7;v=1", "/v2/7.json"),
        ("/moved;a/b;c/d", "/to/b;c/d"),
    ],
)
def test_parameters_of_segments_that_are_replaced_go(
    target: str, sent: str, gateway: Callable[..., Running], echo: EchoInstance
) -> None:
    answer = _get(gateway(PARAMETERS, all=echo), target)
    assert (answer.status, json.loads(answer.body)["target"]) == (200, sent)


def test_the_prefix_that_services_are_told_has_no_parameters(
    gateway: Callable[..., Running], echo: EchoInstance
) -> None:
    sent = json.loads(_get(gateway(PARAMETERS, all=echo), "/api;v=1/users").body)["headers"]
    assert [value for name, value in sent if name.lower() == "x-forwarded-prefix"] == ["/api"]


def test_a_redirect_leads_to_the_path_as_it_came(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    answer = _get(gateway(PARAMETERS, all=echo), "/away;a/7;b")
    assert (answer.status, answer.one("location")) == (308, "/away;a/7;b?id=7")


def test_what_is_stored_is_known_by_the_path_as_it_came(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    running = gateway({"routes": [{"prefix": "/", "service": "all", "cache": {"ttl": "1h"}}]}, all=echo)
    answers = [_get(running, target) for target in ("/a;x", "/a;y", "/a", "/a;x", "/a;y", "/a")]
    assert [json.loads(answer.body)["target"] for answer in answers] == ["/a;x", "/a;y", "/a"] * 2
    assert echo.count == 3


def test_hooks_see_the_path_with_and_without_parameters(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    seen = []

    def look(request: Request) -> None:
        seen.append((request.path, request.raw_path, request.params))
        request.path = "/elsewhere;p"
        seen.append((request.path, request.raw_path, request.params))

    running = gateway(PARAMETERS, all=echo)
    running.gateway.on_request(look)
    running.gateway.apply()
    answer = _get(running, "/users;a/7;b")
    assert json.loads(answer.body)["target"] == "/elsewhere;p"
    before, after = seen
    assert before == ("/users/7", "/users;a/7;b", {"id": "7"})
    assert after == ("/elsewhere;p", "/users;a/7;b", {"id": "7"})


def test_the_asterisk_is_for_options_alone(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    running = gateway(ROUTES, all=echo)
    statuses = {method: _get(running, "*", method).status for method in ("OPTIONS", "GET", "POST")}
    assert statuses == {"OPTIONS": 404, "GET": 400, "POST": 400}
    assert [_get(running, target, "OPTIONS").status for target in ("**", "*x", "/*")] == [400, 400, 200]
    # No prefix takes it: it is not a path.
    assert echo.count == 1
