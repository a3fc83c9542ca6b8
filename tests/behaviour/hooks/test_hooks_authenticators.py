"""Functions of a program that say who the client is."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from pylae import ConfigError, Gateway, HookError, HTTPError, Request, Response, Route
from pylae.cli import main
from pylae.hooks import Certificate, User
from pylae.testing import FakeService, StartedGateway
from support.exchanges import ask
from support.frames import handshake, switching
from support.h2servers import Shop, grpc_instance
from support.hooked import running, until
from support.instance import RawInstance
from support.peer import Peer
from support.tls import Authority, secure

TOKENS = {"red": User("ada", role="user", permissions=["read"]), "blue": User("bob", role="admin")}
Answer = User | Response | None
Function = Callable[[Request], Answer]
KINDS = ("worker", "coroutine", "loop", "pool")


def gateway_for(service: FakeService, **settings: Any) -> Gateway:
    """Routes that need a user, permission to write, and nobody."""
    gateway = Gateway(**{"listeners": ["127.0.0.1:0"], "workers": 1, **settings})
    common = {"service": "shop", "service_url": service.url}
    gateway.add_route(Route(name="write", path="/write", permissions=["write"], **common))
    gateway.add_route(Route(name="open", path="/open", auth_required=False, auth=["token"], **common))
    gateway.add_route(Route(name="others", prefix="/", **common))
    return gateway


def add(gateway: Gateway, kind: str, function: Function, **options: Any) -> None:
    """The authenticator `token`, of a kind."""

    async def coroutine(request: Request) -> Answer:
        return function(request)

    async def loop(request: Request) -> Answer:
        await asyncio.sleep(0)
        return function(request)

    made: Any = {"coroutine": coroutine, "loop": loop}.get(kind, function)
    gateway.authenticator("token", blocking=kind == "pool", **options)(made)


def by_token(request: Request) -> User | None:
    return TOKENS.get(request.headers.get("x-token", ""))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", [None, "header:X-Token"])
def test_it_is_one_like_the_built_in_ones(service: FakeService, kind: str, key: str | None) -> None:
    gateway = gateway_for(service)
    add(gateway, kind, by_token, key=key)
    with running(gateway) as address:
        answer = ask(address, "/any", headers={"X-Token": "red"})
        assert (answer.status, service.requests[-1].headers["x-user-id"]) == (200, "ada")
        assert service.requests[-1].headers["x-user-role"] == "user"
        assert ask(address, "/write", headers={"X-Token": "red"}).status == 403
        assert ask(address, "/write", headers={"X-Token": "blue"}).status == 200
        nobody = ask(address, "/any")
        assert (nobody.status, nobody.headers["www-authenticate"]) == (401, 'token realm="pylae"')
        assert ask(address, "/any", headers={"X-Token": "green"}).status == 401
        for token in ({}, {"X-Token": "green"}):
            assert ask(address, "/open", headers=token).status == 200
            assert "x-user-id" not in service.requests[-1].headers
        assert ask(address, "/open", headers={"X-Token": "red"}).status == 200
        assert service.requests[-1].headers["x-user-id"] == "ada"


def test_limits_and_hooks_see_the_user(service: FakeService) -> None:
    gateway = gateway_for(service, policies={"rate_limit": {"limit": 2, "key": "user"}})
    add(gateway, "worker", by_token)
    seen: list[User | None] = []

    @gateway.on_request
    def see(request: Request) -> None:
        seen.append(request.user)

    with running(gateway) as address:
        statuses = [ask(address, "/", headers={"X-Token": token}).status for token in ("red", "red", "red", "blue")]
    assert statuses == [200, 200, 429, 200]
    assert [(user.id, user.via) for user in seen if user] == [("ada", "function"), ("ada", "function"),
                                                              ("bob", "function")]  # fmt: skip


def test_it_stands_beside_others(service: FakeService) -> None:
    hashed = "f7846f55cf23e14eebeab5b4e1550cad5b509e3348fbc4efa3a1413d393cb650"
    gateway = gateway_for(service, auth={"api_key": {"header": "X-Key", "consumers": {"cron": hashed}}})
    add(gateway, "loop", by_token)
    gateway.add_route(Route(path="/keys", auth=["api_key"], service="shop"))
    with running(gateway) as address:
        assert ask(address, "/", headers={"X-Token": "red"}).status == 200
        assert ask(address, "/keys", headers={"X-Token": "red"}).status == 401
        # The key is refused, and the function knows the user.
        assert ask(address, "/", headers={"X-Key": "wrong", "X-Token": "red"}).status == 200
        assert ask(address, "/", headers={"X-Key": "wrong"}).status == 401
        challenges = ask(address, "/").headers.get_all("www-authenticate")
        assert challenges == ['ApiKey realm="pylae"', 'token realm="pylae"']


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_says_is_remembered(service: FakeService, kind: str) -> None:
    gateway = gateway_for(service, auth={"failure_limit": False})
    asked: list[str] = []

    def slow(request: Request) -> User | None:
        asked.append(request.headers["x-token"])
        return by_token(request)

    add(gateway, kind, slow, key="header:X-Token", cache="1h")
    with running(gateway) as address:
        for token, status in [("red", 200), ("green", 401), ("blue", 200)] * 3:
            assert ask(address, "/", headers={"X-Token": token}).status == status
        # Under another path, method and host it is the same question.
        assert ask(address, "/open", "POST", headers={"X-Token": "red", "Host": "other.test"}).status == 200
        assert sorted(asked) == ["blue", "green", "red"]
        assert ask(address, "/").status == 401
        assert len(asked) == 3, "it was asked about a request without any of its key"
        gateway.revoke(user="ada", ttl="1m")
        assert ask(address, "/", headers={"X-Token": "red"}).status == 401
        assert ask(address, "/", headers={"X-Token": "blue"}).status == 200
        assert sorted(asked) == ["blue", "green", "red", "red"]


def test_another_configuration_asks_again(service: FakeService) -> None:
    asked: list[str] = []

    def build(limit: str) -> Gateway:
        gateway = gateway_for(service, policies={"rate_limit": limit})
        gateway.authenticator("token", key="header:X-Token", cache="1h")(who)
        return gateway

    def who(request: Request) -> User | None:
        asked.append(request.headers["x-token"])
        return by_token(request)

    gateway = build("1000/minute")
    with running(gateway) as address:
        assert [ask(address, "/", headers={"X-Token": "red"}).status for _ in range(2)] == [200, 200]
        assert asked == ["red"]
        gateway.apply(build("2000/minute"))
        assert [ask(address, "/", headers={"X-Token": "red"}).status for _ in range(2)] == [200, 200]
        assert asked == ["red", "red"]


def test_instances_that_are_found_are_no_other_configuration(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text(f'{{"shop": ["{service.url}"]}}')
    found = {"shop": {"discovery": {"file": {"path": str(tmp_path / "instances.json"), "interval": "20ms"}}}}
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=1, services=found)
    gateway.add_route(Route(prefix="/", service="shop"))
    asked: list[str] = []

    @gateway.authenticator("token", key="header:X-Token", cache="1h")
    def who(request: Request) -> User | None:
        asked.append(request.headers["x-token"])
        return by_token(request)

    with running(gateway) as address, FakeService() as other:
        assert ask(address, "/", headers={"X-Token": "red"}).status == 200
        (tmp_path / "instances.json").write_text(f'{{"shop": ["{other.url}"]}}')
        until(lambda: ask(address, "/", headers={"X-Token": "red"}).status == 200 and other.requests)
    assert asked == ["red"]


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_its_key_names_is_seen(service: FakeService, kind: str) -> None:
    gateway = gateway_for(service)
    seen: dict[str, Any] = {}
    hidden = ("method", "path", "raw_path", "url", "client_ip", "params", "route", "service")

    def look(request: Request) -> User | None:
        seen["headers"] = sorted(request.headers.items())
        seen["query"], seen["cookies"] = request.query, request.cookies
        seen["user"], seen["certificate"] = request.user, request.client_certificate
        seen["id"] = request.id
        for name in hidden:
            with pytest.raises(HookError, match=f"request.{name} is hidden"):
                getattr(request, name)
        assert not any(name in request for name in hidden)
        assert set(request) == {"query", "query_params", "headers", "request_id", "timestamp"}
        with pytest.raises(HookError, match="not in memory"):
            _ = request.content
        return User("ada")

    parts = ["header:X-Token", "header:X-Absent", "header:X-User-ID", "query:k", "cookie:sid", "client_certificate"]
    add(gateway, kind, look, key=parts)
    headers = {
        "X-Token": "red", "X-User-ID": "root", "Cookie": "a=1; sid=7; b=2", "X-Other": "1", "X-Request-ID": "r-1",
    }  # fmt: skip
    with running(gateway) as address:
        assert ask(address, "/deep/path?x=1&k=a%20b&k=c", "POST", headers=headers, body=b"{}").status == 200
    assert seen == {
        "headers": [("cookie", "sid=7"), ("x-token", "red")],
        "query": "k=a%20b&k=c",
        "cookies": {"sid": "7"},
        "user": None,
        "certificate": None,
        "id": "r-1",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_it_changes_nothing_of_the_request(service: FakeService, kind: str) -> None:
    gateway = gateway_for(service)

    def meddle(request: Request) -> User | None:
        for change in (
            lambda: request.headers.__setitem__("X-Injected", "1"),
            lambda: setattr(request, "path", "/elsewhere"),
            lambda: setattr(request, "query", "a=1"),
            lambda: setattr(request, "user", User("root")),
            lambda: setattr(request, "service", "shop"),
        ):
            with pytest.raises(HookError):
                change()
        request.state["seen"] = True
        return by_token(request)

    add(gateway, kind, meddle)
    with running(gateway) as address:
        assert ask(address, "/any?b=2", headers={"X-Token": "red"}).status == 200
        assert (service.requests[-1].target, "x-injected" in service.requests[-1].headers) == ("/any?b=2", False)
        assert ask(address, "/any").status == 401


@pytest.mark.parametrize("kind", KINDS)
def test_it_may_answer(service: FakeService, kind: str) -> None:
    gateway = gateway_for(service, policies={"security_headers": True})

    def login(request: Request) -> Answer:
        if (user := by_token(request)) is not None:
            return user
        headers = {"Location": f"/login?next={request.path}", "Set-Cookie": "attempt=1; Path=/; HttpOnly"}
        return Response(status_code=302, headers=headers)

    add(gateway, kind, login)
    with running(gateway) as address:
        answer = ask(address, "/cart")
        assert (answer.status, answer.headers["location"]) == (302, "/login?next=/cart")
        assert answer.headers["set-cookie"] == "attempt=1; Path=/; HttpOnly"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert ask(address, "/cart", headers={"X-Token": "red"}).status == 200
    assert len(service.requests) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_it_sets_fields_on_whatever_answer_comes(service: FakeService, kind: str) -> None:
    gateway = gateway_for(service)
    asked: list[str] = []

    def renew(request: Request) -> Answer:
        asked.append(request.headers["x-token"])
        request["response_headers"] = {"Set-Cookie": [f"sid={len(asked)}", "seen=1"]}
        return by_token(request)

    add(gateway, kind, renew, key="header:X-Token", cache="1h")
    with running(gateway) as address:
        for count, path, status in ((1, "/any", 200), (2, "/write", 403)):
            answer = ask(address, path, headers={"X-Token": "red"})
            assert (answer.status, answer.headers.get_all("set-cookie")) == (status, [f"sid={count}", "seen=1"])
    assert asked == ["red", "red"], "an outcome with fields was remembered"


@pytest.mark.parametrize("kind", KINDS)
def test_it_may_refuse(service: FakeService, kind: str) -> None:
    gateway = gateway_for(service)

    def refuse(request: Request) -> Answer:
        match request.headers.get("x-token"):
            case "expired":
                raise HTTPError(401, "the session has ended")
            case "basic":
                raise HTTPError(401, "log in", headers={"WWW-Authenticate": "Basic"})
            case "banned":
                raise HTTPError(403, "you are banned")
        return by_token(request)

    add(gateway, kind, refuse)
    with running(gateway) as address:
        for path in ("/any", "/open"):
            answer = ask(address, path, headers={"X-Token": "expired"})
            assert (answer.status, answer.json()["detail"]) == (401, "the session has ended")
            assert answer.headers["www-authenticate"] == 'token realm="pylae"'
            assert ask(address, path, headers={"X-Token": "basic"}).headers.get_all("www-authenticate") == ["Basic"]
            assert ask(address, path, headers={"X-Token": "banned"}).status == 403
    assert not service.requests


@pytest.mark.parametrize(("key", "token"), [("header:X-Token", "wrong"), (None, "expired")])
def test_failures_are_counted(service: FakeService, key: str | None, token: str) -> None:
    gateway = gateway_for(service, auth={"failure_limit": "3/minute"})

    def who(request: Request) -> User | None:
        if request.headers["x-token"] == "expired":
            raise HTTPError(401, "the session has ended")
        return by_token(request)

    add(gateway, "worker", who, key=key)
    with running(gateway) as address:
        statuses = [ask(address, "/", headers={"X-Token": token}).status for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        # Who guesses is not told that the guess was right.
        assert ask(address, "/", headers={"X-Token": "red"}).status == 429


@pytest.mark.parametrize("kind", KINDS)
def test_its_failure_is_500_or_nobody(service: FakeService, kind: str) -> None:
    asked: list[int] = []

    def fail(_: Request) -> Answer:
        asked.append(1)
        raise RuntimeError("no database")

    for on_error, statuses in (("fail", [500, 500]), ("skip", [401, 200])):
        gateway = gateway_for(service)
        add(gateway, kind, fail, on_error=on_error, key="header:X-Token", cache="1h")
        with running(gateway) as address:
            assert [ask(address, path, headers={"X-Token": "red"}).status for path in ("/any", "/open")] == statuses
    assert len(asked) == 4, "a failure was remembered"


def test_one_that_takes_too_long_has_failed(service: FakeService) -> None:
    gateway = gateway_for(service)
    release = threading.Event()

    def stuck(_: Request) -> Answer:
        release.wait()
        return None

    add(gateway, "pool", stuck, timeout="50ms")
    with running(gateway) as address:
        assert ask(address, "/").status == 500
        (figures,) = gateway.stats()["hooks"]["calls"]
        assert (figures["timeouts"], figures["route"]) == (1, "")
        release.set()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"id": "ada"}, "a dict: return a User, None if nobody is known, or a Response to answer"),
        (True, "a bool: return a User"),
        (User(""), "a User without an id"),
    ],
)
def test_what_it_returns_is_checked(
    service: FakeService, caplog: pytest.LogCaptureFixture, given: Any, message: str
) -> None:
    gateway = gateway_for(service)
    gateway.authenticator("token")(lambda _: given)
    with running(gateway) as address:
        assert ask(address, "/").status == 500
        until(lambda: message in caplog.text)


@pytest.mark.parametrize("kind", KINDS)
def test_paths_are_its_own(service: FakeService, kind: str) -> None:
    gateway = gateway_for(service, policies={"security_headers": True})

    def login(request: Request) -> Answer:
        if request.path == "/login" and request.method == "POST":
            if request.content == b"password=letmein":
                headers = {"Location": "/", "Set-Cookie": "sid=ada"}
                return Response(status_code=303, headers=headers)
            return Response("wrong", status_code=403)
        if request.path.startswith("/oauth/"):
            assert request.params is not None
            return Response(f"callback of {request.params['provider']} from {request.client_ip}")
        if request.path in ("/login", "/logout"):
            return None
        return User(request.cookies["sid"]) if "sid" in request.cookies else None

    add(gateway, kind, login, paths=["/login", "/logout", "/oauth/{provider}/callback"], body=True)
    with running(gateway) as address:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert ask(address, "/login", "POST", headers=form, body=b"password=wrong").status == 403
        answer = ask(address, "/login", "POST", headers=form, body=b"password=letmein")
        assert (answer.status, answer.headers["set-cookie"]) == (303, "sid=ada")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert ask(address, "/oauth/acme/callback?code=1").text == "callback of acme from 127.0.0.1"
        # What it does not answer is nowhere, and never at the service.
        assert [ask(address, path).status for path in ("/login", "/logout")] == [404, 404]
        assert ask(address, "/cart").status == 401
        assert ask(address, "/cart", headers={"Cookie": "sid=ada"}).status == 200
    assert [request.target for request in service.requests] == ["/cart"]


def test_on_its_paths_it_sees_everything(service: FakeService) -> None:
    """Also what instances do not see, and what is hidden where verdicts are remembered."""
    wide = {"cache": "1m", "static_response": {"status": 204}}
    gateway = gateway_for(service, policies=wide, auth={"api_key": {"consumers": {"cron": "0" * 64}}})
    asked: list[str | None] = []

    @gateway.authenticator(
        "token", key="header:X-Token", cache="1h", paths="/session", forward_credentials=False
    )  # fmt: skip
    def session(request: Request) -> Answer:
        if "path" not in request:
            return None
        asked.append(request.user and request.user.id)
        seen = [request.headers.get(name) for name in ("x-token", "x-api-key", "x-other")]
        return Response.json(seen, headers={"Cache-Control": "max-age=60"})

    with running(gateway) as address:
        for _ in range(2):
            answer = ask(address, "/session", headers={"X-Token": "a", "X-API-Key": "b", "X-Other": "c"})
            assert (answer.status, answer.json()) == (200, ["a", "b", "c"])
    assert asked == [None, None]


def test_a_path_that_a_route_has_too_is_the_authenticators(service: FakeService) -> None:
    gateway = gateway_for(service)
    gateway.add_route(Route(name="mine", path="/login", service="shop", auth_required=False))

    @gateway.authenticator("token", paths="/login")
    def login(_: Request) -> Response:
        return Response("log in here")

    assert any("mine" in problem.message or "login" in problem.message for problem in gateway.check())
    with running(gateway) as address:
        assert ask(address, "/login").text == "log in here"


def test_a_file_names_it(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "asking_it.py").write_text(
        "from pylae.hooks import User\n\n\n"
        "async def who(request):\n"
        "    return User('ada') if request.headers.get('x-token') == 'red' else None\n"
    )
    (tmp_path / "pylae.yaml").write_text(
        "listeners: ['127.0.0.1:0']\nworkers: 1\n"
        "auth: {functions: {token: {function: 'asking_it:who', key: 'header:X-Token', cache: 1m},"
        " other: 'asking_it:who'}}\n"
        f"routes: [{{prefix: /, service: shop, service_url: '{service.url}', auth: [token]}}]\n"
    )
    one = StartedGateway(Gateway.from_file(tmp_path / "pylae.yaml"))
    try:
        assert ask(one.address, "/", headers={"X-Token": "red"}).status == 200
        assert ask(one.address, "/").status == 401
    finally:
        one.stop()


@pytest.mark.parametrize(
    ("settings", "place", "message"),
    [
        ("token: 'absent:who'", "auth.functions.token", "No module named 'absent'"),
        ("token: {function: 'asking:who', cache: 1m}", "auth.functions.token", "`cache` needs `key`"),
        ("token: {function: 'asking:who', key: 'path'}", "auth.functions.token.key", "is no part of a request"),
        ("token: {function: 'asking:who', body: true}", "auth.functions.token", "`body` works only with `paths`"),
        ("token: {function: 'asking:wo'}", "auth.functions.token.function", "did you mean `who`?"),
        ("token: {function: 'asking:two'}", "auth.functions.token.function", "cannot be called as `two(request)`"),
        (
            "token: {function: 'asking:who', key: 'cookie:sid', forward_credentials: false}",
            "auth.functions.token",
            "cookie:sid cannot be taken out of a request",
        ),
        ("api_key: {function: 'asking:who'}", "auth", "two authenticators are called api_key"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file(service: FakeService, tmp_path: Path, settings: str, place: str, message: str) -> None:
    module = f"asking_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(
        "def who(request):\n    return None\n\n\ndef two(request, other):\n    pass\n"
    )
    key = "{header: X-Key, consumers: {cron: f7846f55cf23e14eebeab5b4e1550cad5b509e3348fbc4efa3a1413d393cb650}}"
    (tmp_path / "pylae.yaml").write_text(
        f"auth:\n  api_key: {key}\n  functions: {{{settings.replace('asking', module)}}}\n"
        f"routes: [{{prefix: /, service: shop, service_url: '{service.url}'}}]\n"
    )
    with pytest.raises(ConfigError) as refused:
        Gateway.from_file(tmp_path / "pylae.yaml").check()
    (problem,) = refused.value.problems
    assert problem.path == place
    assert message in f"{problem.message} {problem.hint}"


async def _hang(_: Request) -> None:
    await asyncio.sleep(0)


def _two(_: Request, __: object) -> None:
    return None


@pytest.mark.parametrize(
    ("name", "options", "function", "message"),
    [
        ("a b", {}, by_token, "the name of an authenticator must be a letter and then"),
        (by_token, {}, by_token, 'an authenticator has a name, by which routes choose it'),
        ("token", {"caches": "1m"}, by_token, "unknown option `caches`; did you mean `cache`?"),
        ("token", {"cache": "1m"}, by_token, "`cache` needs `key`"),
        ("token", {"key": "X-Token"}, by_token, "is no part of a request that holds a credential"),
        ("token", {"blocking": True}, _hang, "is async; `blocking` works only with functions that are not"),
        ("token", {}, _two, "cannot be called as `_two(request)`"),
        ("token", {}, User, "is a class"),
        ("token", {}, "asking:who", "is not callable"),
    ],
)  # fmt: skip
def test_mistakes_in_a_program(name: Any, options: dict[str, Any], function: Any, message: str) -> None:
    with pytest.raises(HookError) as refused:
        Gateway().authenticator(name, **options)(function)
    assert message in str(refused.value)


def test_what_check_warns_of(service: FakeService) -> None:
    gateway = gateway_for(service)

    def who(_: Request) -> dict[str, str]:
        return {}

    gateway.authenticator("token", on_error="skip")(who)
    said = [f"{problem.path}: {problem.message}" for problem in gateway.check()]
    assert any("finds no user when it fails" in line for line in said)
    assert any("is annotated to return dict[str, str]" in line for line in said)


def test_a_name_is_taken_once(service: FakeService) -> None:
    gateway = gateway_for(service)
    for _ in range(2):
        add(gateway, "worker", by_token)
    with pytest.raises(ConfigError, match="there is an authenticator of this name already"):
        gateway.check()


def test_credentials_can_be_kept_from_instances(service: FakeService) -> None:
    gateway = gateway_for(service)
    add(gateway, "loop", lambda _: User("ada"), key=["header:X-Token", "query:k"], forward_credentials=False)
    with running(gateway) as address:
        assert ask(address, "/?a=1&k=secret&b=2", headers={"X-Token": "red"}).status == 200
    assert service.requests[-1].target == "/?a=1&b=2"
    assert "x-token" not in service.requests[-1].headers


@pytest.mark.parametrize("key", [None, "header:X-Token"])
def test_what_is_changed_for_instances_does_not_concern_it(service: FakeService, key: str | None) -> None:
    gateway = gateway_for(service, policies={"transform": {"request": {"remove": ["X-Token"]}}})
    add(gateway, "worker", by_token, key=key)
    with running(gateway) as address:
        assert ask(address, "/", headers={"X-Token": "red"}).status == 200
    assert "x-token" not in service.requests[-1].headers


@pytest.mark.parametrize("key", [None, ["header:X-Real-IP", "header:X-Forwarded-User"]])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_trusted_proxy_is_believed(service: FakeService, key: list[str] | None, *, trusted: bool) -> None:
    gateway = gateway_for(service, trusted_proxies=["127.0.0.1"] if trusted else [])

    def who(request: Request) -> User | None:
        user, address = (request.headers.get(name) for name in ("x-forwarded-user", "x-real-ip"))
        return User(user) if user and address else None

    add(gateway, "worker", who, key=key)
    with running(gateway) as address:
        answer = ask(address, "/", headers={"X-Forwarded-User": "ada", "X-Real-IP": "192.0.2.1"})
        assert answer.status == (200 if trusted else 401)


def test_a_module_that_changes_is_asked_anew(service: FakeService, tmp_path: Path) -> None:
    module = tmp_path / "asked_anew.py"
    text = "from pylae.hooks import User\n\n\ndef who(request):\n    return User('ada')\n"
    module.write_text(text)
    (tmp_path / "pylae.yaml").write_text(
        "listeners: ['127.0.0.1:0']\nworkers: 1\n"
        "auth: {functions: {token: {function: 'asked_anew:who', key: 'header:X-Token', cache: 1h}}}\n"
        f"routes: [{{prefix: /, service: shop, service_url: '{service.url}'}}]\n"
    )
    one = StartedGateway(Gateway.from_file(tmp_path / "pylae.yaml"))
    try:
        for name in ("ada", "bob"):
            module.write_text(text.replace("ada", name))
            one.gateway.reload()
            assert ask(one.address, "/", headers={"X-Token": "red"}).status == 200
            assert service.requests[-1].headers["x-user-id"] == name
        assert module in one.gateway.builder.followed
    finally:
        one.stop()


def test_an_early_user_is_not_asked_about(service: FakeService) -> None:
    gateway = gateway_for(service)
    asked: list[int] = []

    def who(_: Request) -> User | None:
        asked.append(1)
        return None

    add(gateway, "worker", who)

    @gateway.on_request(stage="early")
    def known(request: Request) -> None:
        request.user = User("eve")

    with running(gateway) as address:
        assert ask(address, "/").status == 200
    assert (service.requests[-1].headers["x-user-id"], asked) == ("eve", [])


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, "401: no credential for token"),
        ({"X-Token": "s3cret"}, "cannot be told: token: its function is asked about real"),
        ({"Other": "1"}, "401: no credential for token"),
    ],
)
def test_explain_asks_nobody(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, headers: dict[str, str], verdict: str
) -> None:
    (tmp_path / "explained.py").write_text("def who(request):\n    raise RuntimeError('asked')\n")
    (tmp_path / "pylae.yaml").write_text(
        "auth: {functions: {token: {function: 'explained:who', key: 'header:X-Token'}}}\n"
        f"routes: [{{prefix: /, service: shop, service_url: '{service.url}'}}]\n"
    )
    monkeypatch.chdir(tmp_path)
    fields = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    said = CliRunner().invoke(main, ["explain", "GET", "/any", *fields])
    assert verdict in said.output
    assert "s3cret" not in said.output


def test_a_certificate_says_who_it_is(service: FakeService, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificates = [authority.issue("server", "gateway.test")]
    tls = {"certificates": certificates, "client_auth": {"ca": str(authority.file), "mode": "optional"}}
    gateway = gateway_for(service, listeners=[{"address": "127.0.0.1:0", "tls": tls}])
    asked: list[Certificate | None] = []

    @gateway.authenticator("token", key="client_certificate", cache="1h")
    def device(request: Request) -> User | None:
        asked.append(certificate := request.client_certificate)
        return User(certificate.common_name) if certificate else None

    shown = authority.issue("client", common_name="sensor-7")
    with running(gateway) as address:
        for _ in range(2):
            with secure(address, authority.context(**shown)) as peer:
                peer.send(b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
                assert peer.read_answer().status == 200
        with secure(address, authority.context()) as peer:
            peer.send(b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
            assert peer.read_answer().status == 401
    assert service.requests[-1].headers["x-user-id"] == "sensor-7"
    (certificate,) = [one for one in asked if one]
    assert (certificate.common_name, certificate.dns, certificate.emails) == ("sensor-7", [], [])
    assert certificate.not_after > 1.7e9


def test_a_client_that_leaves_ends_it(service: FakeService) -> None:
    gateway = gateway_for(service)
    ended = threading.Event()
    entered = threading.Event()

    async def who(_: Request) -> User | None:
        entered.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.set()
            raise
        return None

    waiting: Callable[[Request], Awaitable[User | None]] = who
    gateway.authenticator("token", timeout="1h")(waiting)
    with running(gateway) as address:
        host, port = address.rsplit(":", 1)
        client = socket.create_connection((host, int(port)))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert entered.wait(10)
        client.close()
        assert ended.wait(10)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_of_grpc_have_a_user(kind: str) -> None:
    with grpc_instance(Shop()) as url:
        gateway = Gateway(listeners=[{"address": "127.0.0.1:0", "http2": True}], workers=1)
        gateway.add_service("shop", [url], protocol="http2")
        gateway.add_route(Route(prefix="/shop.Shop", service="shop"))
        add(gateway, kind, by_token, key="header:X-Token", cache="1h")
        with running(gateway) as address, grpc.insecure_channel(address) as channel:
            call = channel.unary_unary("/shop.Shop/Unary")
            assert call(b"abc", metadata=[("x-token", "red")]) == b"cba"
            assert call(b"def", metadata=[("x-token", "red")]) == b"fed"
            with pytest.raises(grpc.RpcError) as raised:
                call(b"abc", metadata=[("x-token", "green")])
            assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("kind", KINDS)
def test_websockets_are_opened_for_a_user(kind: str) -> None:
    """Browsers cannot set fields: the credential is in the query."""
    with RawInstance() as instance:
        gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
        gateway.add_route(Route(prefix="/", service_url=instance.url, websocket=True))
        add(gateway, kind, lambda request: TOKENS.get(request.query_params.get("token", "")), key="query:token")
        with running(gateway) as address:
            for target in ("/chat?token=green", "/chat"):
                with Peer.connect(address) as client:
                    client.send(handshake(target=target))
                    assert client.read_head().status == 401
            with Peer.connect(address) as client:
                client.send(handshake(target="/chat?token=red"))
                peer = instance.accept()
                assert peer.read_head().one("X-User-ID") == "ada"
                peer.send(switching())
                assert client.read_head().status == 101
