"""Services that decide about requests: one that behaves well, and some that do not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pylae import ConfigError
from pylae.testing import FakeService, Received, Reply
from support.h2client import FramePeer
from support.instance import EchoInstance, RawInstance
from support.peer import Message, wait_until
from support.running import Running

Start = Callable[..., Running]
ADA = (("Remote-User", "ada"), ("Remote-Groups", "admins, staff"), ("Remote-Email", "ada@example.org"))
REMEMBERED = {"key": "cookie:sid", "cache": "1m"}


def passes(*fields: tuple[str, str]) -> Reply:
    return Reply(204, (*ADA, *fields), b"")


@pytest.fixture
def service() -> Iterator[FakeService]:
    """A service that lets everybody pass, as Ada."""
    with FakeService(passes()) as found:
        yield found


def start(gateway: Start, service: FakeService | RawInstance, echo: EchoInstance, **more: Any) -> Running:
    auth = {"forward_auth": {"url": f"{service.url}/decide?realm=a", **more}}
    routes = [
        {"prefix": "/", "service": "echo"},
        {"prefix": "/open", "service": "echo", "auth_required": False},
        {"prefix": "/known", "service": "echo", "auth_required": False, "auth": "forward_auth"},
    ]
    return gateway({"auth": auth, "routes": routes}, echo=echo)


def told(message: Message, name: str) -> list[str]:
    """The values of a field that the instance got, in any spelling."""
    assert message.status == 200, message
    return [value for sent, value in json.loads(message.body)["headers"] if sent.lower().replace("_", "-") == name]


def test_what_the_service_sees_and_says(gateway: Start, service: FakeService, echo: EchoInstance) -> None:
    service.answer = passes(("Remote-Name", "Ada Lovelace"), ("X-Extra", "1"), ("X-Extra", "2"), ("X-Other", "3"))
    running = start(gateway, service, echo, copy_headers=["Remote-Name", "X-Extra"])
    body = b"POST /a//b/../c?x=%20&y HTTP/1.1\r\nHost: Shop.test:81\r\nAuthorization: Basic eDp5\r\nCookie: a=1\r\n"
    answer = running.raw(body + b"X-Secret: 1\r\nContent-Length: 4\r\n\r\nbody", 1)[0]
    assert [told(answer, name) for name in ("x-user-id", "x-user-role", "x-user-email")] == [
        ["ada"],
        ["admins,staff"],
        ["ada@example.org"],
    ]
    assert (told(answer, "remote-name"), told(answer, "x-extra")) == (["Ada Lovelace"], ["1, 2"])
    assert told(answer, "x-other") == told(answer, "remote-user") == []
    asked = service.requests[0]
    assert (asked.method, asked.target, asked.body) == ("GET", "/decide?realm=a", b"")
    seen = {name.lower(): value for name, value in asked.headers.items()}
    assert seen == {
        "host": service.address,
        "user-agent": "pylae",
        "x-forwarded-method": "POST",
        "x-forwarded-uri": "/a/c?x=%20&y",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "shop.test:81",
        "x-forwarded-for": "127.0.0.1",
        "authorization": "Basic eDp5",
        "cookie": "a=1",
    }


def test_no_client_can_say_what_the_service_says(gateway: Start, service: FakeService, echo: EchoInstance) -> None:
    service.answer = Reply(204, (("Remote-User", "ada"),), b"")
    forged = [f"{name}: root" for name in ("Remote-User", "remote_user", "REMOTE-GROUPS", "X-Team", "x_team", "X_Team")]
    running = start(
        gateway, service, echo, copy_headers="X-Team", forward_headers=["Remote-User", "X-Team", "Remote_User", "X-A"]
    )
    for target, nominated in (("/", ()), ("/open", ()), ("/", ("Connection: remote-user, x-team",))):
        answer = running.get(target, *forged, "X-A: 1", *nominated)
        assert [told(answer, name) for name in ("remote-user", "remote-groups", "x-team")] == [[], [], []]
        assert told(answer, "x-user-id") == (["ada"] if target == "/" else [])
    assert all("Remote-User" not in asked.headers and "X-Team" not in asked.headers for asked in service.requests)
    assert service.requests[0].headers["X-A"] == "1"
    trailers = b"1\r\na\r\n0\r\nRemote-User: root\r\nX-Team: root\r\nX-Sum: 1\r\n\r\n"
    with RawInstance(b"HTTP/1.1 204 No Content\r\n\r\n") as instance:
        running.apply(
            {
                "auth": {"forward_auth": {"url": f"{service.url}/", "copy_headers": "X-Team"}},
                "routes": [{"prefix": "/", "service": "raw"}],
            },
            raw=instance,
        )
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Team\r\n\r\n"
        assert running.raw(head + trailers, 1)[0].status == 204
        assert b"X-Sum: 1" in instance.received
        assert b"root" not in instance.received


def test_refusals_are_the_services_own(gateway: Start, service: FakeService, echo: EchoInstance) -> None:
    fields = (("Content-Type", "text/x"), ("WWW-Authenticate", "Basic realm=x"), ("X-Internal", "1"))
    running = start(gateway, service, echo)
    for status in (401, 403):
        service.answer = Reply(status, fields, b"go away")
        answer = running.get("/")
        assert (answer.status, answer.body) == (status, b"go away")
        assert (answer.one("Content-Type"), answer.all("WWW-Authenticate")) == ("text/x", ["Basic realm=x"])
        assert (answer.one("Cache-Control"), answer.one("X-Internal")) == ("no-store", None)
    service.answer = Reply(401, (), b"")
    assert running.get("/").all("WWW-Authenticate") == ['forward_auth realm="pylae"']
    # Where nobody must be known, a stranger is one; a credential that is refused is not ignored.
    assert told(running.get("/known"), "x-user-id") == []
    assert running.get("/known", "Cookie: a=1").status == 401


def test_only_people_are_sent_elsewhere(gateway: Start, service: FakeService, echo: EchoInstance) -> None:
    url = "https://login.test/?rd=1"
    fields = (("Location", url), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-B", "1"))
    service.answer = Reply(302, fields, b"elsewhere")
    running = start(gateway, service, echo)
    sent = running.get("/x", "Accept: text/html", "Cookie: a=1")
    assert (sent.status, sent.one("Location"), sent.all("Set-Cookie")) == (
        302,
        "https://login.test/?rd=1",
        ["a=1", "b=2"],
    )
    assert (sent.body, sent.one("X-B")) == (b"", None)
    for more in ((), ("Cookie: a=1",)):
        answer = running.get("/x", "Accept: application/json", *more)
        assert (answer.status, answer.one("Location"), answer.all("Set-Cookie")) == (401, None, [])
    assert service.count == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nRemote-User: ada\r\nRemote-User: root\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nRemote-User: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nRemote-User: a\x01b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nRemote-User: ada\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nRemote-User : ada\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nRemote-User: " + b"a" * 1100 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nRemote-User: ada\r\nX: " + b"a" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nRemote-User: ada\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nRemote-User: ada\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nRemote-User: ada\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ],
)
def test_whatever_else_it_answers_lets_nobody_pass(gateway: Start, echo: EchoInstance, answer: bytes) -> None:
    def once(peer: Any, _: Message) -> None:
        peer.send(answer)
        peer.end()

    with RawInstance(once) as service:
        running = start(gateway, service, echo, **REMEMBERED)
        for target in ("/", "/known"):
            refused = running.get(target, "Cookie: sid=1", "Accept: text/html")
            assert (refused.status, b"not available" in refused.body) == (503, True)
            assert refused.one("Retry-After") == "1"
        asked = [asked.one("X-Forwarded-Uri") for asked in service.requests]
        # The second one is asked again if the connection of the first one ends meanwhile.
        assert asked in (["/", "/known"], ["/", "/known", "/known"])
    assert running.get("/", "Cookie: sid=1").status == 503
    assert echo.count == 0


def test_a_service_that_is_late_lets_nobody_pass(gateway: Start, service: FakeService, echo: EchoInstance) -> None:
    asked = threading.Event()

    def late(_: Received) -> Reply:
        asked.wait(20)
        return passes()

    service.answer = late
    running = start(gateway, service, echo, timeout="100ms")
    assert running.get("/").status == 503
    asked.set()


def test_who_breaks_the_service_for_himself_shuts_out_nobody(
    gateway: Start, service: FakeService, echo: EchoInstance
) -> None:
    service.answer = lambda asked: Reply(500) if "bad" in asked.headers["X-Forwarded-Uri"] else passes()
    running = start(gateway, service, echo)
    assert [running.get("/bad").status for _ in range(10)] == [503] * 10
    assert running.get("/good").status == 200


def test_a_verdict_is_remembered_for_what_was_asked(gateway: Start, service: FakeService, echo: EchoInstance) -> None:
    running = start(gateway, service, echo, **REMEMBERED)

    def ask(line: str = "GET /a?b HTTP/1.1", host: str = "x", *fields: str) -> int:
        lines = "".join(f"{field}\r\n" for field in (f"Host: {host}", "Cookie: sid=1", *fields))
        running.raw(f"{line}\r\n{lines}\r\n".encode(), 1)
        return service.count

    assert [ask() for _ in range(3)] == [1, 1, 1]
    # The service does not see these.
    assert ask("GET /./a?b HTTP/1.1", "X", "X-Other: 1", "Authorization: Basic eDp5") == 1
    assert ask("POST /a?b HTTP/1.1") == 2
    assert ask("GET /a?c HTTP/1.1") == 3
    assert ask("GET /a? HTTP/1.1") == 4
    assert ask("GET /a HTTP/1.1") == 5
    assert ask("GET /A?b HTTP/1.1") == 6
    assert ask("GET /a;v=1?b HTTP/1.1") == 7
    assert ask("GET /a?b HTTP/1.1", "y") == 8
    assert ask("GET /a?b HTTP/1.1", "x:81") == 9
    assert ask("GET /a?b HTTP/1.1", "x", "Cookie: sid=2") == 10
    assert ask() == 10
    shown = {name.lower() for asked in service.requests for name in asked.headers}
    expected = {"x-forwarded-method", "x-forwarded-uri", "x-forwarded-proto", "x-forwarded-host", "cookie"}
    assert shown == expected | {"host", "user-agent"}
    assert service.requests[-1].headers["Cookie"] == "sid=1; sid=2"
    assert service.requests[6].headers["X-Forwarded-Uri"] == "/a;v=1?b"


def test_without_the_path_a_verdict_is_for_all_of_them(
    gateway: Start, service: FakeService, echo: EchoInstance
) -> None:
    running = start(gateway, service, echo, key=["header:Authorization"], cache="1m", key_path=False)
    for target in ("/a", "/b?c"):
        assert running.get(target, "Authorization: Basic eDp5", "Cookie: sid=1").status == 200
    assert [sorted(name.lower() for name in asked.headers) for asked in service.requests] == [
        ["authorization", "host", "user-agent"]
    ]


def test_behind_a_proxy_the_service_is_told_what_the_client_knows(
    gateway: Start, service: FakeService, echo: EchoInstance
) -> None:
    auth = {"forward_auth": {"url": service.url, **REMEMBERED}}
    running = gateway({"auth": auth, "trusted_proxies": ["127.0.0.1"]}, echo=echo)
    for proto in ("https", "http"):
        fields = (f"X-Forwarded-Proto: {proto}", "X-Forwarded-Host: shop.example", "Cookie: sid=1")
        assert running.get("/", *fields).status == 200
    told_of = [(one.headers["X-Forwarded-Proto"], one.headers["X-Forwarded-Host"]) for one in service.requests]
    assert told_of == [("https", "shop.example"), ("http", "shop.example")]


@pytest.mark.parametrize(
    ("control", "asked"),
    [
        ("", 1),
        ("private", 1),
        ("max-age=60", 1),
        ("no-store", 2),
        ("no-cache", 2),
        ("private, max-age=0", 2),
        ("max-age=soon", 2),
    ],
)
@pytest.mark.parametrize("status", [204, 401, 403])
def test_it_is_remembered_as_the_service_says(
    gateway: Start, service: FakeService, echo: EchoInstance, status: int, control: str, asked: int
) -> None:
    service.answer = Reply(status, (*ADA, *((("Cache-Control", control),) if control else ())), b"")
    running = start(gateway, service, echo, **REMEMBERED)
    answers = [running.get("/", "Cookie: sid=1").status for _ in range(2)]
    assert (answers, service.count) == ([200 if status == 204 else status] * 2, asked)


def test_what_is_not_remembered(gateway: Start, service: FakeService, echo: EchoInstance) -> None:
    running = start(gateway, service, echo, **REMEMBERED)
    for count, reply in enumerate(
        [Reply(302, (("Location", "/login"),), b""), Reply(500, (), b""), Reply(404, (), b"")]
    ):
        service.answer = reply
        for _ in range(2):
            running.get(f"/{count}", "Cookie: sid=1", "Accept: text/html")
        service.answer = passes()
        assert running.get(f"/{count}", "Cookie: sid=1").status == 200
    assert service.count == 9
    # Without a credential nothing is remembered, however often it is asked.
    for _ in range(2):
        assert running.get("/9", "Cookie: other=1").status == 200
    assert service.count == 11


def test_many_at_once_ask_once(gateway: Start, service: FakeService, echo: EchoInstance) -> None:
    go = threading.Event()

    def slow(_: Received) -> Reply:
        assert go.wait(20)
        return passes()

    service.answer = slow
    running = start(gateway, service, echo, **REMEMBERED)
    with ThreadPoolExecutor(50) as pool:
        answers = [pool.submit(running.get, "/", "Cookie: sid=1") for _ in range(50)]
        wait_until(lambda: running.gateway.stats()["totals"]["in_flight"] == 50)
        go.set()
        assert [answer.result().status for answer in answers] == [200] * 50
    assert service.count == 1


def test_connections_are_kept(gateway: Start, echo: EchoInstance) -> None:
    answer = b"HTTP/1.1 204 No Content\r\nRemote-User: ada\r\n\r\n"
    with RawInstance(answer) as service:
        running = start(gateway, service, echo)
        assert [running.get("/").status for _ in range(5)] == [200] * 5
        assert service.connections == 1
        # What the service sends unasked is nobody's answer.
        service.peers[0].send(b"HTTP/1.1 204 No Content\r\nRemote-User: root\r\n\r\n")
        assert told(running.get("/"), "x-user-id") == ["ada"]


def test_a_kept_connection_that_has_ended_is_replaced(gateway: Start, echo: EchoInstance) -> None:
    def last(peer: Any, _: Message) -> None:
        peer.send(b"HTTP/1.1 204 No Content\r\nRemote-User: ada\r\n\r\n")
        peer.end()

    with RawInstance(last) as service:
        running = start(gateway, service, echo)
        assert [running.get("/").status for _ in range(3)] == [200] * 3
        assert service.connections == 3


def test_a_user_without_a_name(gateway: Start, service: FakeService, echo: EchoInstance) -> None:
    service.answer = Reply(200, (), b"ok")
    running = start(gateway, service, echo)
    assert running.get("/").status == 401
    assert told(running.get("/known"), "x-user-id") == []
    running = start(gateway, service, echo, default_user="guest", headers={"id": "X-Who", "role": None})
    assert told(running.get("/"), "x-user-id") == ["guest"]
    service.answer = Reply(200, (("X-Who", "bob"), ("Remote-Groups", "x")), b"ok")
    assert (told(running.get("/"), "x-user-id"), told(running.get("/"), "x-user-role")) == (["bob"], [])


def test_permissions_and_conditions(gateway: Start, service: FakeService, echo: EchoInstance) -> None:
    auth = {
        "forward_auth": {
            "url": service.url,
            "headers": {"permissions": "X-Scopes"},
            "copy_headers": "X-Team",
            **REMEMBERED,
        }
    }
    routes = [
        {"prefix": "/", "service": "echo", "permissions": "orders:read"},
        {"prefix": "/team", "service": "echo", "require": {"claims": {"x-team": "blue"}}},
    ]
    running = gateway({"auth": auth, "routes": routes}, echo=echo)
    service.answer = passes(("X-Scopes", "orders:read, orders:write"), ("X-Team", "blue"))
    assert [running.get(target, "Cookie: sid=1").status for target in ("/", "/team")] == [200, 200]
    service.answer = passes(("X-Scopes", "orders:write"), ("X-Team", "red"))
    statuses = [
        running.get(target, "Cookie: sid=2", "X-Team: blue", "X-Scopes: orders:read").status
        for target in ("/", "/team")
    ]
    assert statuses == [403, 403]


def test_a_new_configuration_and_a_revocation_ask_again(
    gateway: Start, service: FakeService, echo: EchoInstance
) -> None:
    running = start(gateway, service, echo, **REMEMBERED)
    config = running.gateway.config
    assert running.get("/", "Cookie: sid=1").status == running.get("/", "Cookie: sid=1").status == 200
    assert service.count == 1
    running.gateway.revoke(user="ada")
    assert running.get("/", "Cookie: sid=1").status == 401
    assert service.count == 2
    assert config.auth is not None
    service.answer = Reply(204, (("Remote-User", "bob"),), b"")
    running.apply(
        {"auth": {"forward_auth": {"url": service.url, **REMEMBERED}}, "routes": [{"prefix": "/", "service": "echo"}]},
        echo=echo,
    )
    assert told(running.get("/", "Cookie: sid=1"), "x-user-id") == ["bob"]


def test_the_cache_keeps_users_apart(gateway: Start, service: FakeService) -> None:
    service.answer = lambda asked: Reply(204, (("Remote-User", asked.headers["Cookie"][4:]),), b"")
    with FakeService() as shop:
        shop.answer = lambda asked: Reply(
            headers=(("Cache-Control", "private, max-age=60"),), body=asked.headers["X-User-ID"].encode()
        )
        auth = {"forward_auth": {"url": service.url, **REMEMBERED}}
        routes = [{"prefix": "/", "service": "shop", "cache": {"ttl": "1m"}}]
        running = gateway({"auth": auth, "routes": routes}, shop=shop)
        for who in ("ada", "bob", "ada", "bob"):
            assert running.get("/", f"Cookie: sid={who}").body == who.encode()


def test_http2_and_websockets_are_asked_about(gateway: Start, service: FakeService, echo: EchoInstance) -> None:
    service.answer = Reply(403, (), b"no")
    routes = [{"prefix": "/", "service": "echo", "websocket": True}]
    config = {
        "listeners": [{"address": "127.0.0.1:0", "http2": True}],
        "auth": {"forward_auth": {"url": service.url}},
        "routes": routes,
    }
    running = gateway(config, echo=echo)
    key = f"Sec-WebSocket-Key: {'A' * 22}=="
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key)
    assert running.get("/ws", *upgrade).status == 403
    service.answer = passes()
    with FramePeer(running.address) as peer:
        answer = peer.get("/h2", ("remote-user", "root"), ("cookie", "a=1"), ("cookie", "b=2"))
    assert (answer.status, ["x-user-id", "ada"] in json.loads(bytes(answer.body))["headers"]) == (200, True)
    assert b"root" not in bytes(answer.body)
    assert [asked.headers["X-Forwarded-Uri"] for asked in service.requests] == ["/ws", "/h2"]
    assert "a=1" in service.requests[1].headers["Cookie"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cache": "1m"}, "`cache` needs `key`"),
        ({"key": "cookie:a", "forward_headers": "Cookie"}, "exclude each other"),
        ({"key_path": False}, "`key_path` needs `key`"),
        ({"key": "query:a"}, "is no part of a request"),
        ({"key": "header:X-User-ID"}, "writes itself"),
        ({"key": "header:Remote-User"}, "no client can send remote-user"),
        ({"copy_headers": "Authorization"}, "every client's request"),
        ({"copy_headers": "X-User-ID"}, "is written by the gateway"),
        ({"copy_headers": "X-Forwarded-User"}, "writes itself"),
        ({"headers": {"id": "Cookie"}}, "every client's request"),
        ({"forward_headers": "X-Forwarded-For"}, "writes itself"),
        ({"url": "ftp://x"}, "must be an http"),
        ({"url": "http://a:b@x"}, "without user name"),
        ({"url": "http://x/#a"}, "without `#`"),
    ],
)
def test_settings_that_are_refused(gateway: Start, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        gateway({"auth": {"forward_auth": {"url": "http://127.0.0.1:1/", **more}}})
