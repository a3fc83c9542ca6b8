"""The counterparts of the textbook's components, as its programs call them."""

import asyncio
from typing import Any

from pylae import (
    APIGateway,
    AuthenticationService,
    AuthorizationMiddleware,
    CircuitBreakerOpenError,
    HealthChecker,
    MetricsCollector,
    RateLimiter,
    Request,
    Response,
    Route,
    ServiceRegistry,
    SlidingWindowRateLimiter,
)
from pylae.primitives import Cache, CircuitBreaker, LoadBalancer, TokenBucket

gateway = APIGateway()
gateway.add_route(Route(pattern="^/api/users$", method="GET", service_name="users", service_url="http://users:8000"))


async def dict_middleware(request: Request) -> Request:
    request.setdefault("response_headers", {}).update({"X-A": "1"})
    return request


@gateway.middleware
def transform(response: Response, request: Request) -> Response:
    if response["status"] >= 400 and isinstance(response.get("body"), str):
        response["body"] = {"error": response["body"], "path": request["path"]}
    response["headers"].update({"X-B": "2"})
    return response


@gateway.on_response(body="64KB")
async def later(response: Response, request: Request) -> None:
    response["headers"]["X-C"] = request["request_id"]


service = AuthenticationService("a secret of at least thirty-two bytes", admin_role="root")
authorization = AuthorizationMiddleware(service)
authorization.add_route_permission(r"^/api/users$", "POST|PUT", "users:write")
gateway.add_middleware(dict_middleware)
gateway.add_middleware(authorization, stage="early")
gateway.add_middleware(transform, routes=["GET /api/users"])


def figures(collector: MetricsCollector, registry: ServiceRegistry) -> dict[str, Any]:
    return {**collector.get_metrics_summary(), "users": registry.get_healthy_instances("users")}


async def fetch(path: str, *, times: int = 1) -> list[str]:
    return [path] * times


async def use() -> None:
    token = service.generate_token({"id": 7, "role": "user"}, ttl="5m")
    outcome = await service.authenticate({"headers": {"Authorization": f"Bearer {token}"}})
    allowed: bool = service.check_permission(outcome["user"], "users:write")
    limiters = (RateLimiter(), SlidingWindowRateLimiter(100, max_clients=10))
    admitted = [await limiter.is_allowed("user:7", 100) and bool(limiter.take("user:7")) for limiter in limiters]
    balancer = LoadBalancer(algorithm="ip_hash", health_checker=None)
    instance = balancer.select_instance([{"id": "a", "host": "10.0.0.1", "port": 8000}], "192.0.2.7")
    breaker = CircuitBreaker(failure_threshold=5, timeout=60, service_name="users")
    found: list[str] = await breaker.call(fetch, "/", times=2)
    try:
        length: int = await breaker.call(len, found)
    except CircuitBreakerOpenError as error:
        raise SystemExit(error.retry_after) from None
    cache = Cache()
    await cache.set("key", {"status": 200}, ttl=300)
    held = await cache.get("key")
    assert instance is not None
    assert (allowed, admitted, instance["id"], length, held) == (False, [True, True], "a", 2, {"status": 200})
    assert TokenBucket(100, "1m").take()
    checker = HealthChecker(path="/ready", interval="30s", timeout=5)
    assert LoadBalancer("p2c", health_checker=checker).select_instance([]) is None


asyncio.run(use())
