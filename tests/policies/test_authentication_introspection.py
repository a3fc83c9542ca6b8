"""Tokens whose issuer is asked about them: one that behaves well, and some that do not."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

import pytest

from pylae import ConfigError
from pylae.testing import FakeService, Received, Reply
from support.instance import EchoInstance
from support.oidc_provider.keys import Key
from support.peer import Message, wait_until
from support.running import Running
from support.tokens import SECRET, bearer, segment, token

Start = Callable[..., Running]
CLIENT = {"client_id": "gate way", "client_secret": "s3cret:%"}


def active(**members: Any) -> Reply:
    return Reply.json({"active": True, "sub": "ada", **members})


@pytest.fixture
def issuer() -> Iterator[FakeService]:
    """An issuer by which every token is Ada's."""
    with FakeService(active()) as service:
        yield service


def start(gateway: Start, server: FakeService, echo: EchoInstance, **more: Any) -> Running:
    auth = {"introspection": {"endpoint": f"{server.url}/introspect", **CLIENT, **more}}
    routes = [
        {"prefix": "/", "service": "echo"},
        {"prefix": "/known", "service": "echo", "auth_required": False, "auth": "introspection"},
    ]
    return gateway({"auth": auth, "routes": routes}, echo=echo)


def told(message: Message, name: str) -> list[str]:
    assert message.status == 200, message
    return [value for sent, value in json.loads(message.body)["headers"] if sent == name]


def form(request: Received) -> dict[str, list[str]]:
    return parse_qs(request.body.decode(), strict_parsing=True)


def test_what_the_issuer_is_asked_and_says(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    issuer.answer = active(scope="orders:read orders:write", email="a@example.org", role=["x", "y"], aud="shop")
    running = start(gateway, issuer, echo, audience="shop")
    answer = running.get("/", bearer("a/b+c="))
    assert [told(answer, name) for name in ("x-user-id", "x-user-role", "x-user-email")] == [
        ["ada"],
        ["x,y"],
        ["a@example.org"],
    ]
    assert told(answer, "authorization") == ["Bearer a/b+c="]
    asked = issuer.requests[0]
    assert (asked.method, asked.target) == ("POST", "/introspect")
    assert form(asked) == {"token": ["a/b+c="], "token_type_hint": ["access_token"]}
    assert asked.headers["Authorization"] == "Basic " + base64.b64encode(b"gate+way:s3cret%3A%25").decode()
    assert (asked.headers["Accept"], asked.headers["Content-Type"]) == (
        "application/json",
        "application/x-www-form-urlencoded",
    )


def test_the_secret_may_be_in_the_body(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    running = start(gateway, issuer, echo, client_auth="post", forward_credentials=False)
    assert told(running.get("/", bearer("t")), "authorization") == []
    assert "Authorization" not in issuer.requests[0].headers
    assert form(issuer.requests[0])["client_id"] + form(issuer.requests[0])["client_secret"] == ["gate way", "s3cret:%"]


def test_answers_are_remembered_and_refusals_too(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    running = start(gateway, issuer, echo)
    assert [running.get(target, bearer("t")).status for target in ("/", "/a", "/known")] == [200] * 3
    assert issuer.count == 1
    issuer.answer = Reply.json({"active": False})
    for target in ("/", "/known", "/"):
        refused = running.get(target, bearer("u"))
        assert refused.status == 401
        assert 'error="invalid_token"' in (refused.one("WWW-Authenticate") or "")
    assert issuer.count == 2
    assert [running.get("/", "Authorization: Basic eDp5").status, running.get("/").status] == [401, 401]
    assert told(running.get("/known"), "x-user-id") == []
    assert running.get("/", bearer("x" * 9000)).status == 401
    assert issuer.count == 2


def test_no_answer_outlives_its_token(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    running = start(gateway, issuer, echo, leeway="30s")
    issuer.answer = active(exp=time.time() - 10)
    # Within the leeway, so it is accepted, but asked about each time.
    assert [running.get("/", bearer("a")).status for _ in range(3)] == [200] * 3
    assert issuer.count == 3
    issuer.answer = active(exp=time.time() + 3600)
    assert [running.get("/", bearer("b")).status for _ in range(3)] == [200] * 3
    assert issuer.count == 4


@pytest.mark.parametrize(
    "more",
    [
        {"exp": 1},
        {"nbf": 32503680000},
        {"iss": "https://other.test"},
        {"aud": "other"},
        {"aud": ["other", "another"]},
        {"cnf": {"jkt": "x"}},
        {"cnf": {"jkt": "A" * 43}},
        {"cnf": {"x5t#S256": "A" * 43}},
        {"cnf": {}},
        {"cnf": "x"},
    ],
)
def test_tokens_that_are_not_for_here(
    gateway: Start, issuer: FakeService, echo: EchoInstance, more: Mapping[str, Any]
) -> None:
    control = {"iss": "https://issuer.test", "aud": ["shop", "x"], "exp": 32503680000, "nbf": 1.5, "iat": 1}
    running = start(gateway, issuer, echo, issuer="https://issuer.test", audience="shop")
    issuer.answer = active(**control)
    assert running.get("/", bearer("good")).status == 200
    issuer.answer = active(**{**control, **more})
    assert running.get("/", bearer("bad")).status == 401
    assert issuer.count == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"active": "true", "sub": "ada"},
        {"active": 1, "sub": "ada"},
        {"active": None},
        {"active": True},
        {"active": True, "sub": ""},
        {"active": True, "sub": ["ada"]},
        {"active": True, "sub": True},
        {"active": True, "sub": " ada"},
        {"active": True, "sub": "a\r\nb"},
        {"active": True, "sub": "a" * 1025},
        {"active": True, "sub": "ada", "exp": "4102444800"},
        {"active": True, "sub": "ada", "exp": True},
        {"active": True, "sub": "ada", "nbf": []},
        {"active": True, "sub": "ada", "aud": 1},
        {"active": True, "sub": "ada", "aud": [1]},
        {"active": True, "sub": "ada", "scope": 1},
        {"active": True, "sub": "ada", "jti": 1},
        {"active": True, "sub": "ada", "iss": {}},
        {"active": True, "sub": "ada", "email": 1},
        {"active": True, "sub": "ada", "role": {}},
        {"active": True, "sub": "ada", "role": ["a,b"]},
        {"active": True, "sub": "ada", "permissions": [1]},
        [],
        "active",
        b'{"active": true, "active": false, "sub": "ada"}',
        b'{"active": true, "sub": "ada", "exp": NaN}',
        b'{"active": true, "sub": "ada", "x": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"active": true, "sub": "ada", "x": "' + b"a" * 70_000 + b'"}',
        b"\xff",
        b"",
    ],
)
def test_answers_that_are_none_let_nobody_pass(
    gateway: Start, issuer: FakeService, echo: EchoInstance, body: Any
) -> None:
    issuer.answer = Reply(
        headers=(("Content-Type", "application/json"),), body=body if isinstance(body, bytes) else json.dumps(body)
    )
    running = start(gateway, issuer, echo)
    for target in ("/", "/known"):
        refused = running.get(target, bearer("t"))
        assert (refused.status, b"not available" in refused.body) == (503, True)
    issuer.answer = active()
    assert running.get("/", bearer("t")).status == 200


@pytest.mark.parametrize(
    "reply",
    [
        Reply(401, (("Content-Type", "application/json"),), b'{"active": true, "sub": "ada"}'),
        Reply(500, (("Content-Type", "application/json"),), b'{"active": true, "sub": "ada"}'),
        Reply(201, (("Content-Type", "application/json"),), b'{"active": true, "sub": "ada"}'),
        Reply(302, (("Location", "/"), ("Content-Type", "application/json")), b'{"active": true, "sub": "ada"}'),
        Reply(200, (("Content-Type", "text/html"),), b'{"active": true, "sub": "ada"}'),
        Reply(hang_up=True),
    ],
)
def test_other_answers_let_nobody_pass(gateway: Start, issuer: FakeService, echo: EchoInstance, reply: Reply) -> None:
    issuer.answer = reply
    running = start(gateway, issuer, echo)
    assert running.get("/", bearer("t")).status == 503


def test_while_the_issuer_is_away(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    running = start(gateway, issuer, echo)
    assert running.get("/", bearer("remembered")).status == 200
    issuer.answer = Reply(503)
    assert [running.get("/", bearer(str(number))).status for number in range(20)] == [503] * 20
    # It is left alone for a while, and what is known holds.
    assert issuer.count < 10
    assert int(running.get("/", bearer("new")).one("Retry-After") or 0) >= 1
    assert running.get("/", bearer("remembered")).status == 200
    issuer.answer = active()
    wait_until(lambda: running.get("/", bearer("new")).status == 200)


def test_an_issuer_that_is_late_lets_nobody_pass(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    go = threading.Event()

    def late(_: Received) -> Reply:
        go.wait(20)
        return active()

    issuer.answer = late
    running = start(gateway, issuer, echo, timeout="100ms")
    assert running.get("/", bearer("t")).status == 503
    go.set()


def test_many_at_once_ask_once(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    go = threading.Event()

    def slow(_: Received) -> Reply:
        assert go.wait(20)
        return active()

    issuer.answer = slow
    running = start(gateway, issuer, echo)
    with ThreadPoolExecutor(50) as pool:
        answers = [pool.submit(running.get, f"/{number}", bearer("t")) for number in range(50)]
        wait_until(lambda: running.gateway.stats()["totals"]["in_flight"] == 50)
        go.set()
        assert [answer.result().status for answer in answers] == [200] * 50
    assert issuer.count == 1


def test_revocations_work(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    issuer.answer = lambda asked: active(jti=form(asked)["token"][0], iat=1)
    running = start(gateway, issuer, echo)
    assert [running.get("/", bearer(name)).status for name in ("a", "b")] == [200, 200]
    running.gateway.revoke(jti="a")
    assert [running.get("/", bearer(name)).status for name in ("a", "b")] == [401, 200]
    running.gateway.revoke(user="ada")
    assert running.get("/", bearer("b")).status == 401


def test_beside_jwt_only_others_tokens_are_asked_about(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    auth = {
        "jwt": {"secret": SECRET, "issuer": "https://own.test"},
        "introspection": {"endpoint": issuer.url, **CLIENT},
    }
    # Whatever the order of a route is: who can tell by itself is asked first.
    routes = [{"prefix": "/", "service": "echo"}, {"prefix": "/turned", "service": "echo", "auth": "introspection|jwt"}]
    running = gateway({"auth": auth, "routes": routes}, echo=echo)
    own = token(iss="https://own.test")
    bad = own.rpartition(".")[0] + "." + segment(bytes(32))
    for target in ("/", "/turned"):
        assert told(running.get(target, bearer(own)), "x-user-id") == ["7"]
        refused = [token(iss="https://own.test", exp=1), bad]
        assert [running.get(target, bearer(text)).status for text in refused] == [401, 401]
    assert issuer.count == 0
    for text in ("opaque", token(iss="https://other.test"), "a.b.c"):
        assert told(running.get("/", bearer(text)), "x-user-id") == ["ada"]
    assert issuer.count == 3


def test_several_issuers(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    issuer.answer = Reply.json({"active": False})
    with FakeService(active(sub="bob")) as other:
        auth = {
            "introspection": [
                {"name": "one", "endpoint": issuer.url, "issuer": "https://one.test", **CLIENT},
                {"name": "two", "endpoint": other.url, "issuer": "https://two.test", **CLIENT},
            ]
        }
        routes = [{"prefix": "/", "service": "echo"}, {"prefix": "/one", "service": "echo", "auth": "one"}]
        running = gateway({"auth": auth, "routes": routes}, echo=echo)
        assert told(running.get("/", bearer("opaque")), "x-user-id") == ["bob"]
        assert (issuer.count, other.count) == (1, 1)
        # One that says whose it is goes to that issuer alone.
        assert running.get("/", bearer(token(iss="https://two.test"))).status == 200
        assert (issuer.count, other.count) == (1, 2)
        assert running.get("/one", bearer("opaque")).status == 401


def test_the_endpoint_is_discovered(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    document = {"issuer": issuer.url, "introspection_endpoint": f"{issuer.url}/ask"}
    issuer.answer = lambda asked: Reply.json(document) if asked.method == "GET" else active()
    auth = {"introspection": {"issuer": issuer.url, **CLIENT}}
    running = gateway({"auth": auth}, echo=echo)
    assert [running.get("/", bearer(text)).status for text in ("a", "b")] == [200, 200]
    assert [asked.path for asked in issuer.requests] == ["/.well-known/openid-configuration", "/ask", "/ask"]


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://other.test", "introspection_endpoint": "{url}/ask"},
        {"issuer": "{url}"},
        {"issuer": "{url}", "introspection_endpoint": 1},
        {"issuer": "{url}", "introspection_endpoint": "file:///etc/passwd"},
        [],
    ],
)
def test_discovery_that_lies(gateway: Start, issuer: FakeService, echo: EchoInstance, document: Any) -> None:
    text = json.dumps(document).replace("{url}", issuer.url)
    issuer.answer = Reply(body=text)
    running = gateway({"auth": {"introspection": {"issuer": issuer.url, **CLIENT}}}, echo=echo)
    assert running.get("/", bearer("a")).status == 503
    assert all(asked.method == "GET" for asked in issuer.requests)


SIGNED = "application/token-introspection+jwt"
KEY = Key("ES256")


def signs(issuer: FakeService, text: str, kind: str = SIGNED) -> None:
    """Has an issuer with one key give this answer to all."""
    document = {"issuer": issuer.url, "introspection_endpoint": f"{issuer.url}/ask", "jwks_uri": f"{issuer.url}/keys"}
    documents = {"/keys": {"keys": [KEY.jwk()]}, "/.well-known/openid-configuration": document}

    def answer(asked: Received) -> Reply:
        if asked.method == "GET":
            return Reply.json(documents[asked.path])
        assert asked.headers["Accept"] == SIGNED
        return Reply(headers=(("Content-Type", kind),), body=text.encode())

    issuer.answer = answer


@pytest.mark.parametrize(
    ("claims", "header", "status"),
    [
        ({}, {}, 200),
        ({}, {"typ": "application/token-introspection+jwt"}, 200),
        ({"aud": ["gate way", "x"]}, {}, 200),
        ({"token_introspection": {"active": False}}, {}, 401),
        ({}, {"typ": "JWT"}, 503),
        ({}, {"typ": "at+jwt"}, 503),
        ({}, {"typ": None}, 503),
        ({}, {"alg": "none"}, 503),
        ({}, {"alg": "HS256"}, 503),
        ({}, {"kid": "other"}, 503),
        ({"iss": "https://other.test"}, {}, 503),
        ({"iss": None}, {}, 503),
        ({"aud": "other"}, {}, 503),
        ({"aud": None}, {}, 503),
        ({"iat": 32503680000}, {}, 503),
        ({"iat": None}, {}, 503),
        ({"exp": 1}, {}, 503),
        ({"token_introspection": None}, {}, 503),
        ({"token_introspection": "active"}, {}, 503),
        ({"token_introspection": {"active": "true"}}, {}, 503),
    ],
)
def test_signed_answers(
    gateway: Start,
    issuer: FakeService,
    echo: EchoInstance,
    claims: Mapping[str, Any],
    header: dict[str, Any],
    status: int,
) -> None:
    inner = {"active": True, "sub": "ada"}
    known = {"iss": issuer.url, "aud": "gate way", "iat": int(time.time()), "token_introspection": inner}
    said = {name: value for name, value in {**known, **claims}.items() if value is not None}
    signs(issuer, KEY.sign(said, **{"typ": "token-introspection+jwt", **header}))
    running = gateway({"auth": {"introspection": {"issuer": issuer.url, "jwt": True, **CLIENT}}}, echo=echo)
    assert running.get("/", bearer("t")).status == status


def test_what_is_not_signed_is_no_signed_answer(gateway: Start, issuer: FakeService, echo: EchoInstance) -> None:
    running = gateway({"auth": {"introspection": {"issuer": issuer.url, "jwt": True, **CLIENT}}}, echo=echo)
    for text, kind in (('{"active": true, "sub": "ada"}', "application/json"), ('{"active": true}', SIGNED)):
        signs(issuer, text, kind)
        assert running.get("/", bearer("t")).status == 503


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "needs `endpoint` or `issuer`"),
        ({"endpoint": "http://x/", "jwt": True}, "`jwt` needs `issuer`"),
        ({"endpoint": "http://x/", "client_auth": "basic", "client_secret": None}, "needs `client_secret`"),
        ({"endpoint": "http://a:b@x/"}, "without user name"),
        ({"endpoint": "x"}, "must be an http"),
    ],
)
def test_settings_that_are_refused(gateway: Start, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        gateway({"auth": {"introspection": {**CLIENT, **more}}})
