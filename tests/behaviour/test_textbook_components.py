"""What a running gateway says of itself to programs that are written for the textbook's components."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pylae import (
    APIGateway,
    AuthenticationService,
    AuthorizationMiddleware,
    ConfigError,
    EngineError,
    Gateway,
    HealthChecker,
    HTTPError,
    MetricsCollector,
    RegistryError,
    Route,
)
from pylae.primitives import LoadBalancer
from pylae.testing import FakeService, Reply
from support.exchanges import ask
from support.hooked import running, until

SECRET = "s" * 32


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService({"ok": True}) as service:
        yield service


def of_a_shop(url: str, **settings: Any) -> Gateway:
    gateway = APIGateway(**{"listeners": ["127.0.0.1:0"], "auth": {"jwt": {"secret": SECRET}}, **settings})
    gateway.add_route(
        Route(pattern=r"^/api/orders.*$", method="GET|POST|DELETE", service_name="orders", service_url=url)
    )
    gateway.add_route(Route(path="/open", service_name="pages", service_url=url, auth_required=False, cache=True))
    return gateway


def bearer(**user: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {AuthenticationService(SECRET).generate_token({'id': 7, **user})}"}


def test_tokens_are_those_of_the_gateway(service: FakeService) -> None:
    with running(of_a_shop(service.url)) as address:
        assert ask(address, "/api/orders").status == 401
        assert ask(address, "/api/orders", headers=bearer(role="user")).status == 200
    assert service.requests[-1].headers["X-User-Id"] == "7"


def guarded(url: str, **options: Any) -> Gateway:
    gateway = of_a_shop(url)
    authorization = AuthorizationMiddleware(AuthenticationService(SECRET))
    authorization.add_route_permission(r"^/api/orders/\d+$", "DELETE", "orders:delete")
    authorization.add_route_permission(r"^/open$", "POST|PUT", "pages:write")
    gateway.add_middleware(authorization, **options)
    return gateway


@pytest.mark.parametrize("options", [{}, {"stage": "early", "waits": False}, {"stage": "late"}, {"routes": ["orders"]}])
def test_permissions_by_pattern_and_method(service: FakeService, options: dict[str, Any]) -> None:
    if "routes" in options:
        options = {"stage": "late"}
    with running(guarded(service.url, **options)) as address:
        assert ask(address, "/api/orders/7", method="DELETE").status == 401
        answer = ask(address, "/api/orders/7", method="DELETE", headers=bearer(role="user"))
        assert (answer.status, json.loads(answer.body)["status"]) == (403, 403)
        allowed = bearer(permissions=["orders:delete"])
        assert ask(address, "/api/orders/7", method="DELETE", headers=allowed).status == 200
        assert ask(address, "/api/orders/7", method="DELETE", headers=bearer(role="admin")).status == 200
        assert ask(address, "/api/orders/7", headers=bearer()).status == 200, "another method"
        assert ask(address, "/open").status == 200
        answer = ask(address, "/open", method="POST")
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        bad = {"Authorization": "Bearer x.y.z"}
        assert ask(address, "/open", method="PUT", headers=bad).status == 401
        assert ask(address, "/open", method="PUT", headers=bearer(permissions=["pages:write"])).status == 200
    assert {request.target for request in service.requests} == {"/api/orders/7", "/open"}


def test_what_the_gateway_has_revoked_gets_no_further(service: FakeService) -> None:
    gateway = guarded(service.url)
    with running(gateway) as address:
        fields = bearer(role="admin")
        assert ask(address, "/api/orders/7", method="DELETE", headers=fields).status == 200
        gateway.revoke(user="7")
        assert ask(address, "/api/orders/7", method="DELETE", headers=fields).status == 401


def test_permissions_of_routes_are_the_declarative_way(service: FakeService) -> None:
    gateway = of_a_shop(service.url)
    gateway.add_route(
        Route(
            pattern=r"^/admin/\d+$", method="DELETE", service_name="orders", service_url=service.url,
            permissions="orders:delete",
        )
    )  # fmt: skip
    with running(gateway) as address:
        statuses = [
            ask(address, "/admin/7", method="DELETE", headers=fields).status
            for fields in ({}, bearer(), bearer(permissions=["orders:delete"]), bearer(role="admin"))
        ]
    assert statuses == [401, 403, 200, 200]


def test_authorize_with_a_route() -> None:
    authorization = AuthorizationMiddleware(AuthenticationService(SECRET))
    route = Route(pattern=r"^/api/orders.*$", method="GET|POST", service_url="http://orders:8000")
    authorization.add_route_permission(r"^/api/orders.*$", "POST", "orders:write")

    def asked(request: dict[str, Any], of: Route = route) -> Any:
        return asyncio.run(authorization.authorize(request, of))

    request = {"method": "POST", "path": "/api/orders", "headers": {}}
    with pytest.raises(HTTPError, match="401"):
        asked(request)
    with pytest.raises(HTTPError, match="403"):
        asked({**request, "user": {"id": "7", "role": "user"}})
    for user in ({"role": "admin"}, {"permissions": ["orders:write"]}):
        assert asked({**request, "user": user})["user"] == user
    assert asked({**request, "method": "GET", "user": {}}), "any user will do"
    assert asked(request, route.model_copy(update={"auth_required": False})) == request


def test_wrong_permissions() -> None:
    authorization = AuthorizationMiddleware(AuthenticationService(SECRET))
    with pytest.raises(ConfigError, match="pattern"):
        authorization.add_route_permission("^/a(", "GET", "a")
    with pytest.raises(ConfigError, match="method"):
        authorization.add_route_permission("^/a", "FETCH", "a")
    with pytest.raises(HTTPError, match="400"):
        asyncio.run(authorization({"method": "GET", "path": "/%zz"}))


def test_figures(service: FakeService) -> None:
    service.on("GET", "/api/orders/none", Reply(404))
    service.on("GET", "/api/orders/bad", Reply(500))
    gateway = of_a_shop(service.url)
    collector = MetricsCollector(gateway)
    with running(gateway) as address:
        for target in ("/api/orders", "/api/orders/none", "/api/orders/bad"):
            ask(address, target, headers=bearer())
        ask(address, "/api/orders", method="POST", headers=bearer())
        ask(address, "/api/orders")
        ask(address, "/nowhere")
        ask(address, "/open")
        ask(address, "/open")
        until(lambda: sum(collector.get_metrics_summary()["request_counts"].values()) == 8)
        summary, health = collector.get_metrics_summary(), collector.get_health_status()
    assert summary["request_counts"] == {"orders:GET": 4, "orders:POST": 1, "(none):GET": 1, "pages:GET": 2}
    assert summary["error_counts"] == {"orders:GET": 3, "(none):GET": 1}
    assert summary["cache_stats"] == {"hits": {"pages": 1}, "misses": {"pages": 1}}
    assert summary["active_connections"] >= 0
    assert summary["average_response_times"].keys() == summary["request_counts"].keys()
    assert all(0 < seconds < 10 for seconds in summary["average_response_times"].values())
    assert (health["status"], health["error_rates"]) == (
        "unhealthy", {"orders:GET": 25.0, "orders:POST": 0.0, "pages:GET": 0.0},
    )  # fmt: skip
    assert health["reasons"]
    assert 0 < health["average_response_time"] < 10
    assert health["active_connections"] >= 0
    with pytest.raises(EngineError):
        collector.get_metrics_summary()


def test_figures_of_nothing(service: FakeService) -> None:
    gateway = of_a_shop(service.url)
    with running(gateway):
        health = MetricsCollector(gateway).get_health_status()
    assert (health["status"], health["error_rates"], health["average_response_time"]) == ("healthy", {}, 0.0)


def test_instances_and_their_health(service: FakeService) -> None:
    with FakeService() as other:
        gateway = Gateway(listeners=["127.0.0.1:0"], services={"orders": {"instances": [service.url, other.url]}})
        gateway.add_route(prefix="/", service="orders", auth_required=False)
        with running(gateway):
            registry = gateway.service_registry
            found = registry.get_healthy_instances("orders")
            host, _, port = service.address.partition(":")
            assert found[0] == {
                "id": service.address,
                "service_name": "orders",
                "url": service.url,
                "host": host,
                "port": int(port),
                "weight": 1,
                "active_connections": 0,
            }
            checker = HealthChecker(gateway)
            balancer = LoadBalancer(health_checker=checker)
            everything = list(found)
            assert [checker.is_healthy(one) for one in everything] == [True, True]
            assert not checker.is_healthy({"url": "http://127.0.0.1:1"}), "the gateway knows none like that"
            gateway.engine.set_draining("orders", service.url, True)
            assert [one["id"] for one in registry.get_healthy_instances("orders")] == [other.address]
            assert [checker.is_healthy(one) for one in everything] == [False, True]
            selected = balancer.select_instance(everything)
            assert selected is not None
            assert selected["id"] == other.address
            with pytest.raises(RegistryError, match="did you mean `orders`"):
                registry.get_healthy_instances("order")
