"""Expressions as keys of limits, in splits, and as filters of the access log, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from support.admin import Admin
from support.instance import EchoInstance
from support.peer import wait_until
from support.running import Running
from support.tokens import SECRET, bearer, token

Start = Callable[..., Running]
JWT = {"jwt": {"secret": SECRET}}


def limited(key: Any, **more: Any) -> dict[str, Any]:
    """A configuration whose only route admits one request for each key."""
    limit = {"limit": 1, "per": "1h", "key": key}
    return {"auth": JWT, "routes": [{"name": "all", "prefix": "/", "service": "echo", "rate_limit": limit, **more}]}


def statuses(running: Running, *claims: dict[str, Any]) -> list[int]:
    return [running.get("/", bearer(token(**one))).status for one in claims]


def test_requests_with_one_key_count_together(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(limited({"expression": "user.claims.org.id"}), echo=echo)
    one, two, text = ({"org": {"id": value}} for value in (1, 2, "1"))
    assert statuses(running, one, two, one, text, two) == [200, 200, 429, 200, 429]
    # Those that have none share one key, which is like no other.
    assert statuses(running, {}, {"org": {}}, {"org": {"id": None}}) == [200, 429, 429]


def test_a_key_may_have_parts_beside_the_expression(gateway: Start, echo: EchoInstance) -> None:
    key = ["ip", {"expression": "user.claims.a + ':' + request.query.b"}]
    running = gateway(limited(key), echo=echo)
    field = bearer(token(a="x"))
    assert [running.get(f"/?b={value}", field).status for value in ("1", "2", "1")] == [200, 200, 429]
    assert [running.get("/?b=1&b=2", field).status for _ in range(2)] == [200, 429]


def test_requests_at_once_may_have_such_a_key(gateway: Start, echo: EchoInstance) -> None:
    limit = {"concurrency": {"limit": 1, "key": {"expression": "user.claims.a"}}}
    config = {"auth": JWT, "routes": [{"prefix": "/", "service": "echo", "rate_limit": limit}]}
    running = gateway(config, echo=echo)
    assert statuses(running, {"a": "x"}, {"a": "x"}, {}) == [200, 200, 200]


def test_addresses_are_counted_before_there_is_a_user(gateway: Start, echo: EchoInstance) -> None:
    limit = {"limit": 1, "per": "1h", "key": {"expression": "request.headers['x-tenant']"}}
    config = {"auth": JWT, "routes": [{"prefix": "/", "service": "echo", "address_limit": limit}]}
    running = gateway(config, echo=echo)
    assert [running.get("/", f"X-Tenant: {name}").status for name in ("a", "b", "a")] == [401, 401, 429]
    with pytest.raises(ConfigError, match="the user is not known before authentication"):
        running.apply(
            {"auth": JWT, "routes": [{"prefix": "/", "service": "echo", "address_limit": {
                **limit, "key": {"expression": "user.id"}}}]},
            echo=echo,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ({"expression": "user.roles"}, "a key must be a text or a whole number, and this is a list"),
        ({"expression": "usr.id"}, "there is no variable `usr`"),
        ({"expression": ""}, "an expression must have 1 to 4096 characters"),
        ({"expresion": "user.id"}, "must be a text"),
        ("user.id", "must be one of auto, user, ip"),
    ],
)
def test_mistakes_in_keys(key: Any, problem: str) -> None:
    route = {"prefix": "/", "service_url": "http://127.0.0.1:1", "rate_limit": {"limit": 1, "key": key}}
    with pytest.raises(ConfigError) as refused:
        Gateway(listeners=["127.0.0.1:0"], auth=JWT, routes=[route]).builder.check()
    assert problem in str(refused.value)


def test_a_member_gets_the_requests_that_meet_its_expression(gateway: Start) -> None:
    with EchoInstance("stable") as stable, EchoInstance("canary") as canary:
        when = {"header": {"X-Beta": True}, "expression": "request.query['v'] == '2' && route.name == 'shop'"}
        members = ["stable", {"service": "canary", "when": when}]
        route = {"name": "shop", "prefix": "/", "split": members, "auth_required": False}
        running = gateway({"routes": [route]}, stable=stable, canary=canary)
        for target, *fields in (("/?v=2", "X-Beta: 1"), ("/?v=2",), ("/?v=1", "X-Beta: 1"), ("/", "X-Beta: 1")):
            assert running.get(target, *fields).status == 200
        # What cannot be told is not met.
        assert running.get("/?v=2&v=2", "X-Beta: 1").status == 200
        assert (canary.count, stable.count) == (1, 4)
        with pytest.raises(ConfigError, match=r"`user\.id` is not known here, before authentication"):
            by_user = {"service": "canary", "when": {"expression": "user.id == '7'"}}
            running.apply({"routes": [{**route, "split": ["stable", by_user]}]}, stable=stable, canary=canary)


def test_only_what_meets_the_filter_is_logged(gateway: Start, echo: EchoInstance, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    filtered = "response.status >= 400 || request.headers['x-log'] == 'yes' && service.name == 'echo'"
    config = {
        "policies": {"access_log": {"output": str(file), "filter": filtered}},
        "routes": [{"name": "all", "prefix": "/a", "service": "echo", "auth_required": False}],
    }
    running = gateway(config, echo=echo)
    for target, *fields in (
        ("/a/1", "X-Log: no"),
        ("/a/2", "X-Log: yes"),
        # A filter that cannot be told hides nothing.
        ("/a/3",),
        ("/a/4", "X-Log: no", "X-Log: no"),
        ("/none", "X-Log: no"),
        ("/a/5", "X-Log: no"),
        ("/last", "X-Log: no"),
    ):
        running.get(target, *fields)
    wait_until(lambda: file.exists() and "/last" in file.read_text())
    paths = [json.loads(line)["path"] for line in file.read_text().splitlines()]
    assert paths == ["/a/2", "/a/3", "/a/4", "/none", "/last"]


def test_a_reload_changes_the_filter(gateway: Start, echo: EchoInstance, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    running = gateway(
        {"policies": {"access_log": {"output": str(file), "filter": "response.status >= 500"}}}, echo=echo
    )
    running.get("/before")
    for filtered, target in (("request.path == '/between'", "/between"), (None, "/after")):
        access_log = {"output": str(file), **({"filter": filtered} if filtered else {})}
        running.apply({"policies": {"access_log": access_log}}, echo=echo)
        running.get("/other" if filtered else "/all")
        running.get(target)
    wait_until(lambda: file.exists() and "/after" in file.read_text())
    paths = [json.loads(line)["path"] for line in file.read_text().splitlines()]
    assert paths == ["/between", "/all", "/after"]


def test_failures_are_counted_by_what_they_are_for(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    config = limited(
        {"expression": "user.claims.org"}, access_log={"output": "stderr", "filter": "request.query.a == ''"}
    )
    with admin(config, echo=echo) as running:
        statuses(running.running, {}, {})
        page = running.http.get("/metrics").text
    for place in ("key", "access_log"):
        assert f'pylae_expression_failures_total{{route="all",service="echo",for="{place}"}} 2' in page
