"""`%2F` in paths: refused, or a letter of its segment on routes that keep it; no guard can be walked around by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway, engine
from pylae.hooks import Request
from pylae.primitives import Router
from support import hooked
from support.h2client import FramePeer
from support.instance import EchoInstance, RawInstance
from support.peer import Message, raw
from support.running import Running
from support.servers import Receive, Scope, Send, uvicorn_instance

Start = Callable[..., Running]

AUTH = "auth: {jwt: {secret: a secret of more than thirty-two bytes, algorithms: HS256}}\n"
KEPT = "routes: [{prefix: /, service: all, encoded_slash: keep}]"

ODD = [
    "/a%2F%2Fb",
    "/a%2F",
    "/%2Fa",
    "/%2F",
    "/a/%2Fb",
    "/a%2F/b",
    "/a//%2Fb",
    "/a%2F../b",
    "/a%2F..",
    "/..%2Fb",
    "/a/..%2Fb",
    "/a%2F%2e%2e/b",
    "/a%2F.",
    "/a%2F./b",
    "/.%2Fb",
    "/a/.%2Fb",
    "/a%2F..%2Fb",
    "/a%2F..;x/b",
    "/a%2F..%3Bx",
    "/a%2Fb/..",
    "/a%2Fb/../c",
    "/a;x%2Fb",
    "/a%2F;x/b",
    "/a%5Cb",
    "/a%5Cb%2Fc",
    "/a%2Fb%00",
    "/a%2Fb\\c",
    "/a%2",
    "/a%2G",
]


def _status(running: Running, target: str, method: str = "GET", *fields: str) -> int:
    return _ask(running, target, method, *fields).status


def _ask(running: Running, target: str, method: str = "GET", *fields: str) -> Message:
    lines = "".join(f"{field}\r\n" for field in ("Host: a", *fields))
    return running.raw(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"), 1, method=method)[0]


def _sent(running: Running, target: str) -> str:
    answer = _ask(running, target)
    assert answer.status == 200, target
    return str(json.loads(answer.body)["target"])


def test_it_is_refused_unless_a_route_keeps_it(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(
        "routes: [{prefix: /a, service: all}, {prefix: /b, service: all, encoded_slash: reject}]", all=echo
    )
    for target in ("/a/x%2Fy", "/a%2fb", "/b/x%2Fy", "/nothing%2Fhere"):
        answers = running.raw(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 2)
        assert [answer.status for answer in answers] == [400]
        detail = json.loads(answers[0].body)["detail"]
        assert "encoded slash" in detail
        assert "encoded_slash: keep" in detail
    assert echo.count == 0


def test_it_is_sent_on_as_it_came(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(KEPT, all=echo)
    for target, sent in (
        ("/@types%2Fnode", "/@types%2Fnode"),
        ("/@types%2fnode?a=%2f", "/@types%2Fnode?a=%2f"),
        ("/x/../a%2Fb/./c", "/a%2Fb/c"),
        ("/a%2Fb%2Fc/d%2Fe", "/a%2Fb%2Fc/d%2Fe"),
        ("/%61%2Fb;x=1/c", "/a%2Fb;x=1/c"),
        ("/a%252Fb", "/a%252Fb"),
        ("/a.%2F...%2F.b", "/a.%2F...%2F.b"),
        ("/caf%c3%a9%2Fx", "/caf%C3%A9%2Fx"),
        ("/folder%2F", "/folder%2F"),
        ("http://a/a%2Fb", "/a%2Fb"),
    ):
        assert _sent(running, target) == sent


@pytest.mark.parametrize("target", [odd for odd in ODD if odd != "/a%2F"])
def test_what_two_readers_might_read_differently_stays_refused(target: str, gateway: Start, echo: EchoInstance) -> None:
    assert _status(gateway(KEPT, all=echo), target) == 400
    assert echo.count == 0


def test_it_does_not_end_a_segment(gateway: Start, echo: EchoInstance) -> None:
    """Packages of npm: a scope and a name are one segment."""
    running = gateway(
        """
        routes:
          - {name: package, path: '/{package}', service: all, encoded_slash: keep}
          - {name: version, path: '/{package}/{version}', service: all, encoded_slash: keep}
          - {name: tarball, pattern: '^/(@[^/]+%2F)?[^/]+/-/[^/]+\\.tgz$', service: all, encoded_slash: keep}
        """,
        all=echo,
    )
    for target in ("/left-pad", "/@types%2Fnode", "/@types%2Fnode/1.0.0", "/@types%2Fnode/-/node-1.0.0.tgz"):
        assert _sent(running, target) == target
    assert _status(running, "/@types/node/-/node-1.0.0.tgz") == 404
    assert _status(running, "/a%2Fb/c/d/e") == 400


def test_methods_are_told_as_ever(gateway: Start, echo: EchoInstance) -> None:
    running = gateway("routes: [{path: '/{key}', method: GET, service: all, encoded_slash: keep}]", all=echo)
    answer = _ask(running, "/a%2Fb", "DELETE")
    assert (answer.status, answer.one("allow")) == (405, "GET, HEAD")


async def _registry(scope: Scope, _receive: Receive, send: Send) -> None:
    """A service that routes by the decoded path, as ASGI and WSGI have it."""
    secret = scope["path"].startswith("/admin/")
    body = json.dumps({"path": scope["path"], "raw": scope["raw_path"].decode(), "secret": secret}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with uvicorn_instance(_registry) as url:
        yield url


def test_a_service_that_decodes(gateway: Start, registry: str) -> None:
    running = gateway(
        AUTH
        + """
routes:
  - {name: package, path: '/{package}', service: all, auth_required: false, encoded_slash: keep}
  - {name: admin, prefix: /admin, service: all}
""",
        all=registry,
    )
    seen = json.loads(_ask(running, "/@types%2Fnode").body)
    assert seen == {"path": "/@types/node", "raw": "/@types%2Fnode", "secret": False}
    # The service would take these for what the gateway guards.
    for target in ("/admin%2Fusers", "/%61dmin%2fusers", "/admin%2Fusers?x", "/x/../admin%2Fusers", "/admin%2F"):
        answer = _ask(running, target)
        assert answer.status == 400, target
        assert "secret" not in answer.body.decode()
    assert _status(running, "/admin/users") == 401
    assert _status(running, "/users%2Fadmin") == 200


GUARDS = {
    "authenticators": ("auth_required: false", "auth_required: true"),
    "other authenticators": ("auth: one", "auth: other"),
    "permissions": ("auth_required: true", "permissions: x"),
    "other permissions": ("permissions: x", "permissions: 'y'"),
    "roles": ("auth_required: true", "roles: admin"),
    "addresses": ("auth_required: false", "auth_required: false, ip_access: {allow: 10.0.0.0/8}"),
    "fewer addresses": (
        "auth_required: false, ip_access: {deny: 10.0.0.0/8}",
        "auth_required: false, ip_access: {deny: [10.0.0.0/8, 192.168.0.0/16]}",
    ),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", GUARDS)
def test_routes_that_differ_in_whom_they_let_in(kind: str, turned: bool, gateway: Start, echo: EchoInstance) -> None:
    """Whichever is the stricter one: what the request is, is not certain."""
    kept, slashed = reversed(GUARDS[kind]) if turned else GUARDS[kind]
    running = gateway(
        f"""
        auth:
          jwt:
            - {{name: one, secret: a secret of more than thirty-two bytes, algorithms: HS256}}
            - {{name: other, secret: another secret of more than thirty-two bytes, algorithms: HS256}}
        routes:
          - {{path: '/files/{{key}}', service: all, encoded_slash: keep, {kept}}}
          - {{prefix: /files/a, service: all, {slashed}}}
          - {{path: '/same/{{key}}', service: all, encoded_slash: keep, {kept}}}
          - {{prefix: /same/a, service: all, {kept}}}
        """,
        all=echo,
    )
    assert _status(running, "/files/a%2Fb") == 400
    assert echo.count == 0
    # What has no other reading is judged by its route alone, and so is what is guarded alike both ways.
    plain = _status(running, "/files/b")
    assert plain in (200, 401, 403)
    assert _status(running, "/files/b%2Fc") == plain
    assert _status(running, "/same/a%2Fb") == plain


def test_a_path_that_has_other_methods_alone(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(
        """
        routes:
          - {path: '/files/{key}', service: all, encoded_slash: keep}
          - {path: /files/a/b, method: DELETE, service: all}
        """,
        all=echo,
    )
    assert [_status(running, "/files/a%2Fb", method) for method in ("GET", "DELETE")] == [400, 200]
    assert _status(running, "/files/a%2Fc") == 200


def test_the_other_reading_has_the_other_clauses_too(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(
        AUTH
        + """
routes:
  - {path: '/files/{key}', service: all, auth_required: false, encoded_slash: keep}
  - {prefix: /files/a, host: inner.test, service: all}
  - {prefix: /files/b, headers: {X-Tenant: blue}, service: all}
""",
        all=echo,
    )
    get = "GET /files/a%2Fx HTTP/1.1\r\nHost: {}\r\n\r\n"
    statuses = [running.raw(get.format(host).encode(), 1)[0].status for host in ("inner.test", "outer.test")]
    assert statuses == [400, 200]
    assert _status(running, "/files/b%2Fx") == 200
    assert _status(running, "/files/b%2Fx", "GET", "X-Tenant: blue") == 400


def test_a_preflight_is_judged_as_what_it_announces(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(
        """
        routes:
          - {path: '/files/{key}', method: PUT, service: all, encoded_slash: keep}
          - {prefix: /files, method: PUT, service: all}
          - {prefix: /closed, method: PUT, service: all, ip_access: {allow: 10.0.0.0/8}}
          - {path: '/{key}', method: PUT, service: all, encoded_slash: keep}
        policies: {cors: {origins: ['https://app.test']}}
        """,
        all=echo,
    )
    announced = ("Origin: https://app.test", "Access-Control-Request-Method: PUT")
    answer = _ask(running, "/files/a%2Fb", "OPTIONS", *announced)
    assert (answer.status, answer.one("access-control-allow-origin")) == (204, "https://app.test")
    assert _status(running, "/closed%2Fb", "OPTIONS", *announced) == 400


def test_prefixes_that_are_stripped_and_paths_that_are_rewritten(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(
        """
        routes:
          - {prefix: /registry, strip_prefix: true, service: all, encoded_slash: keep}
          - {path: '/v1/{name}/{rest:path}', rewrite: '/objects/{name}/{rest}', service: all, encoded_slash: keep}
          - {pattern: '^/cut/x(?P<rest>.*)$', rewrite: '/{rest}', service: all, encoded_slash: keep}
          - {pattern: '^/dot/(?P<rest>.*)$', rewrite: '/.{rest}', service: all, encoded_slash: keep}
        """,
        all=echo,
    )
    for target, sent in (
        ("/registry/@types%2Fnode", "/@types%2Fnode"),
        ("/v1/a%2Fb/c%2Fd/e", "/objects/a%2Fb/c%2Fd/e"),
        ("/cut/xy%2Fz", "/y%2Fz"),
        ("/dot/a%2Fb", "/.a%2Fb"),
    ):
        assert _sent(running, target) == sent
    # What is sent is as certain as what came.
    count = echo.count
    assert _status(running, "/cut/x%2Fz") == 400
    assert _status(running, "/cut/x.%2Fz") == 400
    assert _status(running, "/dot/.%2Fz") == 400
    assert echo.count == count
    # The prefix ends with a segment.
    assert _status(running, "/registry%2Fnode") == 400


def test_over_http2(gateway: Start, echo: EchoInstance) -> None:
    listeners = {"listeners": [{"address": "127.0.0.1:0", "http2": True}]}
    routes = [{"path": "/{key}", "service": "all", "encoded_slash": "keep"}, {"prefix": "/x", "service": "all"}]
    running = gateway({**listeners, "routes": routes}, all=echo)
    with FramePeer(running.address) as peer:
        assert json.loads(peer.get("/a%2fb").body)["target"] == "/a%2Fb"
        assert peer.get("/x/a%2Fb").status == 400
        assert peer.get("/a%2Fb").status == 200


def test_hooks_see_letters(echo: EchoInstance) -> None:
    seen: list[Any] = []

    def look(request: Request) -> None:
        seen.append((request.path, request.params["key"]))
        if request.path.startswith("/move"):
            request.path = "/moved" + request.path
        elif request.path == "/add":
            request.path = "/a%2Fb"

    config: dict[str, Any] = {
        "listeners": ["127.0.0.1:0"],
        "services": {"all": {"instances": [echo.url]}},
        "routes": [{"path": "/{key}", "service": "all", "encoded_slash": "keep", "auth_required": False}],
    }
    one = Gateway(**config)
    one.on_request(look)
    with hooked.running(one) as address:
        targets = ("/a%2Fb", "/move%2Fb", "/add")
        answers = [raw(address, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 1)[0] for target in targets]
    # A hook brings no encoded slash where there was none.
    assert [answer.status for answer in answers] == [200, 200, 500]
    assert [json.loads(answer.body)["target"] for answer in answers[:2]] == ["/a%2Fb", "/moved/move%2Fb"]
    assert seen == [("/a%2Fb", "a/b"), ("/move%2Fb", "move/b"), ("/add", "add")]


def test_the_cache_keeps_the_readings_apart(gateway: Start) -> None:
    def answer(peer: Any, request: Message) -> None:
        body = request.target.encode()
        peer.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with RawInstance(answer) as instance:
        running = gateway("policies: {cache: true}\n" + KEPT, all=instance)
        for _ in range(2):
            for target in ("/a%2Fb", "/a/b", "/a%252Fb"):
                assert running.get(target).body.decode() == target
        assert running.get("/a%2fb").body == b"/a%2Fb"
        assert len(instance.requests) == 3
        assert running.gateway.purge_cache(url="/a%2Fb") == 1
        assert running.get("/a%2Fb").body == b"/a%2Fb"
        assert len(instance.requests) == 4


def test_explain_tells_it() -> None:
    one = Gateway(
        services={"all": {"instances": ["http://127.0.0.1:9"]}},
        routes=[
            {"name": "kept", "path": "/{key}", "service": "all", "auth_required": False, "encoded_slash": "keep"},
            {
                "name": "rest",
                "prefix": "/x",
                "service": "all",
                "auth_required": False,
                "ip_access": {"allow": "10.0.0.0/8"},
            },
        ],
    )
    plan = json.dumps(one.plan())

    def explained(target: str) -> dict[str, Any]:
        request = {"method": "GET", "target": target, "headers": [], "client": "127.0.0.1", "secure": False}
        return engine.explain(plan, json.dumps(request))

    taken = explained("/a%2Fb")
    assert (taken["outcome"], taken["route"]["name"], taken["upstream_path"]) == ("route", "kept", "/a%2Fb")
    for target in ("/x%2Fb", "/x/a%2Fb", "/a/b%2Fc"):
        refused = explained(target)
        assert (refused["outcome"], refused["status"]) == ("bad_request", 400)
        assert "encoded slash" in refused["detail"]


def test_the_router_of_python_code() -> None:
    router = Router([{"name": "kept", "path": "/{key}", "encoded_slash": "keep"}, {"name": "rest", "prefix": "/x"}])
    found = router.find("GET", "/a%2Fb")
    assert (found.name, dict(found.params)) == ("kept", {"key": "a/b"})
    for target in ("/x/a%2Fb", "/a/b%2Fc", "/a%2F%2Fb"):
        with pytest.raises(ValueError, match="encoded slash"):
            router.find("GET", target)


def test_what_a_configuration_may_say(tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"

    def written(route: str) -> Gateway:
        file.write_text(
            "services: {all: {instances: ['http://127.0.0.1:9']}}\n"
            f"routes: [{{service: all, auth_required: false, {route}}}]\n"
        )
        return Gateway.from_file(file)

    with pytest.raises(ConfigError, match="encoded_slash"):
        written("prefix: /, encoded_slash: 'yes'")
    plan = written("path: /a%2Fb, encoded_slash: keep").plan()
    (problem,) = engine.check(json.dumps(plan))["problems"]
    assert problem["path"] == "routes[0].match.path"
    assert "encoded_slash: keep" in problem["message"]
    assert written("prefix: /").plan()["routes"][0]["encoded_slash"] == "reject"
