"""What the gateway counts, compared with what clients counted."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from pylae import Request
from support.exposition import Page, promtool
from support.hooked import hooked
from support.hooked import running as serves
from support.instance import OK, EchoInstance, RawInstance
from support.peer import Peer, wait_until
from support.running import Running
from support.traffic import Traffic

MIXED = """
services:
  breaks: {retry_budget: {ratio: 1}}
routes:
  - {name: users, prefix: /users, service: users}
  - {name: 'limited "a\\b"', path: /limited, service: users, rate_limit: {limit: 3, per: 1h, key: ip}}
  - {name: stored, path: '/stored/{id}', service: cached, cache: true}
  - {name: retried, path: /retried, service: breaks, retries: 3}
  - {name: moved, path: /moved, redirect: {to: /users}}
  - {name: reads, path: /reads, method: GET, service: users}
"""
FRESH = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nfresh"


class Client:
    """Counts what it sends and gets, as the gateway should."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.requests: Counter[tuple[str, ...]] = Counter()
        self.body_bytes = 0
        self.bytes = 0

    def ask(self, route: str, service: str, target: str, *, method: str = "GET", body: bytes = b"") -> int:
        """One request on a connection of its own; notes its answer and returns the status."""
        with self.running.connect() as peer:
            head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
            peer.send(head.encode(), body)
            status = peer.read_answer(method=method).status
            known = method if method in ("GET", "HEAD", "POST", "PUT", "DELETE") else "OTHER"
            self.requests[route, service, known, f"{status // 100}xx"] += 1
            self.body_bytes += len(body)
            self.bytes += len(peer.received)
        return status


@pytest.fixture
def mixed(gateway: Callable[..., Running]) -> Iterator[tuple[Running, Client]]:
    """A gateway that has served a mixture of everything, and the client that asked for it."""

    def users(peer: Peer, _: object) -> None:
        peer.send(OK)

    def breaks_off(peer: Peer, _: object) -> None:
        peer.close()

    with RawInstance(users) as one, RawInstance(FRESH) as cached, RawInstance(breaks_off) as breaks:
        running = gateway(MIXED, users=one, cached=cached, breaks=[breaks, one])
        client = Client(running)
        for number in range(7):
            client.ask("users", "users", f"/users/{number}?x={number}")
        client.ask("users", "users", "/users", method="POST", body=b"x" * 70_000)
        client.ask("users", "users", "/users", method="BREW")
        for _ in range(5):
            client.ask('limited "a\\b"', "users", "/limited")
        for number in (1, 1, 1, 2):
            client.ask("stored", "cached", f"/stored/{number}")
        for _ in range(4):
            client.ask("retried", "breaks", "/retried")
        client.ask("moved", "(gateway)", "/moved")
        client.ask("(none)", "(none)", "/nowhere")
        client.ask("(none)", "(none)", "/reads", method="DELETE")
        with running.connect() as peer:
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n")
            peer.read_answer()
            client.requests["(none)", "(none)", "GET", "4xx"] += 1
            client.bytes += len(peer.received)
        with running.connect() as peer:
            peer.send(b"\x16\x03\x01\r\n\r\n")
            peer.read_answer()
            client.requests["(none)", "(none)", "OTHER", "4xx"] += 1
            client.bytes += len(peer.received)
        with RawInstance() as silent:
            more = MIXED + "  - {name: silent, path: /silent, service: silent}\n"
            running.apply(more, users=one, cached=cached, breaks=[breaks, one], silent=silent)
            for _ in range(2):
                with running.connect() as peer:
                    peer.send(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
                    silent.accept().read_request()
                client.requests["silent", "silent", "GET", "499"] += 1
            wait_until(lambda: Page.of(running.gateway).value("pylae_requests_total") == client.requests.total())
            yield running, client


def test_figures_are_those_that_the_client_counted(mixed: tuple[Running, Client]) -> None:
    running, client = mixed
    page = Page.of(running.gateway)
    assert page.by("pylae_requests_total", "route", "service", "method", "status") == client.requests
    assert page.value("pylae_request_duration_seconds_count") == client.requests.total()
    assert page.value("pylae_request_duration_seconds_bucket", le="+Inf") == client.requests.total()
    assert page.value("pylae_request_body_bytes_total") == client.body_bytes
    assert page.value("pylae_response_bytes_total") == client.bytes
    assert page.by("pylae_halts_total", "route", "code") == {
        ('limited "a\\b"', "rate_limited"): 2,
        ("(none)", "no_route"): 1,
        ("(none)", "method_not_allowed"): 1,
        ("(none)", "malformed_request"): 2,
        ("silent", "client_gone"): 2,
    }
    assert page.by("pylae_limiter_decisions_total", "route", "policy", "decision") == {
        ('limited "a\\b"', "rate_limit", "admitted"): 3,
        ('limited "a\\b"', "rate_limit", "refused"): 2,
    }
    assert page.by("pylae_cache_requests_total", "route", "result") == {("stored", "hit"): 2, ("stored", "miss"): 2}
    assert page.value("pylae_cache_entries") == 2
    totals = running.gateway.stats()["totals"]
    # Each request that met the instance that breaks off was repeated once.
    assert page.by("pylae_retries_total", "route") == {("retried",): totals["retries"]}
    (attempts, failures) = (page.by(f"pylae_instance_{name}_total", "service") for name in ("attempts", "failures"))
    assert attempts["breaks",] == 4 + totals["retries"]
    assert failures == {("users",): 0, ("cached",): 0, ("breaks",): totals["retries"], ("silent",): 0}
    assert page.value("pylae_upstream_connections_total") == sum(attempts.values())
    assert page.value("pylae_upstream_connections_total", kind="reused") > 0
    assert page.value("pylae_connections_accepted_total") == client.requests.total()
    assert page.by("pylae_config_applies_total", "result") == {("applied",): 2, ("refused",): 0}
    assert (page.value("pylae_requests_in_flight"), page.value("pylae_workers")) == (0, 1)


def test_the_page_is_what_prometheus_reads(mixed: tuple[Running, Client]) -> None:
    running, _ = mixed
    text = running.gateway.metrics()
    assert promtool("check", "metrics", text=text) == ""
    for family in Page(text).families.values():
        assert family.documentation
        assert family.name.startswith(("pylae_", "process_"))


def test_the_summary_agrees(mixed: tuple[Running, Client]) -> None:
    running, client = mixed
    summary = running.gateway.summary()
    routed = [(key, count) for key, count in client.requests.items() if key[0] != "(none)"]
    assert summary["requests"] == client.requests.total()
    assert (summary["abandoned"], summary["errors"], summary["in_flight"]) == (2, 0, 0)
    assert summary["cache"] == {**summary["cache"], "hits": 2, "misses": 2, "entries": 2}
    for service in ("users", "cached", "breaks", "silent", "(gateway)"):
        of_service = [(key, count) for key, count in routed if key[1] == service]
        found = summary["services"][service]
        assert found["requests"] == found["recent"]["requests"] == sum(count for _, count in of_service)
        for method in {key[2] for key, _ in of_service}:
            expected = sum(count for key, count in of_service if key[2] == method)
            assert found["methods"][method]["requests"] == expected
            assert found["methods"][method]["recent"]["requests"] == expected
            recent = found["methods"][method]["recent"]
            assert 0 < recent["p50"] <= recent["p95"] <= recent["p99"] < 60
    assert sum(group["requests"] for group in summary["methods"].values()) == client.requests.total()
    assert summary["recent"]["requests"] == sum(count for _, count in routed)


def test_invented_names_make_no_new_lines(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    running = gateway("routes: [{name: known, prefix: /known, host: '*.example.org', service: all}]", all=echo)

    def ask(number: int) -> None:
        answers = running.raw(
            f"M{number} /known/{number} HTTP/1.1\r\nHost: h{number}.example.org\r\n\r\n"
            f"M{number} /{number} HTTP/1.1\r\nHost: h{number}.example.org\r\n\r\n"
            f"GET /known HTTP/1.1\r\nHost: h{number}.test\r\n\r\n".encode(),
            3,
        )
        assert [answer.status for answer in answers] == [200, 404, 404]

    # The second uses the connection to the instance again, which is a line of its own.
    ask(0)
    ask(1)
    wait_until(lambda: Page.of(running.gateway).value("pylae_requests_total") == 6)
    first = set(Page.of(running.gateway).samples)
    for number in range(2, 301):
        ask(number)
    wait_until(lambda: Page.of(running.gateway).value("pylae_requests_total") == 903)
    page = Page.of(running.gateway)
    assert set(page.samples) == first
    assert page.by("pylae_requests_total", "route", "method") == {
        ("known", "OTHER"): 301,
        ("(none)", "OTHER"): 301,
        ("(none)", "GET"): 301,
    }


def test_reloads_with_new_names_leave_nothing_behind(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    running = gateway("routes: [{name: first, path: /a, service: all}]", all=echo)
    assert running.get("/a").status == 200
    sizes = set()
    for number in range(50):
        running.apply(f"routes: [{{name: route-{number:02}, path: /a, service: all}}]", all=echo)
        assert running.get("/a").status == 200
        wait_until(lambda expected=number + 2: Page.of(running.gateway).value("pylae_requests_total") == expected)
        page = Page.of(running.gateway)
        if number > 0:
            sizes.add(len(page.samples))
        assert page.by("pylae_requests_total", "route") == {(f"route-{number:02}",): 1, ("(removed)",): number + 1}
    assert len(sizes) == 1


def test_figures_survive_a_reload_that_keeps_the_names(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    before = "routes: [{name: a, path: /a, service: all}]"
    running = gateway(before, all=echo)
    running.get("/a")
    running.apply("routes: [{name: a, path: /b, service: all}]", all=echo)
    running.get("/b")
    with pytest.raises(Exception, match="workers"):
        running.apply(before + "\nworkers: 2", all=echo)
    wait_until(lambda: Page.of(running.gateway).by("pylae_requests_total", "route") == {("a",): 2})
    assert Page.of(running.gateway).by("pylae_config_applies_total", "result") == {("applied",): 2, ("refused",): 1}


def test_reading_under_load_disturbs_nothing(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    running = gateway("workers: 2", all=echo)
    seen: list[float] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            seen.append(Page.of(running.gateway).value("pylae_requests_total", status="2xx"))
            running.gateway.summary()

    reader = threading.Thread(target=read)
    with Traffic(running.address) as traffic:
        reader.start()
        traffic.wait_for(2000)
        wait_until(lambda: len(seen) > 20)
    ended.set()
    reader.join()
    assert traffic.failures == []
    assert seen == sorted(seen)
    # Those that were given up for want of a connection were not counted by anybody.
    wait_until(lambda: Page.of(running.gateway).value("pylae_requests_total") == traffic.answered)
    assert Page.of(running.gateway).value("pylae_request_duration_seconds_count") == traffic.answered


class TestHealth:
    def test_by_the_share_of_errors(self, gateway: Callable[..., Running]) -> None:
        failing = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
        with RawInstance(*[OK] * 18, failing, OK, OK, failing, failing) as instance:
            running = gateway(orders=instance)
            assert running.gateway.health().status == "healthy"

            def after(count: int) -> str:
                for _ in range(count):
                    running.get("/")
                    running.get("/")
                wait_until(lambda: running.gateway.stats()["totals"]["in_flight"] == 0)
                return running.gateway.health().status

            # 1 of 20 is not over 5 %, 2 of 22 is, 6 of 26 is over 10 %.
            assert [after(10), after(1), after(2)] == ["healthy", "degraded", "unhealthy"]
            health = running.gateway.health()
            assert (health.requests, health.errors) == (26, 6)
            assert health.error_rate == pytest.approx(6 / 26)
            assert health.reasons == ("23.1% of 26 responses were errors (5xx), more than 0.1 of all: orders 6 of 26",)

    def test_thresholds_are_settings(self, gateway: Callable[..., Running]) -> None:
        config = "health: {degraded_errors: 0.5, unhealthy_errors: 1, degraded_duration: 0.000001, minimum_requests: 2}"
        with RawInstance(b"HTTP/1.1 503 Oops\r\nContent-Length: 0\r\n\r\n") as instance:
            running = gateway(config, orders=instance)
            running.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1)
            assert running.gateway.health().status == "healthy"
            running.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1)
            wait_until(lambda: running.gateway.health().requests == 2)
            health = running.gateway.health()
            # All of them is not more than all of them.
            assert health.status == "degraded"
            assert [reason.split(" more than ")[1][:6] for reason in health.reasons] == ["0.5 of", "1e-06 "]

    def test_requests_that_nobody_serves_do_not_count(self, gateway: Callable[..., Running]) -> None:
        with RawInstance(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n") as instance:
            running = gateway("routes: [{path: /a, service: orders}]", orders=instance)
            running.get("/a")
            for _ in range(30):
                running.get("/scan")
            wait_until(lambda: running.gateway.stats()["totals"]["by_class"][3] == 30)
            assert running.gateway.health().status == "unhealthy"


def test_instances_and_breakers(gateway: Callable[..., Running], dead_url: str, echo: EchoInstance) -> None:
    config = """
        services: {orders: {circuit_breaker: {failure_threshold: 2, timeout: 1h}}}
        routes: [{name: orders, prefix: /, service: orders, retries: 0}]
    """
    running = gateway(config, orders=dead_url, users=echo)
    assert [running.get().status for _ in range(3)] == [502, 502, 503]
    wait_until(lambda: Page.of(running.gateway).value("pylae_requests_total") == 3)
    page = Page.of(running.gateway)
    states = page.by("pylae_breaker_state", "service", "instance_url", "state")
    assert states == {("orders", "", "open"): 1, ("orders", "", "closed"): 0, ("orders", "", "half_open"): 0}
    assert page.value("pylae_instance_failures_total", service="orders") == 2
    assert page.value("pylae_instance_state", service="users", state="up") == 1
    assert page.by("pylae_halts_total", "code") == {("connect_failed",): 2, ("breaker_open",): 1}
    assert running.gateway.summary()["breakers"] == {"orders": "open"}


def test_an_open_breaker_says_so_and_why(gateway: Callable[..., Running], caplog: pytest.LogCaptureFixture) -> None:
    with RawInstance(b"HTTP/1.1 503 Oops\r\nContent-Length: 0\r\n\r\n") as instance:
        config = """
            services: {orders: {circuit_breaker: {failure_threshold: 2, timeout: 60s}}}
            routes: [{name: orders, prefix: /, service: orders, retries: 0}]
        """
        running = gateway(config, orders=instance)
        answers = [running.get() for _ in range(3)]
        assert [answer.status for answer in answers] == [503] * 3
        assert answers[2].one("retry-after") == "60"
        body = json.loads(answers[2].body)
        assert body["type"] == "urn:pylae:error:breaker_open"
        assert body["detail"] == "the service has failed too often of late, and gets no requests for a while"
        why = "2 failures in a row, the last: status 503"
        wait_until(lambda: f"orders: breaker opened: {why}; for 60 s" in caplog.messages)
        (service,) = running.gateway.stats()["services"]
        assert (service["breaker"]["state"], service["breaker"]["reason"]) == ("open", why)
        assert f"orders: the circuit breaker opened: {why}" in running.gateway.health().reasons
        # A probe would pass now.
        running.advance("61s")
        assert not any("breaker" in reason for reason in running.gateway.health().reasons)


def test_event_streams_and_websockets_are_not_slow(gateway: Callable[..., Running]) -> None:
    """How long they last is what their clients want. They are counted."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    with RawInstance() as instance:
        running = gateway("routes: [{name: all, prefix: /, service: all, idle_timeout: 1h}]", all=instance)
        with running.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            peer = instance.accept()
            peer.read_request()
            peer.send(head, b"8\r\ndata: 1\n\r\n")
            client.read_until(b"data: 1")
            running.advance("5m")
            peer.send(b"0\r\n\r\n")
            client.read_until(b"0\r\n\r\n")
        wait_until(lambda: Page.of(running.gateway).value("pylae_requests_total") == 1)
        assert Page.of(running.gateway).value("pylae_request_duration_seconds_count") == 0
        assert running.gateway.health().status == "healthy"


def test_hooks(echo: EchoInstance) -> None:
    gateway = hooked(echo.url)

    @gateway.on_request(routes=["orders"])
    def fails(request: Request) -> None:
        if request.path == "/orders/2":
            raise ValueError("no")

    with serves(gateway) as address:
        statuses = []
        for path in ("/orders/1", "/orders/2", "/orders/3", "/"):
            with Peer.connect(address) as peer:
                peer.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                statuses.append(peer.read_answer().status)
        assert statuses == [200, 500, 200, 200]
        page = Page.of(gateway)
        calls = page.by("pylae_hook_calls_total", "route", "hook")
        assert [(route, hook.rpartition(".")[2], count) for (route, hook), count in calls.items()] == [
            ("orders", "fails", 3)
        ]
        assert page.value("pylae_hook_failures_total", route="orders") == 1
        assert page.value("pylae_hook_timeouts_total") == 0
        assert 0 < page.value("pylae_hook_worker_seconds_total") < 10
