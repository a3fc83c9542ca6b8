from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from pylae import AuthenticationService, HealthChecker, MetricsCollector
from pylae.testing import SECRET

HERE = Path(__file__).parent
NAMES = ("user-service", "order-service", "payment-service", "notification-service")
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "86400",
}
SECURITY = {
    "Content-Security-Policy": "default-src 'self'",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "1; mode=block",
}


@pytest.fixture
def services():
    """Four processes; the addresses that they say, by the names of the services."""
    command = [sys.executable, str(HERE / "services.py")]
    pipe = subprocess.PIPE
    started = {name: subprocess.Popen([*command, name], stdin=pipe, stdout=pipe, text=True) for name in NAMES}
    yield {name: process.stdout.readline().strip() for name, process in started.items()}
    for process in started.values():
        process.communicate(timeout=20)


@pytest.fixture
def shop(services, pylae_gateway, monkeypatch):
    monkeypatch.setenv("PYLAE_JWT_SECRET", SECRET)
    return pylae_gateway(HERE / "textbook.py", services)


def bearer(**user):
    token = AuthenticationService(SECRET).generate_token({"id": 7, "email": "ada@shop.example", **user})
    return {"Authorization": f"Bearer {token}"}


def post(shop, path, value, **user):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    fields = {"Content-Type": "application/json", **(bearer(**user) if user else {})}
    return shop.request("POST", path, headers=fields, body=body)


def has(response, status):
    """Whatever the answer, it has the fields that the middlewares set, each once."""
    lines = Counter(name.lower() for name, _ in response.headers.items())
    for name, value in {**CORS, **SECURITY}.items():
        assert (response.headers[name], lines[name.lower()]) == (value, 1)
    assert float(response.headers["X-Response-Time"]) >= 0
    assert lines["x-request-id"] == 1
    assert response.status == status
    return response.json()


def is_error(response, status, words):
    found = has(response, status)
    assert found.keys() == {"error", "status", "timestamp"}
    assert words in found["error"]
    assert (found["status"], response.headers["Content-Type"]) == (status, "application/json")


def test_200_from_each_service(shop):
    users = shop.get("/api/users/42", headers=bearer())
    assert has(users, 200) == {"id": "42", "asked_by": "7"}
    assert has(shop.get("/api/orders", headers=bearer()), 200)["user"] == "7"
    assert has(shop.get("/api/payments", headers=bearer()), 200) == {"payment": None}
    told = shop.get("/api/notifications", headers=bearer(permissions=["notifications:read"]))
    assert has(told, 200) == {"for": "7", "role": None, "notifications": []}


def test_a_registration_needs_no_token(shop):
    assert has(post(shop, "/api/users", {"email": "bob@shop.example"}), 201) == {
        "id": "8",
        "email": "bob@shop.example",
    }


def test_401(shop):
    for path in ("/api/users/42", "/api/orders", "/api/payments", "/api/notifications"):
        is_error(shop.get(path), 401, "")
    is_error(shop.get("/api/users/42", headers={"Authorization": "Bearer none"}), 401, "Token")
    answer = shop.request("DELETE", "/api/orders/7")
    is_error(answer, 401, "bearer token")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_403(shop):
    is_error(shop.request("DELETE", "/api/orders/7", headers=bearer(role="user")), 403, "permission")
    is_error(post(shop, "/api/payments", {"amount": 5}, role="user"), 403, "permission")
    is_error(shop.get("/api/notifications", headers=bearer(role="user")), 403, "")
    assert has(shop.request("DELETE", "/api/orders/7", headers=bearer(role="admin")), 200)["method"] == "DELETE"
    paid = post(shop, "/api/payments", {"amount": 5}, permissions=["payments:create"])
    assert has(paid, 201) == {"payment": {"amount": 5}}


@pytest.mark.parametrize("path", ["/", "/api/users/ada", "/api/nothing"])
def test_404(shop, path):
    is_error(shop.get(path), 404, "no route")


def test_405(shop):
    answer = shop.request("DELETE", "/api/users/42")
    is_error(answer, 405, "method")
    assert "GET" in answer.headers["Allow"]


def test_429(shop):
    statuses = [post(shop, "/api/users", {"email": "bob@shop.example"}).status for _ in range(10)]
    assert statuses == [201] * 10
    answer = post(shop, "/api/users", {"email": "bob@shop.example"})
    is_error(answer, 429, "too many")
    assert int(answer.headers["Retry-After"]) <= 6


def test_400_of_the_validation(shop):
    headers = {"Content-Type": "text/plain"}
    is_error(shop.request("POST", "/api/users", headers=headers, body=b"{}"), 400, "must be application/json")
    is_error(post(shop, "/api/users", b"{"), 400, "no JSON")
    assert post(shop, "/api/users", b"[" + b" " * 2_000_000 + b"]").status == 400, (
        "the service, which has got all of it"
    )
    assert post(shop, "/api/users", b"x" * 10_485_761).status == 413, "the gateway, before any middleware"


def test_the_cache_answers_the_same_user_again(shop):
    first = shop.get("/api/orders/7?page=1", headers=bearer())
    again = shop.get("/api/orders/7?page=1", headers=bearer())
    assert has(first, 200) == has(again, 200)
    assert "hit" in again.headers["Cache-Status"]
    assert first.headers["X-Request-ID"] != again.headers["X-Request-ID"], "what a middleware sets is not kept"
    other = shop.get("/api/orders/7?page=1", headers=bearer(id=8))
    assert (has(other, 200)["user"], has(other, 200)["served"]) == ("8", has(first, 200)["served"] + 1)


def test_the_breaker_opens(shop):
    for _ in range(5):
        is_error(shop.get("/api/payments/broken", headers=bearer()), 500, "the bank does not answer")
    answer = shop.get("/api/payments", headers=bearer())
    is_error(answer, 503, "")
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert has(shop.get("/api/users/42", headers=bearer()), 200), "it is the breaker of one service"


def test_a_preflight(shop):
    asked = {"Origin": "https://pages.example", "Access-Control-Request-Method": "DELETE"}
    answer = shop.request("OPTIONS", "/api/orders/7", headers=asked)
    assert (answer.status, answer.body) == (200, b"")
    assert {name: answer.headers[name] for name in CORS} == CORS


def test_every_request_is_logged(shop, caplog):
    with caplog.at_level(logging.INFO, "shop"):
        shop.get("/api/users/42")
    assert [record.message for record in caplog.records if record.name == "shop"] == [
        "GET /api/users/42 from 127.0.0.1"
    ]


def test_what_it_counts(shop, services):
    collector, checker = MetricsCollector(shop.gateway), HealthChecker()
    shop.get("/api/users/42", headers=bearer())
    shop.get("/api/nothing")
    deadline = time.monotonic() + 10
    while sum((summary := collector.get_metrics_summary())["request_counts"].values()) < 2:
        # An exchange is counted when it is over, which is a moment after its answer.
        assert time.monotonic() < deadline
    assert summary["request_counts"] == {"user-service:GET": 1, "(none):GET": 1}
    assert summary["error_counts"] == {"(none):GET": 1}
    assert collector.get_health_status()["status"] == "healthy"
    (instance,) = shop.gateway.service_registry.get_healthy_instances("user-service")
    assert instance["url"] == services["user-service"]
    assert checker.is_healthy(instance)
