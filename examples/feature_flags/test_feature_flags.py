from __future__ import annotations

from pathlib import Path

import pytest

from pylae.testing import Reply

FILE = Path(__file__).parent / "pylae.yaml"


@pytest.fixture(autouse=True)
def flags(pylae_service, monkeypatch):
    service = pylae_service().on("GET", "/flags/{user}", lambda request: ["new-cart", f"for-{request.params['user']}"])
    monkeypatch.setenv("FLAGS_URL", f"{service.url}/flags/")
    return service


@pytest.fixture
def shop(pylae_service):
    return pylae_service(lambda request: request.headers.get("X-Features"))


def test_flags_reach_the_service(pylae_gateway, shop):
    gateway = pylae_gateway(FILE, shop=shop)
    assert gateway.get("/", user="7", headers={"X-Features": "forged"}).text == "for-7,new-cart"
    assert gateway.get("/", user="8").text == "for-8,new-cart"
    assert gateway.get("/", headers={"X-Features": "forged"}).text == ""


def test_answers_are_remembered(pylae_gateway, flags, shop):
    gateway = pylae_gateway(FILE, shop=shop)
    assert [gateway.get("/", user="7").text for _ in range(5)] == ["for-7,new-cart"] * 5
    assert len(flags.requests) == 1


def test_a_service_that_fails_stops_nobody(pylae_gateway, flags, shop):
    flags.on("GET", "/flags/bad", Reply(500)).on("GET", "/flags/odd", Reply(body="no json"))
    gateway = pylae_gateway(FILE, shop=shop)
    assert gateway.get("/", user="odd").text == ""
    for _ in range(5):
        response = gateway.get("/", user="bad")
        assert (response.status, response.text) == (200, "")
    assert len(flags.requests) == 3, "the circuit breaker is open"


def test_a_slow_service_delays_for_a_second_at_most(pylae_gateway, flags, shop):
    flags.on("GET", "/flags/slow", Reply(delay=30))
    response = pylae_gateway(FILE, shop=shop).get("/", user="slow")
    assert (response.status, response.text) == (200, "")
