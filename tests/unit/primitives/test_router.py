"""The router against a scan over all routes, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae import ConfigError, Gateway, Route
from pylae.primitives import Router

segment = st.sampled_from(["a", "b", "c"])
paths = st.lists(segment, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
routes = st.lists(
    st.tuples(st.sampled_from(["path", "prefix"]), paths, st.sampled_from([(), ("GET",), ("POST", "PUT")])),
    max_size=8,
    unique_by=lambda route: route[:2],
)


def by_scan(table: list[tuple[str, str, tuple[str, ...]]], method: str, path: str) -> tuple[int | None, set[str]]:
    """The best route, else the methods of all that would take the path."""
    fitting = [
        (kind == "path", len(value), index)
        for index, (kind, value, _) in enumerate(table)
        if path == value or (kind == "prefix" and path.startswith(value + "/"))
    ]
    taken = [place for place in fitting if not table[place[2]][2] or method in table[place[2]][2]]
    allowed = {method for *_, index in fitting for method in table[index][2]}
    if "GET" in allowed:
        allowed.add("HEAD")
    return (max(taken)[2], set()) if taken else (None, allowed)


@given(table=routes, method=st.sampled_from(["GET", "POST", "PATCH"]), path=paths)
@settings(max_examples=300, deadline=None)
def test_model(table: list[tuple[str, str, tuple[str, ...]]], method: str, path: str) -> None:
    router = Router(
        {"name": str(index), kind: value, "method": methods} for index, (kind, value, methods) in enumerate(table)
    )
    found = router.find(method, path)
    best, allowed = by_scan(table, method, path)
    assert found.name == (None if best is None else str(best))
    assert set(found.allow) == allowed
    assert bool(found) == (best is not None)


ROUTES = [
    {"name": "user", "path": "/users/{id:int}", "method": "GET|PUT"},
    {"name": "me", "path": "/users/me"},
    {"name": "file", "path": "/files/{rest:path}"},
    {"name": "order", "pattern": r"^/orders/(?P<year>\d{4})/(\d+)$"},
    {"name": "admin", "prefix": "/", "host": "admin.example.org"},
    {"name": "canary", "path": "/users/me", "headers": {"X-Canary": True}},
    {"name": "old", "path": "/users/me", "query": {"version": "1"}, "priority": 1},
]


@pytest.mark.parametrize(
    ("method", "target", "headers", "name", "params"),
    [
        ("GET", "/users/7", {}, "user", {"id": "7"}),
        ("HEAD", "/users/7?full=1", {}, "user", {"id": "7"}),
        ("DELETE", "/users/me", {}, "me", {}),
        ("GET", "/files/a/b%20c", {}, "file", {"rest": "a/b c"}),
        ("GET", "/x/../users/./7", {}, "user", {"id": "7"}),
        ("GET", "/orders/2024/11", {}, "order", {"year": "2024", "2": "11"}),
        ("GET", "http://ADMIN.example.org:80/x", {}, "admin", {}),
        ("GET", "/x", {"host": "admin.example.org"}, "admin", {}),
        ("GET", "/users/me", [("x-canary", "yes")], "canary", {}),
        ("GET", "/users/me?version=1", [("x-canary", "yes")], "old", {}),
        ("GET", "/users/x", {}, None, {}),
    ],
)
def test_table(
    method: str, target: str, headers: dict[str, str] | list[tuple[str, str]], name: str | None, params: dict[str, str]
) -> None:
    found = Router(ROUTES).find(method, target, headers)
    assert (found.name, found.params) == (name, params)
    assert (found.route and found.route.name) == name


def test_another_method() -> None:
    found = Router(ROUTES).find("DELETE", "/users/7")
    assert not found
    assert found.allow == ("GET", "HEAD", "PUT")
    assert Router(ROUTES).find("GET", "/nothing").allow == ()


def test_routes_of_a_gateway() -> None:
    gateway = Gateway(services={"users": {"instances": ["http://a:1"]}})
    gateway.add_route(Route(path="/users/{id}", method="GET", service="users", auth_required=False))
    router = Router(gateway.config.routes)
    found = router.find("GET", "/users/7")
    assert found.name == "GET /users/{id}"
    assert found.route is not None
    assert found.route.service == "users"


def test_what_can_never_be_found() -> None:
    router = Router([{"name": "all", "pattern": "/", "priority": 1}, {"name": "lost", "path": "/x"}])
    assert len(router.warnings) == 1
    assert "all" in router.warnings[0]


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ([{"name": "a", "pth": "/"}], r"test_router\.py:\d+: routes\[0\]\.pth: unknown key"),
        ([{"name": "a", "path": "/{id:innt}"}], r"routes\[0\]\.match\.path: unknown converter"),
        ([{"name": "a", "pattern": "/(?=x)"}], r"routes\[0\]"),
        ([{"name": "a"}], "needs one of"),
    ],
)
def test_wrong_routes(routes: list[dict[str, str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Router(routes)


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "users", {}),
        ("GET", "/a%zz", {}),
        ("GET", "/a b", {}),
        ("GET /x", "/a", {}),
        ("GET", "/a", {"X": "1\r\nY: 2"}),
        ("GET", "/a", {"X Y": "1"}),
        ("GET", "/a", [("Host", "a"), ("Host", "b")]),
        ("GET", "/ä€", {}),
        ("", "/a", {}),
        ("GET", "/../../x%00", {}),
    ],
)
def test_what_is_no_request(method: str, target: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Router([{"name": "a", "prefix": "/"}]).find(method, target, headers)


def test_routes_that_are_split() -> None:
    router = Router([{"name": "split", "path": "/a", "split": ["stable", "canary"]}, {"name": "plain", "path": "/b"}])
    assert [router.find("GET", target).name for target in ("/a", "/b")] == ["split", "plain"]
