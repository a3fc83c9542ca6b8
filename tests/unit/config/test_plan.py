from __future__ import annotations

import json
from typing import Any

import pytest

from pylae.config.models.config import Config, available_cores
from pylae.config.origin import origin_of, steps
from pylae.config.plan import compile_plan, route_names
from pylae.config.routes import Call
from pylae.config.tables import POLICIES


def plan(**settings: Any) -> dict[str, Any]:
    return compile_plan(Config.model_validate(settings))


def route(**settings: Any) -> dict[str, Any]:
    declared = {} if "service" in settings else {"service_url": "http://x"}
    compiled: dict[str, Any] = plan(routes=[declared | settings])["routes"][0]
    return compiled


def test_defaults_of_the_whole() -> None:
    compiled = plan()
    assert compiled["workers"] == available_cores() >= 1
    assert [listener["address"] for listener in compiled["listeners"]] == ["127.0.0.1:8080"]
    assert compiled["limits"]["max_body"] == 10 * 2**20
    json.dumps(compiled, allow_nan=False)


@pytest.mark.parametrize(
    ("clause", "match"),
    [
        ({"path": "/users"}, {"kind": "exact", "value": "/users"}),
        ({"path": "/users/{id:int}"}, {"kind": "template", "value": "/users/{id:int}"}),
        ({"prefix": "/users"}, {"kind": "prefix", "value": "/users"}),
        ({"pattern": "^/u"}, {"kind": "pattern", "value": "^/u"}),
    ],
)
def test_paths(clause: dict[str, str], match: dict[str, str]) -> None:
    assert route(**clause)["match"]["path"] == match


def test_conditions() -> None:
    conditions = {"A": True, "B": "x", "C": 1, "D": {"pattern": "^x"}, "E": {"equals": "y"}}
    assert route(path="/", headers=conditions)["match"]["headers"] == [
        {"name": "A", "value": "present"},
        {"name": "B", "value": {"equals": "x"}},
        {"name": "C", "value": {"equals": "1"}},
        {"name": "D", "value": {"pattern": "^x"}},
        {"name": "E", "value": {"equals": "y"}},
    ]


@pytest.mark.parametrize("written", ["GET|post", ["get", "POST"], "GET | POST"])
def test_methods(written: object) -> None:
    assert route(path="/", method=written)["match"]["methods"] == ["GET", "POST"]
    assert route(path="/", methods=written)["match"]["methods"] == ["GET", "POST"]


@pytest.mark.parametrize(
    ("strip", "planned"),
    [(True, "/api"), (False, None), ("/a", "/a"), (None, None)],
    ids=["own", "off", "other", "unset"],
)
def test_strip_prefix(strip: object, planned: str | None) -> None:
    settings = {} if strip is None else {"strip_prefix": strip}
    assert route(prefix="/api", **settings)["strip_prefix"] == planned


@pytest.mark.parametrize(
    ("written", "planned"),
    [
        ("p2c", {"kind": "p2c"}),
        ({"kind": "consistent_hash", "on": "header:X-A"}, {"kind": "consistent_hash", "on": {"header": "X-A"}}),
        ({"kind": "consistent_hash", "on": "cookie:c"}, {"kind": "consistent_hash", "on": {"cookie": "c"}}),
        ({"kind": "consistent_hash", "on": "user"}, {"kind": "consistent_hash", "on": "user"}),
        (None, {"kind": "round_robin"}),
    ],
)
def test_balancers(written: object, planned: object) -> None:
    assert (
        plan(services={"a": {"instances": ["http://a"], "load_balancer": written}})["services"][0]["load_balancer"]
        == planned
    )


def test_weights_are_honoured_unless_another_balancer_is_asked_for() -> None:
    instances = ["http://a", {"url": "http://b", "weight": 2}]
    assert plan(services={"a": {"instances": instances}})["services"][0]["load_balancer"] == {
        "kind": "weighted_round_robin"
    }


@pytest.mark.parametrize(
    ("written", "planned"),
    [
        ("http://a", "http://a:80"),
        ("http://A.example:8000/", "http://a.example:8000"),
        ("http://[::1]:9", "http://[::1]:9"),
        ("http://user_service", "http://user_service:80"),
    ],
)
def test_instance_urls(written: str, planned: str) -> None:
    assert plan(services={"a": {"instances": [written]}})["services"][0]["instances"] == [{"url": planned, "weight": 1}]


@pytest.mark.parametrize(
    ("written", "planned"),
    [
        (":8080", "0.0.0.0:8080"),
        ("*:80", "0.0.0.0:80"),
        ("localhost:0", "127.0.0.1:0"),
        ("[::0:1]:8080", "[::1]:8080"),
    ],
)
def test_listeners(written: str, planned: str) -> None:
    assert [listener["address"] for listener in plan(listeners=written)["listeners"]] == [planned]


def test_http2_is_spoken_where_tls_is_unless_told_otherwise() -> None:
    files = "tests/golden/tls/example"
    pair = {"cert": f"{files}.pem", "key": f"{files}.key"}
    listeners: list[dict[str, Any]] = [
        {"address": ":1"},
        {"address": ":2", "http2": True},
        {"address": ":3", "tls": pair},
        {"address": ":4", "tls": pair, "http2": False},
    ]
    assert [listener["http2"] for listener in plan(listeners=listeners)["listeners"]] == [False, True, True, False]


def test_trusted_proxies_are_networks() -> None:
    assert plan(trusted_proxies=["10.0.0.0/8", "192.0.2.1", "::1"])["trusted_proxies"] == [
        "10.0.0.0/8",
        "192.0.2.1/32",
        "::1/128",
    ]


def test_a_switch_is_settings_or_nothing() -> None:
    instances = ["http://a"]
    on = plan(services={"a": {"instances": instances, "circuit_breaker": True, "sticky": {"cookie": "c"}}})["services"][
        0
    ]
    assert on["circuit_breaker"]["failure_threshold"] == 5
    assert on["sticky"] == {"cookie": "c", "ttl": None}
    off = plan(services={"a": {"instances": instances, "circuit_breaker": False, "health_check": None}})["services"][0]
    assert off["circuit_breaker"] is off["health_check"] is None


def test_declared_services() -> None:
    routes = [
        {"path": "/a", "service_url": "http://x:1"},
        {"path": "/b", "service_name": "named", "service_url": "http://y:2"},
        {"path": "/c", "service_name": "named", "circuit_breaker": True},
    ]
    compiled = plan(routes=routes)
    assert [service["name"] for service in compiled["services"]] == ["x:1", "named"]
    assert [service["circuit_breaker"] is not None for service in compiled["services"]] == [False, True]
    assert [item["service"] for item in compiled["routes"]] == ["x:1", "named", "named"]


def test_derived_names_are_unique() -> None:
    routes = [
        {"path": "/a", "method": "GET"},
        {"path": "/a", "method": "GET", "headers": {"X": "1"}},
        {"path": "/a", "method": "GET", "name": "GET /a (2)"},
        {"prefix": "/", "host": "*.example.org"},
        {"prefix": "/a/"},
        {"pattern": "^/x$", "method": "PUT|GET"},
    ]
    config = Config.model_validate({"routes": [{"service_url": "http://x", **item} for item in routes]})
    names = ["GET /a", "GET /a (3)", "GET /a (2)", "*.example.org/*", "/a/*", "PUT|GET ^/x$"]
    assert route_names(config) == names


def test_a_route_overrides_each_policy_by_name_or_switches_it_off() -> None:
    settings = {
        "policies": {"security_headers": {"csp": "default-src 'self'"}, "rate_limit": 100},
        "routes": [
            {"path": "/a", "service_url": "http://x"},
            {"path": "/b", "service_url": "http://x", "security_headers": {"nosniff": False}, "rate_limit": "5/s"},
            {"path": "/c", "service_url": "http://x", "security_headers": False, "rate_limit": False},
            {"path": "/d", "service_url": "http://x", "security_headers": True},
        ],
    }
    one, two, three, four = (item["policies"] for item in plan(**settings)["routes"])
    assert one["security_headers"]["csp"] == "default-src 'self'"
    assert two["security_headers"]["csp"] is None
    assert two["rate_limit"]["limits"][0]["per"] == 1.0
    assert three == {}
    assert four["security_headers"]["frame_options"] == "DENY"
    assert list(one) == [name for name in POLICIES if name in one]


def test_splits() -> None:
    members = [
        {
            "service": "new",
            "when": {"header": {"X-Beta": True}, "cookie": {"group": "b"}, "expression": "request.id != ''"},
            "headers": {"set": {"V": 2}},
        },
        {"service": "new", "weight": 5},
        "old",
    ]
    services = {name: {"instances": [f"http://{name}"]} for name in ("old", "new")}
    compiled = plan(services=services, routes=[{"path": "/", "split": members, "sticky": "cookie"}])["routes"][0]
    nothing = {"set": {}, "remove": []}
    when = {
        "headers": [{"name": "X-Beta", "value": "present"}],
        "cookies": [{"name": "group", "value": {"equals": "b"}}],
        "expression": "request.id != ''",
    }
    assert compiled["service"] is None
    assert compiled["split"] == {
        "members": [
            {"service": "new", "weight": 0, "when": when, "headers": {"set": {"V": "2"}, "remove": []}},
            {"service": "new", "weight": 5, "when": None, "headers": nothing},
            {"service": "old", "weight": 1, "when": None, "headers": nothing},
        ],
        "sticky": {"cookie": "pylae_split", "ttl": None},
    }
    assert route(path="/")["split"] is None


def test_origins() -> None:
    config = Config.model_validate(
        {
            "services": {"a.b": {"instances": ["http://a"]}},
            "policies": {"security_headers": {}},
            "routes": [
                {"pattern": "^/a", "service": "a.b", "headers": {"X-A": "1", "X-B": {"pattern": "("}}, "rate_limit": 5},
                {"prefix": "/b", "service_url": "http://b", "circuit_breaker": True, "query": {"q": True}},
                {
                    "prefix": "/c",
                    "split": ["a.b", {"service": "b", "when": {"header": {"X": "1"}, "cookie": {"c": "1", "d": "2"}}}],
                    "sticky": "cookie",
                },
            ],
        }
    )
    expected: dict[str, tuple[str | int, ...]] = {
        "workers": ("workers",),
        "listeners[0].address": ("listeners", 0, "address"),
        "services[0].instances[0].url": ("services", "a.b", "instances", 0, "url"),
        "services[1].instances[0].url": ("routes", 1, "service_url"),
        "services[1].circuit_breaker.timeout": ("routes", 1, "circuit_breaker", "timeout"),
        "routes[0].match.path": ("routes", 0, "pattern"),
        "routes[0].match.path.value": ("routes", 0, "pattern"),
        "routes[1].match.path": ("routes", 1, "prefix"),
        "routes[0].match.methods[0]": ("routes", 0, "method", 0),
        "routes[0].match.headers[1].value.pattern": ("routes", 0, "headers", "X-B", "pattern"),
        "routes[0].match.headers[1].name": ("routes", 0, "headers", "X-B"),
        "routes[1].match.query[0]": ("routes", 1, "query", "q"),
        "routes[0].policies.rate_limit.limits[0].limit": ("routes", 0, "rate_limit", "limits", 0, "limit"),
        "routes[0].policies.security_headers.csp": ("policies", "security_headers", "csp"),
        "routes[1].timeout": ("routes", 1, "timeout"),
        "routes[9].timeout": ("routes", 9, "timeout"),
        "routes[2].split": ("routes", 2, "split"),
        "routes[2].split.members": ("routes", 2, "split"),
        "routes[2].split.members[0].service": ("routes", 2, "split", 0, "service"),
        "routes[2].split.members[1].when.cookies[1].value": ("routes", 2, "split", 1, "when", "cookie", "d"),
        "routes[2].split.members[1].when.expression": ("routes", 2, "split", 1, "when", "expression"),
        "routes[2].split.members[1].when.headers[0].name": ("routes", 2, "split", 1, "when", "header", "X"),
        'routes[2].split.members[1].headers.set["Host"]': ("routes", 2, "split", 1, "headers", "set", "Host"),
        "routes[2].split.sticky.cookie": ("routes", 2, "sticky", "cookie"),
    }
    plan = compile_plan(config)
    assert {path: origin_of(plan, path) for path in expected} == expected


def test_origins_of_what_follows_from_other_settings() -> None:
    """Parts of the plan that stand elsewhere in the configuration: authenticators, users, hooks, unrouted requests."""
    config = Config.model_validate(
        {
            "services": {"a": {"instances": ["https://a"], "tls": {}}},
            "policies": {"security_headers": {}, "cors": True},
            "auth": {
                "jwt": {"secret": "x" * 40},
                "api_key": {"consumers": {"shop": "0" * 64}},
                "functions": {"own": {"function": "m:f", "paths": ["/login"], "challenge": "Own"}},
            },
            "routes": [
                {"path": "/a", "service": "a", "auth": ["jwt"], "permissions": ["read", "write"], "cors": False},
            ],
        }
    )
    hook = {"hook": 0}
    calls = [Call(None, False, hook), Call(None, True, hook), Call(None, False, hook, "own")]
    plan = compile_plan(config, calls=calls)
    expected: dict[str, tuple[str | int, ...]] = {
        "auth.realm": ("auth", "realm"),
        "auth.authenticators[0].keys.value[0]": ("auth", "jwt", 0, "secret", 0),
        "auth.authenticators[0].leeway": ("auth", "jwt", 0, "leeway"),
        "auth.authenticators[1].consumers[0].keys[0]": ("auth", "api_key", "consumers", "shop", "keys", 0),
        "auth.authenticators[2].challenge": ("auth", "functions", "own", "challenge"),
        "services[0].tls.certificate.cert": ("services", "a", "tls", "cert"),
        "services[0].tls.ca": ("services", "a", "tls", "ca"),
        "routes[0].policies.authentication": ("routes", 0, "auth_required"),
        "routes[0].policies.authentication.required": ("routes", 0, "auth_required"),
        "routes[0].policies.authentication.authenticators[0]": ("routes", 0, "auth", 0),
        "routes[0].policies.authorization": ("routes", 0, "permissions"),
        "routes[0].policies.authorization.permissions[1]": ("routes", 0, "permissions", 1),
        "routes[0].policies.authorization.roles": ("routes", 0, "roles"),
        "routes[0].policies.authorization.admin_role": ("auth", "admin_role"),
        "routes[0].policies.hooks.calls[0].hook": ("hooks",),
        "routes[0].policies.security_headers.csp": ("policies", "security_headers", "csp"),
        "routes[1]": ("auth", "functions", "own", "paths"),
        "routes[1].match.path.value": ("auth", "functions", "own", "paths"),
        "early.hooks.calls[0]": ("hooks",),
        "unrouted.cors.origins": ("policies", "cors", "origins"),
        "unused.cors.origins": ("policies", "cors", "origins"),
    }
    assert {path: origin_of(plan, path) for path in expected} == expected


def test_steps() -> None:
    assert steps('services["a.b"].instances[0]') == ("services", "a.b", "instances", 0)
    assert steps("") == ()
