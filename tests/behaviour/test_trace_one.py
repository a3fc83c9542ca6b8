"""One exchange, step by step: who waits for it gets it, and a request with a token of the gateway is traced."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from pylae import Request
from pylae.cli import main
from support.admin import Admin
from support.exposition import Page
from support.hooked import hooked
from support.hooked import running as serves
from support.instance import OK, EchoInstance, RawInstance
from support.peer import wait_until
from support.tokens import SECRET, bearer, token

SHOP = f"""
auth: {{jwt: {{secret: "{SECRET}"}}}}
routes:
  - name: orders
    prefix: /orders
    service: all
    retries: 1
    rate_limit: {{limit: 3, per: 1h, key: ip}}
    cache: true
  - {{name: open, prefix: /open, service: all, auth_required: false}}
  - {{name: all, prefix: /, service: all, auth_required: false}}
"""
FIELD = "X-Pylae-Trace"
Document = dict[str, Any]


@contextmanager
def watching(api: Admin, query: str = "") -> Iterator[Iterator[Document]]:
    """Waits for exchanges; what is yielded gives their traces."""
    with api.http.stream("GET", f"/traces/watch?{query}") as response:
        assert response.status_code == 200, response.read()
        lines = response.iter_lines()
        assert next(lines) == ": watching"
        yield _traces(lines)


def _traces(lines: Iterator[str]) -> Iterator[Document]:
    event = ""
    for line in lines:
        key, _, value = line.partition(": ")
        if key == "event":
            event = value
        elif key == "data" and event == "trace":
            yield json.loads(value)
        elif key == "data":
            return


def pylae(api: Admin, *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"PYLAE_ADMIN": api.address, "PYLAE_ADMIN_TOKEN": api.token})


def kept(client: httpx.Client, name: str) -> Document:
    """A trace: the answer may arrive a moment before it is kept."""
    wait_until(lambda: client.get(f"/traces/{name}").status_code == 200)
    document: Document = client.get(f"/traces/{name}").json()
    return document


def by_name(policies: list[Document]) -> dict[str, Document]:
    return {policy["name"]: policy for policy in policies}


def test_every_stage_of_an_exchange_that_is_forwarded(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    with admin(SHOP, all=echo) as api, watching(api, "route=orders") as traces:
        api.running.get("/open")
        secret = token()
        api.running.get("/orders/7?token=qwerty&x=1", bearer(secret), "Cookie: a=b", "X-Tenant: blue")
        (trace,) = traces
        seen = trace["exchange"]
        assert (seen["method"], seen["path"], seen["status"], seen["complete"]) == ("GET", "/orders/7", 200, True)
        assert (trace["outcome"], trace["route"]["name"]) == ("route", "orders")
        assert {one["route"]: one["verdict"] for one in trace["considered"]} == {
            "orders": "chosen",
            "open": "path",
            "all": "shadowed",
        }
        policies = by_name(trace["policies"])
        assert policies["authentication"]["decision"] == policies["rate_limit"]["decision"] == "passed"
        assert all(policy["seconds"] >= 0 for policy in trace["policies"])
        assert policies["rate_limit"]["settings"]
        assert trace["service"]["name"] == "all"
        assert trace["service"]["how"] == f"picked {echo.url}"
        assert trace["cache"] == "miss"
        (attempt,) = (step for step in trace["steps"] if step["kind"] == "attempt")
        assert (attempt["name"], attempt["number"], attempt["connection"]) == (echo.url, 1, "kept")
        assert attempt["outcome"] == "status 200"
        times = [step["at"] for step in trace["steps"]]
        assert times == sorted(times) and all(0 <= at <= seen["duration"] for at in times)
        # What is masked in access logs is masked here too.
        assert dict(trace["request_headers"])["X-Tenant"] == "blue"
        assert secret not in json.dumps(trace) and "qwerty" not in json.dumps(trace) and "a=b" not in json.dumps(trace)
        # It is kept, and others can read it.
        assert api.get(f"/traces/{trace['id']}") == trace
        (listed,) = api.get("/traces")["traces"]
        assert (listed["id"], listed["path"], listed["route"], listed["status"]) == (
            trace["id"],
            "/orders/7",
            "orders",
            200,
        )
        assert api.http.get(f"/traces/{'0' * 32}").status_code == 404


@pytest.mark.parametrize(
    ("query", "fits", "does_not"),
    [
        ("method=POST", "POST /x", "GET /x"),
        ("path=/a/b", "GET /a/b", "GET /a/bc"),
        ("path=/a/*", "GET /a/b", "GET /b"),
        ("status=404", "GET /nowhere", "GET /open"),
        ("status=4xx", "GET /nowhere", "GET /open"),
        ("header=X-A", "GET / X-A: 1", "GET /"),
        ("header=X-A&header=host:%20a", "GET / X-A: 1", "GET /"),
        ("header=x-a:%20two", "GET / X-A: two", "GET / X-A: one"),
        ("route=open", "GET /open", "GET /"),
    ],
)
def test_which_exchanges_are_waited_for(admin: Callable[..., Admin], query: str, fits: str, does_not: str) -> None:
    answer = {"/nowhere": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"}

    def reply(peer: Any, request: Any) -> None:
        peer.send(answer.get(request.target, OK))

    with RawInstance(reply) as one, admin(SHOP, all=one) as api, watching(api, query) as traces:
        for asked in (does_not, fits):
            method, path, *field = asked.split(" ", 2)
            lines = "".join(f"{line}\r\n" for line in ("Host: a", "Content-Length: 0", *field))
            api.running.raw(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode(), 1, method=method)
        (trace,) = traces
        assert trace["exchange"]["method"] == fits.split(" ")[0]
        assert trace["exchange"]["path"] == fits.split(" ")[1]
        if len(fits.split(" ", 2)) == 3:
            assert fits.split(" ", 2)[2].split(": ") in trace["request_headers"]


def test_exchanges_that_end_early(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    with admin(SHOP, all=echo) as api, watching(api, "count=5") as traces:
        assert api.running.get("/orders/1").status == 401
        for _ in range(4):
            api.running.get("/orders/2", bearer(token()), "Cache-Control: no-store")
        refused, *passed, limited = traces
        policies = by_name(refused["policies"])
        assert policies["authentication"]["decision"].startswith("refused with 401")
        assert policies["rate_limit"]["decision"] == "was not reached"
        assert refused["service"]["how"] == "asked no instance"
        assert refused["upstream_path"] is None
        assert len(passed) == 3
        assert by_name(limited["policies"])["rate_limit"]["decision"] == "refused with 429 (rate_limited)"
        assert not [step for step in limited["steps"] if step["kind"] == "attempt"]


def test_attempts_and_an_answer_from_the_cache(admin: Callable[..., Admin], dead_url: str) -> None:
    fresh = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok"
    config = """
services: {all: {load_balancer: round_robin}}
routes: [{name: all, prefix: /, service: all, retries: 2, cache: true}]
"""
    with RawInstance(fresh) as one, admin(config, all=[dead_url, one.url]) as api, watching(api, "count=2") as traces:
        api.running.get("/x")
        api.running.get("/x")
        asked, stored = traces
        attempts = [step for step in asked["steps"] if step["kind"] == "attempt"]
        assert attempts[-1]["outcome"] == "status 200"
        assert [attempt["number"] for attempt in attempts] == list(range(1, len(attempts) + 1))
        assert (stored["cache"], by_name(stored["policies"])["cache"]["decision"]) == ("hit", "answered from the cache")
        assert not [step for step in stored["steps"] if step["kind"] == "attempt"]


def test_hooks_are_steps_and_never_see_the_token(echo: EchoInstance) -> None:
    gateway = hooked(echo.url, admin={"address": "127.0.0.1:0"})
    seen: list[str] = []

    @gateway.on_request(stage="early")
    def early(request: Request) -> None:
        seen.extend(name.lower() for name in request.headers)

    @gateway.on_request(routes=["orders"])
    def late(request: Request) -> None:
        seen.extend(name.lower() for name in request.headers)

    with serves(gateway) as address:
        assert gateway.admin is not None
        credential = {"Authorization": f"Bearer {gateway.admin.token}"}
        with httpx.Client(base_url=f"http://{gateway.admin.address}", headers=credential) as client:
            made = client.post("/traces", json={}).json()
            answer = httpx.get(f"http://{address}/orders/1", headers={FIELD: made["token"], "X-Other": "1"}).json()
            trace = kept(client, made["id"])
        assert "x-other" in seen and FIELD.lower() not in seen
        assert FIELD.lower() not in dict(answer["headers"])
        hooks = [step for step in trace["steps"] if step["kind"] == "hook"]
        assert [hook["name"].rpartition(".")[2] for hook in hooks] == ["early", "late"]
        assert [hook["early"] for hook in hooks] == [True, False]
        assert made["token"] not in json.dumps(trace)


def test_a_token_is_good_once_and_for_a_while(admin: Callable[..., Admin]) -> None:
    with RawInstance(OK) as one, admin(SHOP, all=one) as api:
        good, stale = api.post("/traces", seconds=60), api.post("/traces", seconds=1)
        assert (good["field"], len(good["id"])) == (FIELD, 32)
        assert api.http.get(f"/traces/{good['id']}").status_code == 404
        forged = good["token"][:-1] + ("0" if good["token"][-1] != "0" else "1")
        api.running.get("/open/forged", f"{FIELD}: {forged}")
        api.running.get("/open/twice", f"{FIELD}: {good['token']}", f"{FIELD}: {good['token']}")
        api.running.get("/open/odd", f"x_pylae_trace: {good['token']}")
        api.running.get("/open/good", f"{FIELD.lower()}: {good['token']}")
        api.running.get("/open/used", f"{FIELD}: {good['token']}")
        api.running.advance("2s")
        api.running.get("/open/stale", f"{FIELD}: {stale['token']}")
        assert kept(api.http, good["id"])["exchange"]["path"] == "/open/good"
        assert [one["path"] for one in api.get("/traces")["traces"]] == ["/open/good"]
        # Whatever it was, no instance got it.
        assert all(FIELD not in request and "x_pylae_trace" not in request for request in one.requests)
        assert good["token"].encode() not in one.received
        refused = Page(api.http.get("/metrics").text).by("pylae_trace_tokens_refused_total", "reason")
        assert refused == {("forged",): 2, ("stale",): 1, ("used",): 1}


@pytest.mark.parametrize("seconds", [0, 301, 1.5, True, "60", None])
def test_a_time_that_no_token_can_have(admin: Callable[..., Admin], echo: EchoInstance, seconds: object) -> None:
    with admin(SHOP, all=echo) as api:
        answer = api.http.post("/traces", json={"seconds": seconds})
        assert (answer.status_code, "seconds" in answer.text) == (422, True)
        assert api.http.post("/traces", json={"seconds": 60.0}).status_code == 201


def test_tokens_and_traces_need_their_scope(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    with admin(SHOP, all=echo) as api:
        reader = api.post("/tokens", name="reader", scopes=["read"])["secret"]
        with httpx.Client(base_url=f"http://{api.address}", headers={"Authorization": f"Bearer {reader}"}) as client:
            assert client.get("/costs").status_code == 200
            assert client.get("/traces").status_code == 403
            assert client.get("/traces/watch").status_code == 403
            assert client.post("/traces", json={}).status_code == 403
        for query in ("status=6xx", "count=0", "count=101", "timeout=0", "timeout=4000"):
            assert api.http.get(f"/traces/watch?{query}").status_code == 422, query


def test_a_watch_ends_with_its_time_and_costs_nothing_then(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    with admin(SHOP, all=echo) as api:
        with watching(api, "route=nothing&timeout=0.1") as traces:
            assert list(traces) == []
        api.running.get("/open")
        assert api.get("/traces")["traces"] == []


def test_the_command(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    with admin(SHOP, all=echo) as api:
        told: list[Result] = []
        waiting = threading.Thread(target=lambda: told.append(pylae(api, "trace", "--route", "orders")))
        waiting.start()
        while waiting.is_alive():
            api.running.get("/orders/9", bearer(token()))
        (result,) = told
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert re.match(r"GET /orders/9 from 127\.0\.0\.1  (200|429 \(rate_limited\)) in [0-9.]+ (µs|ms|s)", lines[0])
        assert any(line.startswith("Route orders") for line in lines)
        assert any(line.split()[:2] == ["authentication", "passed"] for line in lines)
        assert "Step by step" in lines
        name = re.search(r"trace ([0-9a-f]{32})", result.stdout)
        assert name
        assert pylae(api, "trace", name[1]).stdout == result.stdout
        everything = pylae(api, "trace", name[1], "--all").stdout
        assert "Fields of the request" in everything and "Authorization: ***" in everything
        assert json.loads(pylae(api, "trace", name[1], "--json").stdout)["id"] == name[1]
        late = pylae(api, "trace", "--path", "/never", "--timeout", "0.2")
        assert late.exit_code == 3 and "no request that fits came within 0.2 s" in late.output


def test_the_command_that_has_one_request_traced(admin: Callable[..., Admin], echo: EchoInstance) -> None:
    with admin(SHOP, all=echo) as api:
        printed = pylae(api, "trace", "--token")
        name = printed.stderr.split()[-1]
        api.running.get("/open/me", printed.stdout.strip())
        kept(api.http, name)
        assert "GET /open/me" in pylae(api, "trace", name).stdout
        curl = pylae(api, "trace", "--curl", f"http://{api.running.address}/a?b=c&d")
        assert re.fullmatch(r"curl -H 'X-Pylae-Trace: \S+' 'http://\S+'\n", curl.stdout)
        assert set(json.loads(pylae(api, "trace", "--token", "--json").stdout)) == {"id", "field", "token", "expires"}
