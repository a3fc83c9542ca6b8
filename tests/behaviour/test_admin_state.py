"""What operators see of a running gateway over the admin API, and do to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from support.admin import Admin
from support.instance import OK, EchoInstance, RawInstance
from support.peer import wait_until
from support.tokens import SECRET, bearer, token

Start = Callable[..., Admin]

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


def test_status(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        api.running.get("/")
        wait_until(lambda: api.get("/status")["totals"]["by_class"][1] == 1)
        status = api.get("/status")
        assert status["listeners"] == api.running.addresses
        assert (status["applied"], status["overridden"]) == (1, False)


def test_monitoring(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        api.running.get("/")
        page = api.http.get("/metrics")
        assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "pylae_requests_total" in page.text
        assert api.get("/health")["status"] == "healthy"
        assert api.get("/live") == {"status": "live"}
        assert api.get("/ready") == {"status": "ready"}
        assert "services" in api.get("/metrics/summary")


def test_an_unhealthy_gateway_says_so(admin: Start, dead_url: str) -> None:
    with admin("services: {all: {retry_budget: {ratio: 0, min_per_second: 0}}}", all=dead_url) as api:
        assert api.running.get("/").status == 502
        wait_until(lambda: api.http.get("/health").status_code == 503)
        verdict = api.http.get("/health").json()
        assert (verdict["status"], verdict["errors"]) == ("unhealthy", 1)


def test_it_is_not_ready_while_it_stops(admin: Start) -> None:
    with RawInstance() as slow, admin(all=slow) as api, api.running.connect() as client:
        client.send(GET)
        peer = slow.accept()
        peer.read_request()
        stop = threading.Thread(target=api.running.gateway.stop)
        stop.start()
        wait_until(lambda: api.http.get("/ready").status_code == 503)
        assert api.http.get("/ready").json() == {"status": "stopping"}
        assert api.get("/live") == {"status": "live"}
        peer.send(OK)
        assert client.read_answer().status == 200
        stop.join()


def test_a_drained_instance_finishes_what_it_has(admin: Start) -> None:
    with RawInstance() as one, EchoInstance("two") as two, admin(all=[one, two]) as api:
        path = f"/services/all/instances/{one.address}/drain"
        with api.running.connect() as client:
            client.send(GET)
            peer = one.accept()
            peer.read_request()
            assert api.post(path) == {"changed": True, "in_flight": 1}
            assert api.post(path) == {"changed": False, "in_flight": 1}
            for _ in range(6):
                assert api.running.get("/").status == 200
            assert two.count == 6
            assert [i["state"] for i in api.get("/services/all")["instances"]] == ["draining", "up"]
            api.post("/config/validate")
            peer.send(OK)
            assert client.read_answer().body == b"ok"
        (service,) = api.get("/services")
        assert service["instances"][0]["in_flight"] == 0
        assert api.http.delete(path).json()["changed"] is True
        assert api.get("/services/all")["instances"][0]["state"] == "up"
        assert api.http.post("/services/all/instances/127.0.0.1:1/drain").status_code == 404
        assert api.http.post(f"/services/none/instances/{one.address}/drain").status_code == 404


@pytest.mark.parametrize("scope", ["service", "instance"])
def test_an_open_breaker_is_closed_by_hand(admin: Start, scope: str) -> None:
    failing = f"services: {{all: {{circuit_breaker: {{failure_threshold: 2, scope: {scope}}}}}}}"
    bad = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    with RawInstance(bad, bad, OK) as one, admin(failing, all=one) as api:
        assert [api.running.get("/").status for _ in range(3)] == [500, 500, 503]
        (breaker,) = api.get("/breakers")
        assert breaker["service"] == "all"
        assert breaker["instance"] == (one.url if scope == "instance" else None)
        assert (breaker["state"], 50 < breaker["open_for"] <= 60) == ("open", True)
        assert api.post("/breakers/all/reset") == {"changed": True}
        assert api.post(f"/breakers/all/reset?instance={one.url}") == {"changed": False}
        assert api.get("/breakers")[0]["state"] == "closed"
        assert api.running.get("/").status == 200
        assert api.http.post("/breakers/none/reset").status_code == 404
        assert api.http.post("/breakers/all/reset?instance=http://x").status_code == 404


def test_a_service_without_a_breaker(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        assert api.get("/breakers") == []
        assert api.http.post("/breakers/all/reset").status_code == 409


LIMITS = """
routes:
  - name: limited
    prefix: /
    service: all
    auth_required: false
    rate_limit:
      - {name: by-tenant, limit: 2, per: 1d, key: "header:X-Tenant", algorithm: ALGORITHM}
      - {name: by-address, limit: 100, per: 1d, key: ip}
"""


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "fixed_window"])
def test_a_limit_is_seen_and_forgiven(admin: Start, echo: EchoInstance, algorithm: str) -> None:
    with admin(LIMITS.replace("ALGORITHM", algorithm), all=echo) as api:
        for tenant in ("a", "b"):
            statuses = [api.running.get("/", f"X-Tenant: {tenant}").status for _ in range(3)]
            assert statuses == [200, 200, 429]
        listed = api.get("/limits")
        assert [limit["name"] for limit in listed["limits"]] == ["by-tenant", "by-address"]
        assert listed["limits"][0]["algorithm"] == algorithm
        assert listed["keys"] == 3
        who = {"route": "limited", "name": "by-tenant", "headers": {"X-Tenant": "a"}}
        assert api.post("/limits/look", **who)["remaining"] == 0
        assert api.post("/limits/look", route="limited", name="by-address", ip="127.0.0.1")["remaining"] == 96
        assert api.post("/limits/look", route="limited", name="by-address", ip="192.0.2.1")["remaining"] == 100
        reset = api.post("/limits/reset", **who)
        assert (reset["remaining"], reset["forgotten"], reset["reset"]) == (2, True, 0)
        assert api.post("/limits/reset", **who)["forgotten"] is False
        assert api.running.get("/", "X-Tenant: a").status == 200
        assert api.running.get("/", "X-Tenant: b").status == 429


@pytest.mark.parametrize(
    "who",
    [
        {"route": "none", "name": "by-tenant"},
        {"route": "limited", "name": "none"},
        {"route": "limited", "name": "by-address"},
        {"route": "limited", "name": "by-tenant", "policy": "address_limit"},
    ],
)
def test_limits_that_are_not_there(admin: Start, echo: EchoInstance, who: dict[str, Any]) -> None:
    with admin(LIMITS.replace("ALGORITHM", "token_bucket"), all=echo) as api:
        assert api.http.post("/limits/look", json=who).status_code == 404


def test_exchanges_at_once_are_seen(admin: Start) -> None:
    limited = "routes: [{name: r, prefix: /, service: all, rate_limit: {concurrency: {limit: 3, key: ip}}}]"
    with RawInstance() as slow, admin(limited, all=slow) as api, api.running.connect() as client:
        (limit,) = api.get("/limits")["limits"]
        assert (limit["algorithm"], limit["per"]) == ("concurrency", None)
        client.send(GET)
        slow.accept().read_request()
        found = api.post("/limits/reset", route="r", name=limit["name"], ip="127.0.0.1")
        assert (found["limit"], found["remaining"], found["forgotten"]) == (3, 2, False)


def test_the_cache_is_purged(admin: Start) -> None:
    cached = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\nCache-Tag: t\r\n\r\nok"
    route = "routes: [{name: r, prefix: /, service: all, auth_required: false, cache: true}]"
    with RawInstance(cached) as one, admin(route, all=one) as api:
        for what in ({"url": "/x"}, {"prefix": "/"}, {"service": "all"}, {"everything": True}):
            api.running.get("/x")
            api.running.get("/x")
            assert api.get("/cache")["usage"]["entries"] == 1
            assert api.post("/cache/purge", **what) == {"purged": 1, "delayed": False}
        assert api.post("/cache/purge", tag="t") == {"purged": 0, "delayed": False}
        assert api.get("/cache")["exchanges"] == {"hit": 4, "miss": 4, "stale": 0, "revalidated": 0, "bypass": 0}
        for wrong in ({}, {"url": "/x", "tag": "t"}, {"everything": False}, {"all": True}):
            assert api.http.post("/cache/purge", json=wrong).status_code == 422
        assert len(one.requests) == 4


def test_a_user_and_a_token_are_revoked(admin: Start, echo: EchoInstance) -> None:
    with admin({"auth": {"jwt": {"secret": SECRET}}}, all=echo) as api:
        now = int(time.time())
        one, other = (bearer(token(sub=user, jti=user, iat=now)) for user in ("7", "8"))
        assert api.get("/revocations") == {"number": 0, "current": None, "unpublished": None}
        assert api.post("/revocations", user="7") == {"delayed": False}
        assert [api.running.get("/", field).status for field in (one, other)] == [401, 200]
        assert api.post("/revocations", jti="8", ttl=60) == {"delayed": False}
        assert [api.running.get("/", field).status for field in (one, other)] == [401, 401]
        assert api.get("/revocations")["number"] == 2
        for wrong in (
            {},
            {"user": "7", "jti": "8"},
            {"user": ""},
            {"user": "7", "ttl": "soon"},
            {"user": "7", "ttl": 0},
        ):
            assert api.http.post("/revocations", json=wrong).status_code == 422


def test_the_latest_exchanges_without_their_credentials(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        for n in range(3):
            api.running.get(f"/n{n}?token=hush", "Authorization: Bearer hush")
        wait_until(lambda: len(api.get("/exchanges")["exchanges"]) == 3)
        found = api.get("/exchanges?most=2")["exchanges"]
        assert {one["path"] for one in found} <= {"/n0", "/n1", "/n2"}
        assert (found[0]["route"], found[0]["status"], len(found)) == ("all", 200, 2)
        assert "hush" not in json.dumps(api.get("/exchanges"))


def test_exchanges_as_they_end(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api, api.http.stream("GET", "/exchanges/tail") as tail:
        assert tail.headers["Content-Type"].startswith("text/event-stream")
        lines = tail.iter_lines()
        assert next(lines) == ": watching"
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                api.running.get("/watched?n=1")

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            events = (line for line in lines if line.startswith("data: {"))
            found = [json.loads(next(events).removeprefix("data: ")) for _ in range(100)]
        finally:
            ended.set()
            asking.join()
        assert {(one["path"], one["status"]) for one in found} == {("/watched", 200)}
        assert len({one["request_id"] for one in found}) == 100


def test_watchers_are_bounded_and_end_with_the_gateway(
    admin: Start, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pylae.admin.exchanges.MOST_WATCHERS", 1)
    with admin(all=echo) as api, api.http.stream("GET", "/exchanges/tail") as first:
        lines = first.iter_lines()
        assert next(lines) == ": watching"
        assert api.http.get("/exchanges/tail").status_code == 503
        api.running.stop()
        with pytest.raises((StopIteration, httpx.TransportError)):
            while True:
                next(lines)
