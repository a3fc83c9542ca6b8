"""What policies and hooks cost: in the metrics, in `GET /costs`, in `pylae top` and, over its budget, in `/health`."""

from __future__ import annotations

import asyncio
import http.client
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from pylae import HTTPError, Request
from pylae.cli import main
from support.admin import Admin
from support.exposition import Page
from support.hooked import hooked, until
from support.hooked import running as serves
from support.instance import EchoInstance, RawInstance
from support.peer import wait_until
from support.tokens import SECRET, bearer, token

SHOP = f"""
auth: {{jwt: {{secret: "{SECRET}"}}}}
routes:
  - name: orders
    prefix: /orders
    service: all
    rate_limit: {{limit: 6, per: 1h, key: ip}}
  - {{name: moved, prefix: /moved, redirect: {{to: /orders}}, auth_required: false}}
"""


def costs(api: Admin, path: str = "/costs") -> dict[tuple[str, str], dict[str, Any]]:
    """What is told, by route and name."""
    return {(one["route"], one["name"]): one for one in api.get(path)["costs"]}


def over(requests: Callable[[], int], count: int) -> None:
    """Waits until so many exchanges were counted: an answer may arrive a moment before that."""
    wait_until(lambda: requests() >= count)


def ask(address: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("GET", "/orders/1")
        connection.getresponse().read()
    finally:
        connection.close()


def test_policies_by_route_with_what_they_refused(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    user = bearer(token())
    with admin(SHOP, all=echo) as api:
        for _ in range(8):
            api.running.get("/orders/1", user)
        for _ in range(3):
            assert api.running.get("/orders/1").status == 401
        assert api.running.get("/moved").status == 308
        over(lambda: api.get("/metrics/summary")["requests"], 12)
        told = costs(api)
        # The first exchanges of a gateway are all timed, so the estimates are exact.
        identity, limit = told["orders", "authentication"], told["orders", "rate_limit"]
        assert (identity["calls"], identity["rejections"], identity["failures"]) == (11, 3, 0)
        assert (limit["calls"], limit["rejections"], limit["over_budget"]) == (8, 2, 0)
        moved = told["moved", "redirect"]
        assert (moved["calls"], moved["kind"], moved["hook"]) == (1, "policy", None)
        assert identity["seconds"] > 0
        assert all(one["recent"]["calls"] == one["calls"] for one in told.values())
        assert sum(one["share"] for one in told.values()) == pytest.approx(1)
        assert set(costs(api, "/costs?route=moved")) == {key for key in told if key[0] == "moved"}
        assert len(costs(api, "/costs?most=2")) == 2
        page = Page(api.http.get("/metrics").text)
        labels = {"route": "orders", "policy": "rate_limit"}
        assert page.value("pylae_policy_runs_total", **labels) == 8
        assert page.value("pylae_policy_rejections_total", **labels) == 2
        assert page.value("pylae_policy_seconds_total", **labels) > 0


def test_what_changes_a_body_is_the_cost_of_its_policy(admin: Callable[..., Admin]) -> None:
    body = bytes(65 + index * index % 57 for index in range(400_000))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 400000\r\n\r\n"
    with RawInstance(head + body) as one, admin("policies: {compression: true}", all=one) as api:
        answer = api.running.get("/", "Accept-Encoding: gzip")
        assert answer.one("content-encoding") == "gzip"
        over(lambda: api.get("/metrics/summary")["requests"], 1)
        dearest, *others = api.get("/costs")["costs"]
        # Half a megabyte takes far longer to compress than it takes to decide on it.
        assert (dearest["name"], dearest["calls"]) == ("compression", 1)
        assert dearest["seconds"] > sum(one["seconds"] for one in others)


def test_a_policy_that_waits_for_another_place(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    def slow(peer: Any, _: object) -> None:
        time.sleep(0.03)
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with RawInstance(slow) as asked:
        config = f"""
auth: {{forward_auth: {{url: "{asked.url}/"}}}}
routes: [{{name: all, prefix: /, service: all}}]
"""
        with admin(config, all=echo) as api:
            assert api.running.get("/", "Authorization: Bearer x").status == 403
            over(lambda: api.get("/metrics/summary")["requests"], 1)
            one = costs(api)["all", "authentication"]
            assert (one["calls"], one["rejections"]) == (1, 1)
            assert one["waited"] >= 0.03
            assert Page(api.http.get("/metrics").text).value("pylae_policy_wait_seconds_total", route="all") >= 0.03


def test_a_hook_over_its_budget_is_seen_everywhere(echo: EchoInstance, caplog: pytest.LogCaptureFixture) -> None:
    gateway = hooked(echo.url, admin={"address": "127.0.0.1:0"})

    @gateway.on_request(routes=["orders"], budget="1ms")
    def dawdle(_request: Request) -> None:
        end = time.perf_counter() + 0.004
        while time.perf_counter() < end:
            pass

    @gateway.on_request(routes=["orders"], budget=None)
    def refuse(_request: Request) -> None:
        raise HTTPError(403, "no")

    def top(*options: str) -> str:
        assert gateway.admin is not None
        remote = {"PYLAE_ADMIN": gateway.admin.address, "PYLAE_ADMIN_TOKEN": gateway.admin.token}
        return CliRunner().invoke(main, ["top", *options], env=remote).stdout

    def reasons() -> list[str]:
        return [reason for reason in gateway.health().reasons if "dawdle" in reason]

    with serves(gateway) as address:
        # At first by its calls, and in the end because it is moved: a machine that is busy may do so at once.
        until(lambda: ask(address) or reasons())
        assert gateway.health().status == "degraded"
        (sentence,) = reasons()
        told = re.search(
            r"dawdle on route orders kept a worker longer than its budget of 1ms in (\d+) of its", sentence
        )
        assert told
        overruns = Page(gateway.metrics()).by("pylae_hook_over_budget_total", "route", "hook")
        (name,) = (hook for (_, hook), count in overruns.items() if count)
        assert (overruns["orders", name], name.rpartition(".")[2]) == (int(told[1]), "dawdle")
        (row,) = (line for line in top("--once").splitlines() if "dawdle" in line)
        assert row.split()[:3] == ["hook", name, "orders"]
        assert "SERVICE" not in top("--costs")
        until(lambda: ask(address) or "was moved off the workers" in reasons()[0])
        assert "moved off the workers" in top("--costs")
        wait_until(lambda: any("longer than its budget of 1ms" in record.message for record in caplog.records))
    # The first overrun is in the log, and the others of that minute are not.
    assert sum("kept a worker for" in record.message for record in caplog.records) == 1


def test_the_time_of_a_hook_that_runs_elsewhere(echo: EchoInstance) -> None:
    gateway = hooked(echo.url)

    @gateway.on_request(routes=["orders"])
    async def waits(_request: Request) -> None:
        await asyncio.sleep(0.02)

    @gateway.on_request(routes=["orders"], blocking=True)
    def fails(_request: Request) -> None:
        raise ValueError("broken")

    with serves(gateway) as address:
        ask(address)
        over(lambda: gateway.summary()["requests"], 1)
        told = {one["name"].rpartition(".")[2]: one for one in gateway.runtime.engine.costs()["costs"]}
        assert (told["waits"]["calls"], told["waits"]["failures"], told["waits"]["over_budget"]) == (1, 0, 0)
        assert told["waits"]["waited"] >= 0.02
        assert (told["fails"]["kind"], told["fails"]["failures"]) == ("hook", 1)


def test_policies_before_the_route(echo: EchoInstance) -> None:
    gateway = hooked(echo.url, policies={"ip_access": {"deny": ["127.0.0.2"]}})

    @gateway.on_request(stage="early")
    def nothing(_request: Request) -> None: ...

    with serves(gateway) as address:
        ask(address)
        over(lambda: gateway.summary()["requests"], 1)
        told = {(one["route"], one["name"]): one for one in gateway.runtime.engine.costs()["costs"]}
        assert told["", "ip_access"]["calls"] == 1
        (hook,) = (one for (route, name), one in told.items() if not route and name.endswith("nothing"))
        assert (hook["kind"], hook["calls"]) == ("hook", 1)
