"""A gateway in front of one service.

Check it with `pylae check gateway.py`, run it with `pylae run gateway.py` or `python gateway.py`. A running gateway
applies changes of this file when they are saved, and refuses bad ones. `pylae explain FILE METHOD URL` tells why.
"""

import os

from pylae import Gateway, Request, Response, Route, Service

gateway = Gateway(
    # Where clients connect.
    listeners=["127.0.0.1:8080"],
    # Peers whose X-Forwarded-For is believed, such as a load balancer in front. Default: none.
    # trusted_proxies=["10.0.0.0/8"],
    # Number of data-plane threads. Default: one per core.
    # workers=2,
    # How clients say who they are. `pylae token --user 1` makes a token.
    # auth={"jwt": {"secret": os.environ["JWT_SECRET"]}},
    # Pages in place of the gateway's own error documents, by status: 404, "4xx", "5xx", "default".
    # errors={404: {"html": "errors/404.html", "json": "errors/404.json"}},
    # Policies for every route. A route overrides one by its name, or switches it off: `security_headers=False`.
    policies={"security_headers": True},
)

# A named group of instances: what stands behind the gateway.
gateway.add_service(
    "api",
    Service(
        instances=[os.environ.get("API_URL", "http://127.0.0.1:9001")],
        # In turn. Others go by load (least_connections, p2c) or keep a client on an instance (ip_hash).
        load_balancer="round_robin",
        # Ask every instance for its health; one that fails gets no requests.
        # health_check={"path": "/health", "interval": "30s", "timeout": "5s"},
        # After five failures in a row answer 503 at once, and try again a minute later.
        # circuit_breaker={"failure_threshold": 5, "timeout": "60s"},
    ),
)

# Which requests go where. The most specific route wins, whatever the order.
gateway.add_route(
    Route(
        name="api",
        # Or `path="/users/{id:int}"` (a template), or `pattern=r"^/users/(\d+)$"` (from the start of the path).
        prefix="/api",
        # All methods when left out.
        method="GET|POST|PUT|PATCH|DELETE",
        service="api",
        # Leave it out once `auth` says how clients authenticate.
        auth_required=False,
        # Taken off before the path is sent on.
        # strip_prefix="/api",
        # Until the head of the answer.
        # timeout="30s",
        # rate_limit="100/minute",
        # retries=3,
    )
)


# Python in the path of requests: what a hook returns is the answer, and None lets the request pass.
@gateway.on_request(routes=["api"])
def check(request: Request) -> Response | None:
    if request.method == "DELETE" and "X-Confirm" not in request.headers:
        return Response.json({"error": "confirm it by X-Confirm"}, status=400)
    return None


gateway.run()
