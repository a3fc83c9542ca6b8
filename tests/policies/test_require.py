"""What is required of claims and requests, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pylae import ConfigError, Gateway
from pylae.cli import main
from support.admin import Admin
from support.instance import EchoInstance
from support.running import Running
from support.tokens import SECRET, bearer, token

Start = Callable[..., Running]
JWT = {"jwt": {"secret": SECRET}}


def requiring(require: Any, **route: Any) -> dict[str, Any]:
    """A configuration with one route that requires this."""
    return {"auth": JWT, "routes": [{"name": "all", "prefix": "/", "service": "echo", "require": require, **route}]}


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"tier": "gold", "org": {"id": 7, "roles": ["a", "b"]}}, 200),
        ({"tier": "silver", "org": {"id": 7, "roles": ["b", "a"]}, "more": 1}, 200),
        ({"tier": "Gold", "org": {"id": 7, "roles": ["a", "b"]}}, 403),
        ({"tier": "gold", "org": {"id": "7", "roles": ["a", "b"]}}, 403),
        ({"tier": "gold", "org": {"id": 7, "roles": ["a"]}}, 403),
        ({"tier": "gold", "org": {"roles": ["a", "b"]}}, 403),
        ({"tier": "gold"}, 403),
        ({}, 403),
        ({"tier": "gold", "org": {"id": 7, "roles": ["a", "b"]}, "banned": False}, 403),
    ],
)
def test_claims(gateway: Start, echo: EchoInstance, claims: dict[str, Any], status: int) -> None:
    require = {"tier": ["gold", "silver"], "org.id": 7, "org.roles": {"all": ["a", "b"]}, "banned": {"present": False}}
    running = gateway(requiring({"claims": require}), echo=echo)
    answer = running.get("/", bearer(token(**claims)))
    assert (answer.status, echo.count) == (status, int(status == 200))
    if status == 403:
        problem = json.loads(answer.body)
        assert problem["type"] == "urn:pylae:error:forbidden"
        assert not any(word in answer.body.decode() for word in ("tier", "org", "banned", "gold"))
    assert running.get("/").status == 401


EXPRESSION = "request.method == 'GET' && user.claims.level >= 3 && request.headers['x-tenant'] == user.claims.tenant"


@pytest.mark.parametrize(
    ("fields", "claims", "status"),
    [
        (["X-Tenant: blue"], {"level": 3, "tenant": "blue"}, 200),
        (["X-Tenant: blue"], {"level": 2, "tenant": "blue"}, 403),
        (["X-Tenant: red"], {"level": 3, "tenant": "blue"}, 403),
        # What cannot be told is refused.
        ([], {"level": 3, "tenant": "blue"}, 403),
        (["X-Tenant: blue", "X-Tenant: blue"], {"level": 3, "tenant": "blue"}, 403),
        (["X-Tenant: blue", "x-tenant: red"], {"level": 3, "tenant": "blue"}, 403),
        (["X-Tenant: blue"], {"level": "3", "tenant": "blue"}, 403),
        (["X-Tenant: blue"], {"tenant": "blue"}, 403),
        (["X-Tenant: blue"], {"level": 3}, 403),
        (["X-Tenant: bl\xfce"], {"level": 3, "tenant": "bl\xfce"}, 403),
    ],
)
def test_expressions(
    gateway: Start, echo: EchoInstance, fields: list[str], claims: dict[str, Any], status: int
) -> None:
    running = gateway(requiring({"expression": EXPRESSION}), echo=echo)
    answer = running.get("/", bearer(token(**claims)), *fields)
    assert (answer.status, echo.count) == (status, int(status == 200))
    assert b"tenant" not in answer.body or status == 200


@pytest.mark.parametrize(
    ("condition", "target", "fields"),
    [
        ("request.path != '/admin'", "/%61dmin", ()),
        ("request.path != '/admin'", "//admin", ()),
        ("request.path != '/admin'", "/x/../admin", ()),
        ("request.path != '/admin'", "/admin;x=1", ()),
        ("request.host != 'gateway.test'", "/", ()),
        ("'x-forwarded-for' in request.headers", "/", ("X-Forwarded-For: 10.0.0.1",)),
        ("request.headers['x-user-id'] == '1'", "/", ("X-User-ID: 1",)),
        ("request.headers['x-user-id'] == '1'", "/", ("X_User_ID: 1",)),
        ("cidr('10.0.0.0/8').containsIP(client.address)", "/", ("X-Forwarded-For: 10.0.0.1", "X-Real-IP: 10.0.0.1")),
        ("request.query['role'] != 'admin'", "/?role=user&role=admin", ()),
        ("request.query['role'] != 'admin'", "/?role=user&r%6Fle=admin", ()),
        ("request.query['role'] != 'admin'", "/?r%6fle=%61dmin", ()),
        ("request.cookies['role'] != 'admin'", "/", ("Cookie: role=user; role=admin",)),
        ("user.claims.many.exists(a, user.claims.many.exists(b, a == -b))", "/", ()),
        ("user.claims.text.matches('(x+x+)+y')", "/", ()),
    ],
)
def test_no_way_around(
    gateway: Start, echo: EchoInstance, condition: str, target: str, fields: tuple[str, ...]
) -> None:
    running = gateway(requiring({"expression": condition}), echo=echo)
    claims = {"many": list(range(1, 200)), "text": "x" * 2000}
    assert (running.get(target, bearer(token(**claims)), *fields).status, echo.count) == (403, 0)


def test_an_open_route_may_require_something(gateway: Start, echo: EchoInstance) -> None:
    require = {"expression": "cidr('127.0.0.0/8').containsIP(client.address) && request.query.key == 'a b'"}
    running = gateway(requiring(require, auth_required=False), echo=echo)
    assert running.get("/?key=a+b").status == 200
    assert running.get("/?key=c").status == 403
    assert running.get("/").status == 403
    running.apply(requiring({"expression": "!user.known && user.id == ''"}, auth_required=False), echo=echo)
    assert running.get("/").status == 200


def test_the_gateway_requires_it_of_every_route(gateway: Start, echo: EchoInstance) -> None:
    config = {
        "auth": JWT,
        "policies": {"require": {"claims": {"tier": "gold"}}},
        "routes": [
            {"name": "all", "prefix": "/", "service": "echo"},
            {
                "name": "other",
                "prefix": "/other",
                "service": "echo",
                "require": {"expression": "route.name == 'other'"},
            },
            {"name": "none", "prefix": "/none", "service": "echo", "require": False, "auth_required": False},
        ],
    }
    running = gateway(config, echo=echo)
    gold, tin = bearer(token(tier="gold")), bearer(token(tier="tin"))
    assert [running.get("/", field).status for field in (gold, tin)] == [200, 403]
    assert [running.get("/other", field).status for field in (gold, tin)] == [200, 200]
    assert running.get("/none").status == 200
    assert running.get("/nowhere", gold).status == 200


def test_a_refusal_costs_nothing_of_a_limit(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(requiring({"claims": {"tier": "gold"}}, rate_limit=1), echo=echo)
    gold, tin = bearer(token(tier="gold")), bearer(token(tier="tin"))
    assert [running.get("/", field).status for field in (tin, tin, gold, gold)] == [403, 403, 200, 429]


@pytest.mark.parametrize(
    ("require", "problem"),
    [
        ({}, "needs `claims` or an `expression`"),
        ({"claims": {"a": {}}}, "needs a value, a list of values, `all` or `present`"),
        ({"claims": {"a": {"any": [["x"]]}}}, "must be a text"),
        ({"expression": "usr.id == '7'"}, "there is no variable `usr`; did you mean `user`? (line 1, column 1"),
        ({"expression": "true &&\n user.nme == '7'"}, "`user` has no `nme`"),
        ({"expression": "user.id = '7'"}, "this is not an expression"),
        ({"expression": "response.status == 200"}, "is not known before the response was sent"),
        ({"expression": "user.id"}, "a condition must be true or false, and this is a text"),
        ({"expression": "x" * 5000}, "must have at most 4096 characters"),
    ],
)
def test_mistakes_are_told_when_the_configuration_is_read(require: Any, problem: str) -> None:
    route = {"prefix": "/", "service_url": "http://127.0.0.1:1", "require": require}
    with pytest.raises(ConfigError) as refused:
        Gateway(listeners=["127.0.0.1:0"], auth=JWT, routes=[route]).builder.check()
    assert problem in str(refused.value)


def test_nobody_could_have_the_claims_of_an_open_route() -> None:
    route = {"prefix": "/", "service_url": "http://x", "auth_required": False}
    claims = {"claims": {"a": 1}}
    with pytest.raises(ConfigError, match=r"`require.claims` need a user"):
        Gateway(auth=JWT, routes=[{**route, "require": claims}])
    with pytest.raises(ConfigError, match=r"nobody gets through: `policies.require` needs claims"):
        Gateway(listeners=["127.0.0.1:0"], auth=JWT, routes=[route], policies={"require": claims}).builder.check()


def test_a_mistake_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(
        "listeners: ['127.0.0.1:0']\n"
        f"auth: {{jwt: {{secret: '{SECRET}'}}}}\n"
        "services: {a: {instances: ['http://127.0.0.1:1']}}\n"
        "routes:\n"
        "  - prefix: /\n"
        "    service: a\n"
        "    require: {expression: 'user.clams.a == 1 && reqest.path == 1'}\n"
        "    rate_limit: {limit: 1, key: {expression: 'user.rols'}}\n"
        "policies: {access_log: {filter: 'response.stats == 1'}}\n"
    )
    told = CliRunner().invoke(main, ["check", str(file)])
    assert told.exit_code == 1
    for place, words in (
        ("7", "did you mean `claims`? (line 1, column 1 "),
        ("7", "did you mean `request`? (line 1, column 22 "),
        ("8", "did you mean `role`? (line 1, column 1 "),
        ("9", "did you mean `status`? (line 1, column 1 "),
    ):
        assert any(f"pylae.yaml:{place}:" in line and words in line for line in told.output.splitlines()), told.output


def test_what_cannot_be_told_is_counted_and_logged(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    with admin(requiring({"expression": "user.claims.tier == 'gold'"}), echo=echo) as running:
        for claims in ({}, {"tier": "tin"}, {}):
            assert running.running.get("/", bearer(token(**claims))).status == 403
        page = running.http.get("/metrics").text
    assert 'pylae_expression_failures_total{route="all",service="echo",for="require"} 2' in page
