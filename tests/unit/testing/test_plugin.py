"""The fixtures as users have them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, EngineError, Gateway, Route
from pylae.primitives import CircuitBreaker, TokenBucket
from pylae.testing import FakeClock, FakeService, Reply, RunningGateway, make_token

Start = Callable[..., RunningGateway]
Serve = Callable[..., FakeService]

YAML = """\
listeners: ["127.0.0.1:8080"]
auth:
  jwt: {jwks_url: "https://issuer.example/keys", issuer: issuer.example, audience: shop, claims: {id: user_id}}
services:
  order-service: {instances: ["http://orders.example:9001"]}
  users: {instances: ["http://users.example:9001"]}
routes:
  - {name: order, path: "/api/orders/{id:int}", method: GET, service: order-service, rate_limit: 2/minute}
  - {name: admin, prefix: /admin, service: users, roles: admin}
  - {name: open, path: /open, service: users, auth_required: false, cache: {ttl: 10s}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(YAML)
    return path


def test_five_lines(tmp_path: Path, file: Path) -> None:
    """A user's test, run by a pytest of its own that finds the fixtures."""
    (tmp_path / "test_shop.py").write_text(
        "def test_orders(pylae_gateway, pylae_service):\n"
        "    orders = pylae_service({'id': 7})\n"
        f"    gateway = pylae_gateway({str(file)!r}, order_service=orders)\n"
        "    assert gateway.get('/api/orders/7', user='42').json() == {'id': 7}\n"
        "    assert orders.requests[0].headers['X-User-ID'] == '42'\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pylae.testing.plugin", "-p", "no:cacheprovider", "."]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    run = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


def test_the_users_file(pylae_gateway: Start, pylae_service: Serve, file: Path) -> None:
    orders, users = pylae_service({"id": 7}), pylae_service()
    gateway = pylae_gateway(file, order_service=orders, users=users)
    assert gateway.address != "127.0.0.1:8080"
    assert gateway.get("/api/orders/7").status == 401
    assert gateway.get("/api/orders/7", token=make_token({"user_id": "42"})).status == 401
    assert [gateway.get("/api/orders/7", user="42").status for _ in range(3)] == [200, 200, 429]
    assert gateway.get("/admin/x", user="42").status == 403
    assert gateway.get("/admin/x", user={"id": "1", "role": "admin"}).status == 200
    assert [request.headers["X-User-ID"] for request in orders.requests] == ["42", "42"]


def test_time_passes_for_the_data_plane(pylae_gateway: Start, pylae_service: Serve, file: Path) -> None:
    users = pylae_service("fresh")
    gateway = pylae_gateway(file, services={"users": users, "order-service": pylae_service()})
    statuses = [gateway.get("/api/orders/7", user="42").status for _ in range(3)]
    token = gateway.token("42")
    cached = [gateway.get("/open").headers["Cache-Status"] for _ in range(2)]
    gateway.advance("61s")
    assert (statuses, gateway.get("/api/orders/7", token=token).status) == ([200, 200, 429], 200)
    assert "hit" in cached[1]
    assert "fwd" in gateway.get("/open").headers["Cache-Status"]
    gateway.advance("2h")
    assert gateway.get("/api/orders/7", token=token).status == 401
    assert gateway.get("/api/orders/7", user="42").status == 200


def test_a_breaker_half_opens(pylae_gateway: Start, pylae_service: Serve) -> None:
    service = pylae_service().in_turn(Reply(500), Reply(500), "good")
    gateway = pylae_gateway("services: {one: {instances: [], circuit_breaker: {failure_threshold: 2}}}", one=service)
    assert [gateway.get().status for _ in range(3)] == [500, 500, 503]
    gateway.advance("60s")
    assert [gateway.get().text for _ in range(2)] == ["good", "good"]
    assert len(service.requests) == 4


def test_time_goes_back_with_the_gateway() -> None:
    dates = []
    for ahead in ("1d", "0s"):
        with RunningGateway({"routes": [{"path": "/", "static_response": {}}]}) as gateway:
            gateway.advance(ahead)
            dates.append(parsedate_to_datetime(gateway.get("/nothing").headers["Date"]))
    assert timedelta(hours=23) < dates[0] - dates[1] <= timedelta(days=1)


def test_a_gateway_object_is_as_before(pylae_service: Serve) -> None:
    mine = Gateway(listeners=["127.0.0.1:8080"])
    mine.add_route(Route(prefix="/", service_name="users", service_url="http://users.example:80", auth_required=False))
    before = mine.config
    service = pylae_service("hello")
    with RunningGateway(mine, {"users": service}) as gateway:
        assert gateway.gateway is mine
        assert gateway.get("/a").text == "hello"
    assert mine.config == before
    gateway.stop()
    assert mine.config == before


def test_a_program(pylae_gateway: Start, pylae_service: Serve, tmp_path: Path) -> None:
    program = tmp_path / "gateway.py"
    program.write_text(
        "from pylae import Gateway, Route\n"
        "gateway = Gateway()\n"
        "gateway.add_route(Route(prefix='/', service='users', service_url='http://users.example:80'))\n"
        "gateway.run()\n"
    )
    gateway = pylae_gateway(str(program), users=pylae_service())
    assert [gateway.get().status, gateway.get(user="1").status] == [401, 200]


def test_another_configuration(pylae_gateway: Start, pylae_service: Serve) -> None:
    service = pylae_service()
    gateway = pylae_gateway(one=service)
    assert gateway.get("/a").status == 200
    gateway.apply({"routes": [{"path": "/b", "service": "one", "auth_required": False}]}, {"one": service})
    assert [gateway.get("/a").status, gateway.get("/b").status] == [404, 200]


def test_bad_configurations(pylae_gateway: Start, pylae_service: Serve) -> None:
    with pytest.raises(ConfigError, match="needs one of"):
        pylae_gateway({"routes": [{"service": "one"}]}, one=pylae_service())
    mine = Gateway()
    before = mine.config
    mine.add_route(Route(path="/a", service="nowhere"))
    with pytest.raises(ConfigError, match="nowhere"):
        pylae_gateway(mine)
    assert mine.config.listeners == before.listeners
    with pytest.raises(EngineError):
        pylae_gateway(one=pylae_service()).gateway.start()
    with pytest.raises(ConfigError, match="no token can be signed"):
        pylae_gateway(one=pylae_service()).get(user="1")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (
            {"userz": "fake"},
            r"services\.userz: there is no service `userz`; there are order-service, users \(did you mean",
        ),
        ({"order_servise": "fake"}, r"`order_servise`; .*did you mean `order-service`\?"),
        ({"payments": "fake"}, r"`payments`; there are order-service, users$"),
    ],
)
def test_a_service_that_the_gateway_has_not_is_refused(
    pylae_gateway: Start, pylae_service: Serve, file: Path, named: dict[str, Any], words: str
) -> None:
    """A test that goes on would talk to the service that stands in the file."""
    fake = pylae_service()
    with pytest.raises(ConfigError, match=words):
        pylae_gateway(file, **dict.fromkeys(named, fake))
    with pytest.raises(ConfigError, match=words):
        pylae_gateway(file, services=dict.fromkeys(named, fake))
    gateway = pylae_gateway(file)
    with pytest.raises(ConfigError, match=words):
        gateway.apply(file, dict.fromkeys(named, fake))


@pytest.mark.parametrize(
    "configuration",
    [
        {"routes": [{"path": "/a", "service": "one", "auth_required": False}]},
        {"routes": [{"path": "/a", "service_url": "http://users.example:1", "service": "one", "auth_required": False}]},
        {
            "routes": [{"path": "/a", "service": "two", "mirror": "one", "auth_required": False}],
            "services": {"two": {"instances": ["http://two.example:1"]}},
        },
        {
            "routes": [{"path": "/a", "service": "two", "auth_required": False}],
            "services": {"two": {"instances": ["http://two.example:1"]}},
            "policies": {"mirror": {"service": "one"}},
        },
        {
            "routes": [{"path": "/a", "split": ["one", "two"], "auth_required": False}],
            "services": {"two": {"instances": ["http://two.example:1"]}},
        },
        {"policies": {"security_headers": True}},
    ],
    ids=["of a route", "by a route", "mirrored", "mirrored by all", "of a split", "none but it"],
)
def test_services_that_are_only_named_are_known(
    pylae_gateway: Start, pylae_service: Serve, configuration: dict[str, Any]
) -> None:
    one = pylae_service()
    gateway = pylae_gateway(configuration, one=one)
    assert [instance.url for instance in gateway.gateway.config.services["one"].instances] == [one.url]


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        (5, r"services\.users.instances\[0\].*found 5"),
        ([5], r"services\.users.instances\[0\].*found 5"),
        ("users.example", r"services\.users.instances\[0\].*found \"users.example\" \(write it like"),
        (None, r"services\.users.instances\[0\].*found null"),
    ],
)
def test_what_is_no_instance_is_said(pylae_gateway: Start, file: Path, instances: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        pylae_gateway(file, users=instances)


def test_the_clock_is_for_primitives(pylae_clock: FakeClock) -> None:
    bucket, breaker = TokenBucket(1, "1m", clock=pylae_clock), CircuitBreaker(failure_threshold=1, clock=pylae_clock)
    assert [bool(bucket.take()), bool(bucket.take())] == [True, False]
    breaker.attempt().fail()
    pylae_clock.advance("1m")
    assert bucket.take()
    assert breaker.open_for == 0


def test_the_admin_api_and_the_state_are_the_tests_own(
    pylae_gateway: Start, pylae_service: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("PYLAE_ADMIN", raising=False)
    assert pylae_gateway(one=pylae_service()).gateway.admin is None
    asked = pylae_gateway({"admin": "127.0.0.1:9901"}, one=pylae_service()).gateway.admin
    assert asked is not None
    assert not asked.address.endswith(":9901")
    assert list(tmp_path.iterdir()) == []
