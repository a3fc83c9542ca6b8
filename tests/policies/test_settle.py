"""Reserve an estimate, settle the truth: `rate_limit: {cost, settle}`."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

import pytest

from pylae import ConfigError, Gateway, HookError, Request, Response
from pylae.testing import StartedGateway
from support.instance import OK, RawInstance
from support.peer import PATIENCE, Message, Peer, wait_until
from support.running import Running, configure

Start = Callable[..., Running]

REQUEST = b"GET %s HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
FULL, ESTIMATE = 100, 40


def budget(**more: Any) -> dict[str, Any]:
    return {"limit": FULL, "per": "30d", "cost": ESTIMATE, "settle": "header:X-Tokens-Used", **more}


def routes(limit: Any, **more: Any) -> dict[str, Any]:
    return {"routes": [{"name": "ask", "prefix": "/", "service": "model", "rate_limit": limit, **more}]}


def stated(*costs: object) -> bytes:
    fields = "".join(f"X-Tokens-Used: {cost}\r\n" for cost in costs)
    return f"HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok".encode()


def answering(answer: Callable[[Peer, Message], None] | bytes) -> RawInstance:
    """An instance that answers like this, but for what `left` asks."""

    def choose(peer: Peer, request: Message) -> None:
        if request.target == "/look":
            peer.send(stated(0))
        elif callable(answer):
            answer(peer, request)
        else:
            peer.send(answer)

    return RawInstance(choose)


def left(running: Running, name: str = "default", cost: int = ESTIMATE) -> int:
    """What is left of the limit. The request that shows it costs nothing in the end."""
    answer = running.get("/look")
    found = re.search(rf'"{name}";r=(\d+)', answer.one("ratelimit") or "")
    assert found
    return int(found[1]) + (cost if answer.status == 200 else 0)


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "fixed_window"])
@pytest.mark.parametrize(("cost", "charged"), [(0, 0), (7, 7), (ESTIMATE, ESTIMATE), (70, 70), (100, 100)])
def test_the_true_cost_is_charged(gateway: Start, algorithm: str, cost: int, charged: int) -> None:
    with answering(stated(cost)) as model:
        running = gateway(routes(budget(algorithm=algorithm)), model=model)
        answer = running.get()
        assert (answer.status, answer.body) == (200, b"ok")
        assert "x-tokens-used" not in answer
        assert left(running) == FULL - charged


def test_debt_is_at_most_one_limit(gateway: Start) -> None:
    with answering(stated(10**30)) as model:
        running = gateway(routes(budget(per="1m")), model=model)
        assert running.get().status == 200
        refused = running.get()
        assert refused.status == 429
        # All that is beyond the limit, and the estimate.
        assert 60 < int(refused.one("retry-after") or 0) <= 84


@pytest.mark.parametrize(
    "answer",
    [OK, stated(-5), stated("many"), stated(""), stated("1.5"), stated("+1"), stated(1, 2), stated("0x10")],
    ids=["absent", "negative", "word", "empty", "fraction", "sign", "twice", "hexadecimal"],
)
def test_the_estimate_stays_without_a_number(gateway: Start, answer: bytes) -> None:
    with answering(answer) as model:
        running = gateway(routes(budget()), model=model)
        client = running.get()
        assert client.status == 200
        assert "x-tokens-used" not in client
        assert left(running) == FULL - ESTIMATE


def test_several_limits_have_costs_of_their_own(gateway: Start) -> None:
    def answer(peer: Peer, _: Message) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nX-Tokens-Used: 3\r\nX-Pages: 1\r\nContent-Length: 0\r\n\r\n")

    limits = [
        {"name": "requests", "limit": 50, "per": "30d"},
        budget(name="tokens"),
        budget(name="day", algorithm="fixed_window", cost=20),
        {
            "name": "pages",
            "limit": 10,
            "per": "30d",
            "cost": 4,
            "settle": "header:x-pages",
            "algorithm": "sliding_window",
        },
    ]
    with RawInstance(answer) as model:
        running = gateway(routes(limits), model=model)
        for _ in range(3):
            answer_ = running.get()
            assert answer_.status == 200
            assert not {"x-tokens-used", "x-pages"} & {name for name, _ in answer_.fields}
        last = running.get().one("ratelimit") or ""
        assert re.findall(r'"(\w+)";r=(\d+)', last) == [
            ("requests", "46"),
            ("tokens", str(FULL - 9 - ESTIMATE)),
            ("day", str(FULL - 9 - 20)),
            ("pages", "3"),
        ]


def test_all_comes_back_if_nothing_was_sent(gateway: Start, dead_url: str) -> None:
    """Refused by a later policy, answered by the gateway itself, no instance, and no connection to one."""
    with answering(OK) as model:
        more = {"validation": {"max_body": 1}}
        running = gateway(routes(budget(), **more), model=model)
        assert running.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", 1)[0].status == 413
        assert left(running) == FULL
        assert running.raw(b"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", 1)[0].status == 204
        assert left(running) == FULL
        assert {request.target for request in model.requests} == {"/look"}
    running = gateway(routes(budget()), model=dead_url)
    assert [running.get().status for _ in range(4)] == [502] * 4, "none was refused: all came back"


def test_an_open_breaker_and_refused_limits_cost_nothing(gateway: Start) -> None:
    breaker = {"failure_threshold": 1, "timeout": "1h"}
    with RawInstance(b"HTTP/1.1 500 No\r\nX-Tokens-Used: 0\r\nContent-Length: 0\r\n\r\n") as model:
        limits = [budget(), {"name": "few", "limit": 6, "per": "30d"}]
        configuration = {**routes(limits, retries=0), "services": {"model": {"circuit_breaker": breaker}}}
        running = gateway(configuration, model=model)
        statuses = [running.get().status for _ in range(8)]
        assert statuses[:6] == [500, 503, 503, 503, 503, 503]
        assert statuses[6:] == [429, 429]
        last = running.get().one("ratelimit") or ""
        assert f'"default";r={FULL}' in last


def test_answers_from_the_cache_cost_nothing(gateway: Start) -> None:
    def answer(peer: Peer, _: Message) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX-Tokens-Used: 7\r\nContent-Length: 2\r\n\r\nok")

    with RawInstance(answer) as model:
        running = gateway(routes(budget(), cache={}), model=model)
        answers = [running.get("/page") for _ in range(5)]
        assert [answer.status for answer in answers] == [200] * 5
        assert not any("x-tokens-used" in answer for answer in answers)
        assert len(model.requests) == 1
        last = answers[-1].one("ratelimit") or ""
        assert f"r={FULL - 7 - ESTIMATE};" in last


def test_the_estimate_stays_for_a_client_that_leaves(gateway: Start) -> None:
    """Before the response, and while it is sent."""
    arrived, gone = threading.Event(), threading.Event()

    def answer(peer: Peer, request: Message) -> None:
        if request.target == "/slow":
            arrived.set()
            peer.read_all()
            gone.set()
            return
        peer.send(b"HTTP/1.1 200 OK\r\nX-Tokens-Used: 3\r\nContent-Length: 1000000000\r\n\r\n" + b"a" * 10_000)

    with answering(answer) as model:
        running = gateway(routes(budget()), model=model)
        with running.connect() as client:
            client.send(REQUEST % b"/slow")
            assert arrived.wait(PATIENCE)
        assert gone.wait(PATIENCE)
        assert left(running) == FULL - ESTIMATE
        with running.connect() as client:
            client.send(REQUEST % b"/large")
            client.read_until(b"aaaa")
            # The head said what it cost.
            assert left(running) == FULL - ESTIMATE - 3


def test_the_estimate_stays_for_an_instance_that_fails_or_is_too_slow(gateway: Start) -> None:
    def answer(peer: Peer, request: Message) -> None:
        if request.target == "/broken":
            peer.reset()

    with answering(answer) as model:
        running = gateway(routes(budget(), timeout="200ms", retries=0), model=model)
        assert running.get("/slow").status == 504
        assert left(running) == FULL - ESTIMATE
        assert running.get("/broken").status == 502
        assert left(running) == FULL - 2 * ESTIMATE


def test_retries_reserve_once(gateway: Start) -> None:
    asked = []

    def answer(peer: Peer, request: Message) -> None:
        asked.append(request)
        peer.send(b"HTTP/1.1 503 No\r\nX-Tokens-Used: 90\r\nContent-Length: 0\r\n\r\n" if len(asked) < 3 else stated(8))

    with answering(answer) as model:
        running = gateway(routes(budget(), retries=2, retry_on="server_error"), model=model)
        assert running.get().status == 200
        assert len(asked) == 3
        assert left(running) == FULL - 8


def test_a_budget_is_never_overrun_by_50_at_once(gateway: Start) -> None:
    """Estimates are upper bounds. What was used in the end is within the limit, and nearly all of it can be used."""
    lock, used, chance = threading.Lock(), [0], random.Random(7)

    def answer(peer: Peer, _: Message) -> None:
        with lock:
            cost = chance.randint(1, ESTIMATE)
            used[0] += cost
        peer.send(stated(cost))

    statuses: list[int] = []

    def ask() -> None:
        statuses.extend([running.get().status for _ in range(20)])

    with RawInstance(answer) as model:
        running = gateway(routes(budget(limit=2000)) | {"workers": 2}, model=model)
        threads = [threading.Thread(target=ask) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 429}
        assert used[0] <= 2000
        # What was refused while estimates were out can be used now that they are settled.
        while running.get().status == 200:
            assert used[0] <= 2000
        assert 2000 - ESTIMATE < used[0] <= 2000


class Hooked(Running):
    """A gateway with one route, started after its hooks were added."""

    def __init__(self, model: RawInstance, limit: Any, add: Callable[[Gateway], object], **more: Any) -> None:
        gateway = Gateway(**configure(routes(limit, **more), model=model))
        add(gateway)
        StartedGateway.__init__(self, gateway)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@pytest.fixture
def model() -> Iterator[RawInstance]:
    with answering(stated(9)) as instance:
        yield instance


@pytest.mark.parametrize("settle", ["hook", "header:x-tokens-used"])
@pytest.mark.parametrize("blocking", [False, True])
def test_response_hooks_settle(model: RawInstance, settle: str, blocking: bool) -> None:
    """What a hook says goes before the field."""

    def add(gateway: Gateway) -> None:
        @gateway.on_response(blocking=blocking)
        def tell(request: Request, _: Response) -> None:
            request.settle(0 if request.path == "/look" else 5)

    with Hooked(model, budget(settle=settle), add) as running:
        answer = running.get()
        assert (answer.status, "x-tokens-used" in answer) == (200, settle == "hook")
        assert left(running) == FULL - 5


def test_request_hooks_settle_by_name(model: RawInstance) -> None:
    """A middleware that answers itself says what that has cost. A later word replaces an earlier one."""

    def add(gateway: Gateway) -> None:
        @gateway.on_request
        def tell(request: Request) -> Response | None:
            if request.path == "/look":
                return None
            request.settle(30)
            request.settle(10, name="tokens")
            request.settle(11, name="tokens")
            return Response("made here")

    limits = [budget(name="tokens"), {"name": "plain", "limit": 9}, budget(name="day", settle="hook", cost=20)]
    with Hooked(model, limits, add) as running:
        assert running.get().body == b"made here"
        assert not model.requests, "nothing was sent, and yet it costs something"
        assert left(running, "tokens") == FULL - 11
        # The hook says nothing of this request, so the estimate stays.
        assert left(running, "day", 20) == FULL - 30 - 20


def test_hooks_that_see_the_body_settle(model: RawInstance) -> None:
    def add(gateway: Gateway) -> None:
        @gateway.on_response_body
        async def count(request: Request, _: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            length = 0
            async for chunk in chunks:
                length += len(chunk)
                yield chunk
            request.settle(0 if request.path == "/look" else length)

    with Hooked(model, budget(settle="hook"), add) as running:
        assert running.get().body == b"ok"
        wait_until(lambda: left(running) == FULL - 2)


@pytest.mark.parametrize(
    ("call", "limit", "said"),
    [
        ("request.settle(-1)", budget(), "ValueError: a cost must not be negative"),
        ("request.settle(1.5)", budget(), "TypeError: a cost is an int, not float"),
        ("request.settle(True)", budget(), "TypeError: a cost is an int, not bool"),
        ('request.settle(1, name="nope")', budget(), 'has no limit "nope" with `settle`; with it are "default"'),
        ("request.settle(1)", {"limit": 5}, 'no limit of route "ask" has `settle`'),
    ],
)
def test_wrong_calls_of_hooks(model: RawInstance, call: str, limit: Any, said: str) -> None:
    errors: list[str] = []

    def add(gateway: Gateway) -> None:
        @gateway.on_request
        def tell(request: Request) -> None:
            try:
                exec(call, {"request": request})
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")

    with Hooked(model, limit, add) as running:
        assert running.get().status == 200
    assert len(errors) == 1 and said in errors[0]


def test_early_hooks_settle_nothing(model: RawInstance) -> None:
    errors: list[str] = []

    def add(gateway: Gateway) -> None:
        @gateway.on_request(stage="early")
        def tell(request: Request) -> None:
            with pytest.raises(HookError, match="only a hook of a route settles a cost"):
                request.settle(1)
            errors.append("raised")

    with Hooked(model, budget(), add) as running:
        assert running.get().status == 200
    assert errors == ["raised"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate_limit": budget(settle="x-tokens-used")}, "must be header:NAME"),
        ({"rate_limit": budget(settle="header:a b")}, "must be header:NAME"),
        ({"rate_limit": budget(settle="header:content-length")}, "frames the message"),
        ({"address_limit": budget(key="ip")}, "counts attempts"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], said: str) -> None:
    with RawInstance(OK) as model, pytest.raises(ConfigError, match=f"(?i){said}") as wrong:
        Gateway(
            **configure({"routes": [{"name": "ask", "prefix": "/", "service": "model", **settings}]}, model=model)
        ).check()
    assert "settle" in str(wrong.value)
