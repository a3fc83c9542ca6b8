"""What people look at over the admin API: routes in force, explanations, the last hour, exchanges of a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pylae.admin import local
from pylae.state import local_socket
from pylae.testing import FakeService, Reply
from support.admin import Admin
from support.exchanges import ask
from support.instance import EchoInstance
from support.peer import wait_until

Start = Callable[..., Admin]
CONFIGURATION = """
services:
  users: {}
routes:
  - {name: users, path: /users, methods: [GET], service: users, rate_limit: 100/second}
  - {name: tenant, prefix: /tenant, headers: {X-Tenant: {equals: blue}}, service: users}
"""


def test_rights_are_those_of_the_token(admin: Start, echo: EchoInstance) -> None:
    with admin(users=echo) as api:
        assert api.get("/rights") == {"name": "admin", "scopes": ["read", "operate", "configure"]}
        for scopes, allowed in ((["read"], ["read"]), (["operate"], ["read", "operate"])):
            secret = api.post("/tokens", name=scopes[0], scopes=scopes)["secret"]
            found = httpx.get(
                f"http://{api.address}/rights", headers={"Authorization": f"Bearer {secret}"}, verify=False
            )
            assert found.json() == {"name": scopes[0], "scopes": allowed}


def test_routes_say_where_they_go(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, users=echo) as api:
        found = api.get("/routes")
        assert found["revision"] == api.get("/status")["revision"]
        users, tenant = found["routes"]
        assert (users["kind"], users["path"], users["methods"], users["services"]) == (
            "exact",
            "/users",
            ["GET"],
            ["users"],
        )
        assert [policy["name"] for policy in users["policies"]] == ["rate_limit"]
        assert tenant["conditions"] == ["header X-Tenant = blue"]


def test_routes_follow_the_configuration(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, users=echo) as api:
        assert len(api.get("/routes")["routes"]) == 2
        api.running.apply(users=echo)
        assert [one["name"] for one in api.get("/routes")["routes"]] == ["all"]


def test_a_request_is_explained(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, users=echo) as api:
        found = api.post("/explain", target="/users?token=secret", headers=[["Host", "shop"]])
        assert found["outcome"] == "route"
        assert found["explanation"]["route"]["name"] == "users"
        assert found["lines"][0] == "GET /users?token=… from 127.0.0.1"
        assert api.post("/explain", method="POST", target="/users")["outcome"] == "method_not_allowed"


@pytest.mark.parametrize(
    "body", [{"target": ""}, {"target": "/a b"}, {"target": "/", "method": "G T"}, {"target": "/", "client": "x"}, {}]
)
def test_what_is_no_request_is_refused(admin: Start, echo: EchoInstance, body: dict[str, Any]) -> None:
    with admin(CONFIGURATION, users=echo) as api:
        assert api.http.post("/explain", json=body).status_code == 422


def test_the_last_hour_has_what_failed(admin: Start) -> None:
    breaking = "{services: {users: {circuit_breaker: {failure_threshold: 4, timeout: 60s}}}}"
    with FakeService(Reply(503)) as service, admin(breaking, users=service) as api:
        timeline = api.running.gateway.runtime.timeline
        timeline.read()
        for _ in range(6):
            ask(api.running.address, "/users")
        wait_until(lambda: api.get("/metrics/summary")["requests"] == 6)
        timeline.read()
        found = api.get("/timeline?service=users,nobody")
    # The gateway reads it by itself too.
    assert sum(count or 0 for count in found["services"]["users"]["requests"]) == 6
    assert sum(count or 0 for count in found["gateway"]["errors"]) == 6
    assert len(found["times"]) == len(found["gateway"]["p99"]) >= 2
    kinds = {one["kind"]: one for one in found["troubles"]}
    assert kinds["open"]["since"] and kinds["open"]["why"] and kinds["open"]["until"] is None


def test_exchanges_of_a_kind(admin: Start, echo: EchoInstance) -> None:
    with admin(CONFIGURATION, users=echo) as api:
        for path in ("/users", "/none", "/users?find=me"):
            ask(api.running.address, path)
        wait_until(lambda: len(api.get("/exchanges")["exchanges"]) == 3)

        def paths(query: str) -> list[str]:
            return [one["path"] for one in api.get(f"/exchanges?{query}")["exchanges"]]

        assert paths("status=404") == paths("status=4xx") == ["/none"]
        assert paths("route=users") == paths("service=users") == ["/users", "/users"]
        assert paths("text=FIND") == ["/users"]
        assert paths("user=7") == []
        assert paths("most=1&route=users") == ["/users"]
        for wrong in ("status=600", "status=4x", "status=44"):
            assert api.http.get(f"/exchanges?{wrong}").status_code == 422


def test_a_token_counts_at_the_local_socket_too(admin: Start, echo: EchoInstance) -> None:
    with admin(users=echo) as api:
        secret = api.post("/tokens", name="reader", scopes=["read"])["secret"]
        runtime = api.running.gateway.runtime
        server = local.start(runtime)
        assert server is not None
        runtime.attend(server)
        transport = httpx.HTTPTransport(uds=str(runtime.folder / local_socket.NAME))
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=30) as http:

            def rights(**fields: str) -> httpx.Response:
                return http.get("/rights", headers=fields)

            assert rights().json()["name"] == "local"
            assert rights(Authorization=f"Bearer {secret}").json() == {"name": "reader", "scopes": ["read"]}
            assert rights(Authorization=f"Bearer {api.token}").json()["name"] == "admin"
            assert rights(Authorization="Bearer wrong-but-long-enough").status_code == 401
            refused = http.put("/maintenance", json={}, headers={"Authorization": f"Bearer {secret}"})
            assert refused.status_code == 403
