"""A gateway in front of one service.

Check it with `pylae check gateway.py`, and run it with `pylae run gateway.py` or `python gateway.py`. A running gateway
applies changes when you save this file, and refuses wrong ones. `pylae explain FILE METHOD URL` explains what happens
to a request.
"""

import os

from pylae import Gateway, Request, Response, Route, Service

gateway = Gateway(
    # Addresses that clients connect to.
    listeners=["127.0.0.1:8080"],
    # Proxies in front, such as a load balancer, whose X-Forwarded-For the gateway believes. Default: none.
    # trusted_proxies=["10.0.0.0/8"],
    # Number of worker threads. Default: one per core.
    # workers=2,
    # How clients authenticate. `pylae token --user 1` makes a token.
    # auth={"jwt": {"secret": os.environ["JWT_SECRET"]}},
    # Error pages that replace the gateway's own, by status: 404, "4xx", "5xx", "default".
    # errors={404: {"html": "errors/404.html", "json": "errors/404.json"}},
    # Policies for every route. A route overrides one by its name, or switches it off: `security_headers=False`.
    policies={"security_headers": True},
)

# A service: a named group of instances behind the gateway.
gateway.add_service(
    "api",
    Service(
        instances=[os.environ.get("API_URL", "http://127.0.0.1:9001")],
        # In turn. Others go by load (least_connections, p2c) or keep a client on an instance (ip_hash).
        load_balancer="round_robin",
        # Check the health of each instance; an unhealthy one gets no requests.
        # health_check={"path": "/health", "interval": "30s", "timeout": "5s"},
        # After five failures in a row, answer 503 at once and try again a minute later.
        # circuit_breaker={"failure_threshold": 5, "timeout": "60s"},
    ),
)

# Routes: which requests go where. The most specific route wins, whatever the order.
gateway.add_route(
    Route(
        name="api",
        # Or `path="/users/{id:int}"` (a template), or `pattern=r"^/users/(\d+)$"` (from the start of the path).
        prefix="/api",
        # Default: all methods.
        method="GET|POST|PUT|PATCH|DELETE",
        service="api",
        # Remove this line once you have configured `auth`.
        auth_required=False,
        # Removed from the path before it is sent on.
        # strip_prefix="/api",
        # Time until the head of the response.
        # timeout="30s",
        # rate_limit="100/minute",
        # retries=3,
    )
)


# A hook: Python code that sees requests. It answers with a Response, or returns None to let the request pass.
@gateway.on_request(routes=["api"])
def check(request: Request) -> Response | None:
    if request.method == "DELETE" and "X-Confirm" not in request.headers:
        return Response.json({"error": "confirm with X-Confirm"}, status=400)
    return None


gateway.run()
