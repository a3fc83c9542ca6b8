"""What users may do, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from support.instance import EchoInstance
from support.running import Running
from support.tokens import SECRET, bearer, token

Start = Callable[..., Running]


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"role": "clerk", "permissions": ["read", "write", "more"]}, 200),
        ({"role": "boss", "scope": "write read"}, 200),
        ({"role": ["guest", "clerk"], "permissions": ["read", "write"]}, 200),
        ({"role": "clerk", "permissions": ["read"]}, 403),
        ({"role": "clerk"}, 403),
        ({"role": "guest", "permissions": ["read", "write"]}, 403),
        ({"permissions": ["read", "write"]}, 403),
        ({"role": ["admin", "boss"]}, 200),
        ({"role": "admin"}, 403),
    ],
)
def test_permissions_and_roles(gateway: Start, echo: EchoInstance, claims: dict[str, Any], status: int) -> None:
    route = {"prefix": "/", "service": "echo", "permissions": ["read", "write"], "roles": "clerk|boss"}
    running = gateway({"auth": {"jwt": {"secret": SECRET}}, "routes": [route]}, echo=echo)
    answer = running.get("/", bearer(token(**claims)))
    assert (answer.status, echo.count) == (status, int(status == 200))
    if status == 403:
        assert json.loads(answer.body)["type"] == "urn:pylae:error:forbidden"
    assert running.get("/").status == 401


def test_the_admin_role_is_a_setting(gateway: Start, echo: EchoInstance) -> None:
    route = {"prefix": "/", "service": "echo", "permissions": ["x"]}
    jwt = {"secret": SECRET}
    running = gateway({"auth": {"jwt": jwt}, "routes": [route]}, echo=echo)
    assert running.get("/", bearer(token(role="admin"))).status == 200
    running.apply({"auth": {"jwt": jwt, "admin_role": "root"}, "routes": [route]}, echo=echo)
    assert running.get("/", bearer(token(role="admin"))).status == 403
    assert running.get("/", bearer(token(role="root"))).status == 200
    running.apply({"auth": {"jwt": jwt, "admin_role": ""}, "routes": [route]}, echo=echo)
    assert running.get("/", bearer(token(role="root"))).status == 403
    assert running.get("/", bearer(token())).status == 403


@pytest.mark.parametrize("key", ["permissions", "roles"])
def test_an_open_route_cannot_ask_for_more(key: str) -> None:
    with pytest.raises(ConfigError, match="need a user"):
        Gateway(routes=[{"prefix": "/", "service_url": "http://x", "auth_required": False, key: ["a"]}])
