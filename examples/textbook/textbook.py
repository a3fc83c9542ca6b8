"""The gateway that the textbook builds, with its names, on Pylae: routes, middlewares, tokens and permissions.

    JWT_SECRET=$(openssl rand -base64 48) python textbook.py

`services.py` beside it has the services: `python services.py user-service`. What each name is in the textbook, and what
is different: docs/guide/from-the-textbook.md.
"""

from __future__ import annotations

import json
import logging
import os
import time

from pylae import APIGateway, AuthenticationService, AuthorizationMiddleware, Request, Response, Route

MAX_CONTENT_LENGTH = 10 * 1024 * 1024

log = logging.getLogger("shop")


async def cors_middleware(request: Request) -> Request:
    """Lets pages of every origin call, and answers what browsers ask before they do."""
    headers = request.setdefault("response_headers", {})
    headers["Access-Control-Allow-Origin"] = "*"
    headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, DELETE, OPTIONS"
    headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
    headers["Access-Control-Max-Age"] = "86400"
    if request["method"] == "OPTIONS":
        request["response"] = {"status": 200, "headers": headers, "body": ""}
    return request


async def logging_middleware(request: Request) -> Request:
    """Writes a line for each request, and remembers when it came."""
    request["_start_time"] = time.time()
    log.info("%s %s from %s", request["method"], request["path"], request["client_ip"])
    return request


async def security_headers_middleware(request: Request) -> Request:
    """Tells browsers to be careful with whatever comes."""
    request.setdefault("response_headers", {}).update(
        {
            "Content-Security-Policy": "default-src 'self'",
            "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "X-XSS-Protection": "1; mode=block",
        }
    )
    return request


async def validation_middleware(request: Request) -> Request:
    """Refuses bodies that are too long, of another type than JSON, or no JSON."""
    length, kind = request["headers"].get("Content-Length", "0"), request["headers"].get("Content-Type", "")
    if int(length) > MAX_CONTENT_LENGTH:
        request["error"] = "the body is too long"
    elif request["method"] in ("POST", "PUT") and not kind.startswith("application/json"):
        request["error"] = "the body must be application/json"
    elif isinstance(body := request.get("body"), str):
        try:
            request["body"] = json.loads(body)
        except ValueError:
            request["error"] = "the body is no JSON"
    return request


def response_transform_middleware(response: Response, request: Request) -> Response:
    """Gives every answer the same fields, and every error that can be read the same shape."""
    started = request.get("_start_time", time.time())
    response["headers"].update(
        {"X-Request-ID": request["request_id"], "X-Response-Time": f"{time.time() - started:.6f}"}
    )
    if response["status"] >= 400 and "body" in response:
        found = response["body"]
        error = found.get("error", "") if isinstance(found, dict) else found
        response["body"] = {"error": error, "status": response["status"], "timestamp": time.time()}
        response["headers"]["Content-Type"] = "application/json"
    return response


def _address(service: str, port: int) -> str:
    return os.environ.get(f"{service.upper().replace('-', '_')}_URL", f"http://127.0.0.1:{port}")


def setup_api_gateway() -> APIGateway:
    """The gateway with its routes and middlewares."""
    gateway = APIGateway()
    users, orders = _address("user-service", 8001), _address("order-service", 8002)
    payments, notifications = _address("payment-service", 8003), _address("notification-service", 8004)

    gateway.add_route(
        Route(
            pattern=r"^/api/users/(\d+)$",
            method="GET",
            service_name="user-service",
            service_url=users,
            auth_required=True,
            rate_limit=100,
        )
    )
    gateway.add_route(
        # Who registers has no token yet.
        Route(
            pattern=r"^/api/users$",
            method="POST",
            service_name="user-service",
            service_url=users,
            auth_required=False,
            rate_limit=10,
        )
    )
    gateway.add_route(
        Route(
            pattern=r"^/api/orders.*$",
            method="GET|POST|PUT|DELETE",
            service_name="order-service",
            service_url=orders,
            rate_limit=50,
            cache={"ttl": 300},
        )
    )
    gateway.add_route(
        Route(
            pattern=r"^/api/payments.*$",
            method="POST|GET",
            service_name="payment-service",
            service_url=payments,
            rate_limit=20,
            retry_count=0,
        )
    )
    gateway.add_route(
        # The declarative way to say what `add_route_permission` says below.
        Route(
            pattern=r"^/api/notifications$",
            method="GET",
            service_name="notification-service",
            service_url=notifications,
            permissions="notifications:read",
        )
    )

    authorization = AuthorizationMiddleware(AuthenticationService())
    authorization.add_route_permission(r"^/api/orders/\d+$", "DELETE", "orders:delete")
    authorization.add_route_permission(r"^/api/payments$", "POST", "payments:create")

    gateway.add_middleware(cors_middleware)
    gateway.add_middleware(logging_middleware)
    gateway.add_middleware(security_headers_middleware)
    # Bodies are in memory for who looks at them, and for nobody else.
    gateway.add_middleware(validation_middleware, body=MAX_CONTENT_LENGTH)
    gateway.add_middleware(authorization)
    gateway.add_middleware(response_transform_middleware)
    return gateway


gateway = setup_api_gateway()

if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(message)s")
    gateway.run()
