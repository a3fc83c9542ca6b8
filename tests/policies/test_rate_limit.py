from __future__ import annotations

import contextlib
import json
import queue
import re
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from pylae import ConfigError, EngineError, Gateway, engine
from support.instance import OK, EchoInstance, RawInstance
from support.peer import PATIENCE, Message, Peer, wait_until
from support.running import Running, configure
from support.tokens import SECRET, bearer, token

GET = b"GET %s HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
TENANT = "X-Tenant: {}"
BEHIND = "X-Forwarded-For: "

Start = Callable[..., Running]


def routes(*limits: Any, **more: Any) -> dict[str, Any]:
    """A configuration with one route for each limit: /0, /1 and so on."""
    written = [
        {"name": f"r{index}", "prefix": f"/{index}", "service": "users", "rate_limit": limit}
        for index, limit in enumerate(limits)
    ]
    return {"routes": written, **more}


def got(running: Running, *requests: tuple[str, ...]) -> str:
    """One letter for each request, a target with fields: `+` for admitted, `-` for refused."""
    answers = [running.get(target, *fields) for target, *fields in requests]
    assert {answer.status for answer in answers} <= {200, 429}
    return "".join("+" if answer.status == 200 else "-" for answer in answers)


def figures(answer: Message) -> dict[str, dict[str, int]]:
    """`RateLimit` as a mapping."""
    value = answer.one("ratelimit")
    assert value is not None
    parts = [item.split(";") for item in value.split(", ")]
    return {
        name.strip('"'): {key: int(text) for key, text in (part.split("=") for part in rest)} for name, *rest in parts
    }


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "fixed_window"])
@pytest.mark.parametrize("limit", [7, 50])
def test_exactly_n_of_a_burst_of_ten_n(gateway: Start, echo: EchoInstance, algorithm: str, limit: int) -> None:
    """8 clients at once over 2 workers: no worker has a limit of its own, and none is given twice."""
    running = gateway(routes({"limit": limit, "per": "30d", "algorithm": algorithm}, workers=2), users=echo)
    count, clients = limit * 10, 8
    start, statuses = threading.Barrier(clients), Counter[int]()

    def client(share: int) -> None:
        found: Counter[int] = Counter()
        with running.connect() as peer:
            start.wait()
            for _ in range(share):
                peer.send(GET % b"/0")
                found[peer.read_answer().status] += 1
        with lock:
            statuses.update(found)

    lock = threading.Lock()
    shares = [count // clients + (number < count % clients) for number in range(clients)]
    threads = [threading.Thread(target=client, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {200: limit, 429: count - limit}


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "fixed_window"])
def test_waiting_for_retry_after_is_enough(gateway: Start, echo: EchoInstance, algorithm: str) -> None:
    running = gateway(routes({"limit": 3, "per": "1h", "algorithm": algorithm}), users=echo)
    with running.connect() as peer:

        def ask() -> Message:
            peer.send(GET % b"/0")
            return peer.read_answer()

        while (refused := ask()).status == 200:
            pass
        assert refused.status == 429
        wait = int(refused.one("retry-after") or "")
        assert 0 < wait <= 3600
        running.advance(wait)
        assert ask().status == 200


def test_a_refusal_says_what_happened(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(routes({"limit": 1, "per": "1h", "burst": 2}), users=echo)
    answers = [running.get("/0") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert {answer.one("ratelimit-policy") for answer in answers} == {'"default";q=1;w=3600'}
    assert [figures(answer)["default"]["r"] for answer in answers] == [1, 0, 0]
    refused = answers[-1]
    assert 0 < int(refused.one("retry-after") or "") <= 3600
    assert figures(refused)["default"]["t"] <= 7200
    assert refused.one("content-type") == "application/problem+json"
    problem = json.loads(refused.body)
    assert problem["type"] == "urn:pylae:error:rate_limited"
    assert (problem["status"], problem["instance"]) == (429, "/0")
    assert problem["detail"] == problem["error"] == "too many requests"
    assert echo.count == 2


def test_answers_of_the_gateway_carry_the_fields_too(gateway: Start) -> None:
    with RawInstance() as nobody:
        url = nobody.url
    running = gateway(routes(5), users=url)
    answer = running.get("/0")
    assert answer.status == 502
    assert figures(answer) == {"default": {"r": 4, "t": 12}}


def test_headers_can_be_left_out(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(routes({"limit": 1, "headers": False}, [{"limit": 1, "headers": False}, 5]), users=echo)
    for answer in (running.get("/0"), running.get("/0")):
        assert "ratelimit" not in answer
        assert "ratelimit-policy" not in answer
        assert ("retry-after" in answer) == (answer.status == 429)
    assert list(figures(running.get("/1"))) == ["default-2"]


def test_several_limits_are_all_or_nothing(gateway: Start, echo: EchoInstance) -> None:
    limits = [
        {"name": "second", "limit": 2, "per": "1d", "key": "header:X-Tenant"},
        {"name": "day", "limit": 5, "per": "1d", "key": "global", "algorithm": "fixed_window"},
        {"name": "hour", "limit": 100, "per": "1h", "key": "global", "algorithm": "sliding_window"},
    ]
    running = gateway(routes(limits), users=echo)
    for _ in range(4):
        last = running.get("/0", TENANT.format("a"))
    assert last.status == 429
    assert last.one("ratelimit-policy") == '"second";q=2;w=86400, "day";q=5;w=86400, "hour";q=100;w=3600'
    assert {name: left["r"] for name, left in figures(last).items()} == {"second": 0, "day": 3, "hour": 98}
    assert got(running, *[("/0", TENANT.format(name)) for name in "bbcd"]) == "+++-"


@pytest.mark.parametrize(
    ("key", "requests", "expected"),
    [
        ("header:X-Tenant", ["x-tenant: a", "X-TENANT: b", "X-Tenant: a", "", ""], "++-+-"),
        ("ip", [BEHIND + "192.0.2.1", BEHIND + "192.0.2.2", BEHIND + "192.0.2.1"], "++-"),
        ("ip", [BEHIND + "2001:db8::1", BEHIND + "2001:db8::ffff:1", BEHIND + "2001:db8:0:1::1"], "+-+"),
        ("auto", [BEHIND + "192.0.2.1", BEHIND + "::ffff:192.0.2.1", ""], "+-+"),
        ("route", [BEHIND + "192.0.2.1", "", "/1"], "+-+"),
        ("global", [TENANT.format("a"), BEHIND + "192.0.2.1", "/1"], "+-+"),
        ("user", ["X-User-ID: 1", "X-User-ID: 2"], "+-"),
        (
            "ip+header:x-tenant",
            ["X-Tenant: a", "X-Tenant: b", "X-Tenant: a", BEHIND + "192.0.2.1\r\nX-Tenant: a"],
            "++-+",
        ),
    ],
)
def test_keys(gateway: Start, echo: EchoInstance, key: str, requests: list[str], expected: str) -> None:
    """Each request is a field, or the target `/1`."""
    limit = {"limit": 1, "per": "1d", "key": key}
    running = gateway(routes(limit, limit, trusted_proxies=["127.0.0.1"]), users=echo)
    asked = [(text,) if text.startswith("/") else ("/0", *filter(None, text.split("\r\n"))) for text in requests]
    assert got(running, *asked) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        # Wherever they ask from, users have a share each; whoever is nobody shares one.
        ("user", "+-++-"),
        # Whoever is nobody has that of the address.
        ("auto", "+-+++"),
        ("user+ip", "++++-"),
    ],
)
def test_keys_of_users(gateway: Start, echo: EchoInstance, key: str, expected: str) -> None:
    limit = {"limit": 1, "per": "1d", "key": key}
    configuration = routes(limit, trusted_proxies=["127.0.0.1"], auth={"jwt": {"secret": SECRET}})
    configuration["routes"][0].update(auth_required=False, auth="jwt")
    running = gateway(configuration, users=echo)
    seven, eight = bearer(token(sub="7")), bearer(token(sub="8"))
    here, there = BEHIND + "192.0.2.1", BEHIND + "192.0.2.2"
    asked = [("/0", seven, here), ("/0", seven, there), ("/0", eight, here), ("/0", here)]
    # The last is a stranger: from elsewhere, or where the address counts beside, from the same place.
    asked.append(("/0", here) if key == "user+ip" else ("/0", there))
    assert got(running, *asked) == expected
    assert running.get("/0", bearer("not-a-token"), there).status == 401


def test_an_address_that_only_the_client_claims_does_not_count(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(routes({"limit": 1, "key": "ip"}), users=echo)
    assert got(running, ("/0", "X-Forwarded-For: 192.0.2.1"), ("/0", "X-Forwarded-For: 192.0.2.2")) == "+-"


def test_routes_that_count_together(gateway: Start, echo: EchoInstance) -> None:
    shared = {"limit": 2, "per": "1d", "per_route": False}
    running = gateway(routes(shared, shared, {**shared, "name": "other"}), users=echo)
    assert got(running, ("/0",), ("/1",), ("/0",), ("/2",)) == "++-+"


def test_for_all_routes(gateway: Start, echo: EchoInstance) -> None:
    """Under `policies` a limit goes for every route, each on its own, unless the route says otherwise."""
    configuration = routes(None, None, 3, False, policies={"rate_limit": 1})
    running = gateway(configuration, users=echo)
    assert got(running, ("/0",), ("/0",), ("/1",), ("/2",), ("/2",), ("/3",), ("/3",)) == "+-+++++"


def test_costs(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(routes({"limit": 10, "per": "1d", "cost": 4}), users=echo)
    answers = [running.get("/0") for _ in range(3)]
    assert [(answer.status, figures(answer)["default"]["r"]) for answer in answers] == [(200, 6), (200, 2), (429, 2)]


def test_a_reload_keeps_the_counts_and_a_new_limit_the_share_used(gateway: Start, echo: EchoInstance) -> None:
    def limit(of: int) -> dict[str, Any]:
        return routes({"limit": of, "per": "30d"})

    running = gateway(limit(10), users=echo)
    assert got(running, *[("/0",)] * 5) == "+++++"
    running.apply(limit(10), users=echo)
    assert figures(running.get("/0"))["default"]["r"] == 4
    running.apply(limit(100), users=echo)
    assert figures(running.get("/0"))["default"]["r"] == 39
    running.apply(limit(5), users=echo)
    assert figures(running.get("/0"))["default"]["r"] == 0
    assert got(running, ("/0",)) == "-"


def test_concurrency(gateway: Start) -> None:
    held: queue.SimpleQueue[Peer] = queue.SimpleQueue()

    def answer(peer: Peer, request: Message) -> None:
        if "hold" in request.target:
            held.put(peer)
        else:
            peer.send(OK)

    with RawInstance(answer) as users:
        running = gateway(routes({"concurrency": 2, "limit": 100, "key": "ip"}), users=users)
        clients = [running.connect() for _ in range(2)]
        waiting = []
        for client in clients:
            client.send(GET % b"/0?hold")
            waiting.append(held.get(timeout=PATIENCE))
        refused = running.get("/0")
        assert refused.status == 429
        assert refused.one("retry-after") == "1"
        assert refused.one("ratelimit-policy") == '"default";q=100;w=60, "concurrency";q=2;qu="concurrent-requests"'
        assert figures(refused) == {"concurrency": {"r": 0}}
        assert json.loads(refused.body)["detail"] == "too many requests at the same time"
        # The head of an answer alone does not end the exchange.
        waiting[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        clients[0].read_head()
        assert running.get("/0").status == 429
        waiting[0].send(b"ok")
        clients[0].read(2)
        wait_until(lambda: running.get("/0").status == 200)
        assert figures(running.get("/0"))["concurrency"]["r"] == 0
        # A client that goes away gives its place back, whatever the instance does.
        clients[1].reset()
        wait_until(lambda: figures(running.get("/0"))["concurrency"]["r"] == 1)
        clients[0].close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_keeps_the_places_that_are_taken(gateway: Start, workers: int) -> None:
    held: queue.SimpleQueue[Peer] = queue.SimpleQueue()

    def answer(peer: Peer, request: Message) -> None:
        held.put(peer) if "hold" in request.target else peer.send(OK)

    def limit(count: int) -> dict[str, Any]:
        return routes({"concurrency": count, "key": "ip"}, workers=workers)

    with RawInstance(answer) as users, contextlib.ExitStack() as clients:
        running = gateway(limit(2), users=users)
        waiting = []
        for _ in range(2):
            client = clients.enter_context(running.connect())
            client.send(GET % b"/0?hold")
            waiting.append((client, held.get(timeout=PATIENCE)))
        running.apply(limit(2), users=users)
        assert running.get("/0").status == 429
        running.apply(limit(3), users=users)
        assert figures(running.get("/0")) == {"concurrency": {"r": 0}}
        running.apply(limit(1), users=users)
        assert running.get("/0").status == 429
        # Those that began under another configuration give their places back, and nothing twice.
        for client, instance in waiting:
            assert running.get("/0").status == 429
            instance.send(OK)
            assert client.read_answer().status == 200
        wait_until(lambda: running.get("/0").status == 200)
        running.apply(limit(5), users=users)
        assert figures(running.get("/0")) == {"concurrency": {"r": 4}}


@pytest.mark.parametrize("connections", [1, 8])
def test_places_come_back_in_any_number(gateway: Start, echo: EchoInstance, connections: int) -> None:
    running = gateway(routes({"concurrency": connections, "key": "ip"}), users=echo)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(running.connect()) for _ in range(connections)]
        for _ in range(20):
            for peer in peers:
                peer.send(GET % b"/0")
            assert [peer.read_answer().status for peer in peers] == [200] * connections
            for peer in peers:
                # On a connection that stays open, too, an exchange is over when its answer is out.
                assert figures(running.get("/0"))["concurrency"]["r"] == connections - 1, peer


def test_before_authentication(gateway: Start, echo: EchoInstance) -> None:
    configuration = routes(2, 2, policies={"address_limit": {"limit": 3, "per": "1d", "per_route": False}})
    running = gateway(configuration, users=echo)
    answers = [running.get(target) for target in ("/0", "/0", "/0", "/1")]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert answers[0].all("ratelimit-policy") == ['"default";q=3;w=86400', '"default";q=2;w=60']
    assert answers[3].all("ratelimit-policy") == ['"default";q=3;w=86400']


def test_explain_takes_nothing(echo: EchoInstance) -> None:
    gateway = Gateway(**configure(routes([{"limit": 1, "key": "ip"}, "10/s"]), users=echo))
    question = {"method": "GET", "target": "/0", "headers": [["Host", "a"]], "client": "192.0.2.1", "secure": False}
    for _ in range(2):
        answer = engine.explain(json.dumps(gateway.plan()), json.dumps(question))
        assert answer["policies"] == [
            {
                "name": "rate_limit",
                "decision": "admits (`default`: 1 per 60s by ip, 1 left; `default-2`: 10 per 1s by auto, 10 left)",
            }
        ]
    assert echo.count == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cost": 11}, "limits[0].cost"),
        ({"per": 4e8}, "limits[0].per"),
        ({"key": ["cookie"]}, "header:NAME"),
        ({"key": []}, "limits[0].key"),
        ({"algorithm": "leaky"}, "leaky"),
        ({"burst": 5, "algorithm": "sliding_window"}, "limits[0].burst"),
        ({"limit": 2**32}, "limit"),
        ({"limits": 1}, "limits"),
    ],
)
def test_the_native_side_refuses_what_is_wrong(gateway: Start, echo: EchoInstance, change: Any, words: str) -> None:
    """What Python would not let through is refused here too, and what was in force stays."""
    running = gateway(routes({"limit": 10}), users=echo)
    plan = running.gateway.plan()
    plan["routes"][0]["policies"]["rate_limit"]["limits"][0].update(change)
    assert running.gateway.engine is not None
    with pytest.raises(EngineError, match=re.escape(words)):
        running.gateway.engine.apply(json.dumps(plan))
    assert running.get("/0").status == 200


def test_a_bad_configuration_is_refused(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(routes(1), users=echo)
    assert got(running, ("/0",)) == "+"
    with pytest.raises(ConfigError, match="`cost` is larger than the limit"):
        running.apply(routes({"limit": 5, "cost": 6}), users=echo)
    with pytest.raises(ConfigError, match="and other values"):
        running.apply(routes({"limit": 5, "per_route": False}, {"limit": 6, "per_route": False}), users=echo)
    assert got(running, ("/0",)) == "-"
