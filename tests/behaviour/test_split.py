"""Splits of a route over services: who gets a request, and what stays with the one who got it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from pylae import Gateway, Request
from pylae.cli import main
from support.admin import Admin
from support.h2servers import H2Instance, Shop, grpc_instance
from support.hooked import running as running_gateway
from support.instance import OK, EchoInstance, RawInstance
from support.load import answers, get
from support.peer import Message, wait_until
from support.running import Process, Running, configure
from support.tls import Authority, secure

Start = Callable[..., Running]

CANARY = {"service": "canary", "when": {"header": {"X-Canary": True}}}
BUSY = b"HTTP/1.1 503 Not now\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def pair() -> Iterator[dict[str, EchoInstance]]:
    """Two services that say their names."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(EchoInstance(name)) for name in ("stable", "canary")}


def split(*members: Any, **route: Any) -> dict[str, Any]:
    """A configuration whose only route is split over these members."""
    return {"routes": [{"name": "shop", "prefix": "/", "split": list(members), **route}]}


def weighted(stable: int, canary: int, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two members by weight."""
    return {"service": "stable", "weight": stable}, {"service": "canary", "weight": canary, **more}


def who(answer: Message) -> str:
    """The member that has answered."""
    assert answer.status == 200, answer
    return str(json.loads(answer.body)["instance"])


def fields(answer: Message) -> dict[str, str]:
    """What the member was sent."""
    return dict(json.loads(answer.body)["headers"])


def cookie(answer: Message) -> str:
    """`name=value` of the cookie that an answer sets."""
    return str(answer.one("set-cookie")).partition(";")[0]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("weights", [(90, 10), (1, 1), (2, 1)])
def test_weights_are_met_over_all_workers(
    gateway: Start, pair: dict[str, EchoInstance], workers: int, weights: tuple[int, int]
) -> None:
    running = gateway({"workers": workers, **split(*weighted(*weights))}, **pair)
    count: Counter[str] = Counter()
    for _ in range(10):
        count.update(map(who, answers(running.address, [get()] * 30)))
    assert abs(count["canary"] - 300 * weights[1] / sum(weights)) < 4, count


def test_a_weight_of_0_gets_nothing(gateway: Start, pair: dict[str, EchoInstance]) -> None:
    running = gateway(split(*weighted(1, 0)), **pair)
    assert {who(answer) for answer in answers(running.address, [get()] * 50)} == {"stable"}


@pytest.mark.parametrize(
    ("when", "sent", "met"),
    [
        ({"header": {"X-Canary": True}}, "x-canary: 0", True),
        ({"header": {"X-Canary": "yes"}}, "X-Canary: yes", True),
        ({"header": {"X-Canary": "yes"}}, "X-Canary: no", False),
        ({"header": {"User-Agent": {"pattern": ".*Firefox"}}}, "User-Agent: Mozilla Firefox/1", True),
        ({"cookie": {"group": "b"}}, "Cookie: a=1; group=b", True),
        ({"cookie": {"group": "b"}}, "Cookie: group=bb", False),
        ({"cookie": {"group": {"pattern": "b|c"}}}, "Cookie: group=c", True),
        ({"cookie": {"group": True}, "header": {"X-Canary": True}}, "Cookie: group=b", False),
    ],
)
def test_conditions_go_before_weights(
    gateway: Start, pair: dict[str, EchoInstance], when: dict[str, Any], sent: str, met: bool
) -> None:
    running = gateway(split("stable", {"service": "canary", "when": when}), **pair)
    assert who(running.get("/", sent)) == ("canary" if met else "stable")
    assert who(running.get()) == "stable"


def test_a_cookie_keeps_a_client_over_changes_of_weights(gateway: Start, pair: dict[str, EchoInstance]) -> None:
    sticky = {"cookie": "variant", "ttl": "1d", "secret": "not told"}
    running = gateway(split(*weighted(0, 1), sticky=sticky), **pair)
    first = running.get()
    assert who(first) == "canary"
    value, _, attributes = str(first.one("set-cookie")).partition("; ")
    assert value.startswith("variant=") and "canary" not in value
    assert attributes == "Path=/; HttpOnly; SameSite=Lax; Max-Age=86400"
    running.apply(split(*weighted(1000, 1), sticky=sticky), **pair)
    for _ in range(5):
        again = running.get("/", f"Cookie: a=b; {value}")
        assert who(again) == "canary" and "set-cookie" not in again
    assert who(running.get("/", f"Cookie: {value[:-1]}x")) == "stable"
    # Its weight is gone: chosen anew, and then kept.
    running.apply(split(*weighted(1, 0), sticky=sticky), **pair)
    moved = running.get("/", f"Cookie: {value}")
    assert who(moved) == "stable"
    assert "set-cookie" not in running.get("/", f"Cookie: {cookie(moved)}")
    running.apply(split("stable", sticky=sticky), stable=pair["stable"])
    assert who(running.get("/", f"Cookie: {value}")) == "stable"


def test_a_cookie_counts_on_all_routes_of_the_same_services(gateway: Start, pair: dict[str, EchoInstance]) -> None:
    config = split(*weighted(1, 0), sticky="cookie")
    config["routes"].append({"name": "cart", "path": "/cart", "split": weighted(1, 1000), "sticky": "cookie"})
    running = gateway(config, **pair)
    chosen = cookie(running.get())
    assert {who(running.get("/cart", f"Cookie: {chosen}")) for _ in range(5)} == {"stable"}


def test_over_tls_the_cookie_is_secure(gateway: Start, pair: dict[str, EchoInstance], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    listener = {"address": "127.0.0.1:0", "tls": {"certificates": [authority.issue("one", "gateway.test")]}}
    running = gateway({"listeners": [listener], **split("stable", "canary", sticky=True)}, **pair)
    with secure(running.address, authority.context()) as peer:
        peer.send(get())
        assert str(peer.read_answer().one("set-cookie")).endswith("; HttpOnly; SameSite=Lax; Secure")


def test_retries_stay_with_the_member(gateway: Start) -> None:
    with RawInstance(BUSY) as canary, EchoInstance("stable") as stable:
        running = gateway(split("stable", CANARY, retries=2), canary=canary, stable=stable)
        assert running.get("/", "X-Canary: 1").status == 503
        assert (len(canary.requests), stable.count) == (3, 0)


def test_a_breaker_moves_what_goes_by_weight_and_nothing_else(gateway: Start) -> None:
    with RawInstance(BUSY) as canary, EchoInstance("stable") as stable:
        config = split("stable", {**CANARY, "weight": 1}, retries=0)
        config["services"] = {"canary": {"circuit_breaker": {"failure_threshold": 1}}}
        running = gateway(config, canary=canary, stable=stable)
        assert running.get("/", "X-Canary: 1").status == 503
        assert {who(running.get()) for _ in range(20)} == {"stable"}
        refused = running.get("/", "X-Canary: 1")
        assert b"breaker_open" in refused.body
        assert len(canary.requests) == 1


def test_the_cache_keeps_members_apart(gateway: Start, pair: dict[str, EchoInstance]) -> None:
    running = gateway(split("stable", CANARY, cache=True, sticky=True), **pair)
    for _ in range(3):
        assert (who(running.get()), who(running.get("/", "X-Canary: 1"))) == ("stable", "canary")
    assert {name: one.count for name, one in pair.items()} == {"stable": 1, "canary": 1}


def test_limits_count_all_members_together(gateway: Start, pair: dict[str, EchoInstance]) -> None:
    limit = {"limit": 4, "per": "1h", "algorithm": "fixed_window"}
    running = gateway(split("stable", CANARY, rate_limit=limit), **pair)
    statuses = [running.get("/", *(["X-Canary: 1"] if number % 2 else [])).status for number in range(6)]
    assert statuses == [200] * 4 + [429] * 2
    assert {name: one.count for name, one in pair.items()} == {"stable": 2, "canary": 2}


def test_a_member_changes_its_requests(gateway: Start, pair: dict[str, EchoInstance]) -> None:
    headers = {"set": {"X-Variant": "b", "X-Count": 2}, "remove": ["X-Debug", "Accept-Language"]}
    config = split("stable", {**CANARY, "headers": headers}, transform={"request": {"set": {"X-Variant": "a"}}})
    running = gateway(config, **pair)
    sent = ("X-Debug: 1", "Accept-Language: de", "X-Variant: c")
    seen = fields(running.get("/", "X-Canary: 1", *sent))
    assert (seen["x-variant"], seen["x-count"]) == ("b", "2")
    assert not {"x-debug", "accept-language"} & seen.keys()
    seen = fields(running.get("/", *sent))
    assert (seen["x-variant"], seen["x-debug"]) == ("a", "1")


@pytest.mark.parametrize("kind", ["sync", "blocking", "loop"])
def test_a_hook_sees_the_member_and_may_choose_another_service(pair: dict[str, EchoInstance], kind: str) -> None:
    variant = {"set": {"X-Variant": "b"}}
    with EchoInstance("other") as other:
        config = configure(split("stable", {**CANARY, "headers": variant}), other=other, **pair)
        program = Gateway(**config)
        seen: list[str | None] = []

        def choose(request: Request) -> None:
            seen.append(request.service)
            if to := request.headers.get("X-To"):
                request.service = to
                assert request.service == to

        async def wait_and_choose(request: Request) -> None:
            choose(request)

        if kind == "loop":
            program.on_request(waits=True)(wait_and_choose)
        else:
            program.on_request(blocking=kind == "blocking")(choose)
        with running_gateway(program) as address:
            asked = [(), ("X-Canary: 1",), ("X-To: canary",), ("X-To: other",), ("X-Canary: 1", "X-To: stable")]
            found = answers(address, [get("/", *lines) for lines in asked])
        assert seen == ["stable", "canary", "stable", "stable", "canary"]
        assert [who(answer) for answer in found] == ["stable", "canary", "canary", "other", "stable"]
        # Who goes to the service of a member goes with what that member changes.
        assert ["x-variant" in fields(answer) for answer in found] == [False, True, True, False, False]


def test_an_early_hook_may_say_who_gets_the_request(pair: dict[str, EchoInstance]) -> None:
    program = Gateway(**configure(split("stable", CANARY), **pair))

    @program.on_request(stage="early")
    def choose(request: Request) -> None:
        if request.headers.get("X-Plan") == "gold":
            request.headers["X-Canary"] = "1"

    with running_gateway(program) as address:
        found = answers(address, [get("/", "X-Plan: gold"), get("/", "X-Plan: free")])
    assert [who(answer) for answer in found] == ["canary", "stable"]


def test_a_member_may_speak_http2(gateway: Start, pair: dict[str, EchoInstance]) -> None:
    with H2Instance(lambda connection, stream, _: connection.answer(stream, b"over two")) as canary:
        config = {"services": {"canary": {"protocol": "http2"}}, **split("stable", CANARY)}
        running = gateway(config, stable=pair["stable"], canary=canary)
        assert running.get("/", "X-Canary: 1").body == b"over two"
        assert who(running.get()) == "stable"


def test_calls_of_grpc_are_split_too(gateway: Start) -> None:
    stable, canary = Shop(), Shop()
    with grpc_instance(stable) as one, grpc_instance(canary) as other:
        config = {
            "listeners": [{"address": "127.0.0.1:0", "http2": True}],
            "services": {name: {"protocol": "http2"} for name in ("stable", "canary")},
            **split("stable", {**CANARY, "headers": {"set": {"X-Variant": "b"}}}),
        }
        running = gateway(config, stable=one, canary=other)
        with grpc.insecure_channel(running.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary("/shop.Shop/Unary")
            assert [call(b"ab"), call(b"cd", metadata=(("x-canary", "1"),))] == [b"ba", b"dc"]
            stream = channel.unary_stream("/shop.Shop/Down")
            assert list(stream(b"3", metadata=(("x-canary", "1"),))) == [b"0", b"1", b"2"]
    assert (stable.calls, canary.calls) == (["Unary"], ["Unary", "Down"])
    assert [seen.get("x-variant") for seen in canary.metadata] == ["b", "b"]


def test_a_mirror_gets_copies_whoever_answers(gateway: Start, pair: dict[str, EchoInstance]) -> None:
    with RawInstance(OK) as shadow:
        running = gateway(split("stable", CANARY, mirror="shadow"), shadow=shadow, **pair)
        assert [who(running.get()), who(running.get("/", "X-Canary: 1"))] == ["stable", "canary"]
        wait_until(lambda: len(shadow.requests) == 2)
        assert {name: one.count for name, one in pair.items()} == {"stable": 1, "canary": 1}


def test_figures_are_those_of_the_member(
    admin: Callable[..., Admin], pair: dict[str, EchoInstance], tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    config = split("stable", CANARY, access_log={"output": str(log)})
    with admin(config, **pair) as api:
        for lines in [(), ("X-Canary: 1",), ("X-Canary: 1",)]:
            api.running.get("/", *lines)
        summary = api.get("/metrics/summary")["services"]
        assert {name: figures["requests"] for name, figures in summary.items() if figures["requests"]} == {
            "stable": 1,
            "canary": 2,
        }
        page = api.http.get("/metrics").text
        labels = '{route="shop",service="canary",method="GET",status="2xx"}'
        assert f"pylae_requests_total{labels} 2" in page.splitlines()
        services = [one["service"] for one in api.get("/exchanges")["exchanges"]]
        assert Counter(services) == {"stable": 1, "canary": 2}
    api.running.stop()
    written = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["service"], line["instance"]) for line in written] == [
        (name, pair[name].url) for name in ("stable", "canary", "canary")
    ]


def explained(file: Path, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["explain", str(file), "GET", "/", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_explain_says_which_member_and_why(tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(
        """
services:
  stable: {instances: ["http://127.0.0.1:9001"]}
  canary: {instances: ["http://127.0.0.1:9002"]}
routes:
  - name: shop
    prefix: /
    auth_required: false
    split:
      - {service: stable, weight: 9}
      - service: canary
        weight: 1
        when: {header: {X-Canary: true}, cookie: {group: b}}
        headers: {set: {X-Variant: b}}
    sticky: cookie
"""
    )
    told = explained(file)
    assert f"Split  {file}:9" in told
    assert "  by weight, of which stable has 9 of 10" in told
    assert "  - stable (chosen; weight 9)" in told
    assert "  - canary (weight 1; when header X-Canary, cookie group (not met); changes X-Variant)" in told
    assert f"Service stable  {file}:3" in told
    told = explained(file, "-H", "X-Canary: 1", "-H", "Cookie: group=b")
    assert "  the request meets the `when` of canary" in told
    assert "chosen; weight 1; when header X-Canary, cookie group (met)" in told
    assert "Service canary" in told
    with EchoInstance("canary") as canary:
        config = split(*weighted(0, 1), sticky="cookie")
        program = Gateway(**configure(config, stable=canary, canary=canary))
        with running_gateway(program) as address:
            (answer,) = answers(address, [get()])
    told = explained(file, "-H", f"Cookie: {cookie(answer)}")
    assert "  the client's cookie names canary" in told
    answer_json = json.loads(explained(file, "-H", "X-Canary: 1", "--json"))
    assert answer_json["split"]["by"] == "weight"
    assert [member["service"] for member in answer_json["split"]["members"]] == ["stable", "canary"]


def test_a_file_edit_shifts_the_weights_live(
    gateway_process: Callable[..., Process], pair: dict[str, EchoInstance]
) -> None:
    process = gateway_process(split(*weighted(1, 0), sticky="cookie"), **pair)
    with process.connect() as peer:
        peer.send(get())
        first = peer.read_answer()
        assert who(first) == "stable"
        process.apply(split(*weighted(1, 1), sticky="cookie"), **pair)
        found: Counter[str] = Counter()
        for _ in range(40):
            peer.send(get())
            found[who(peer.read_answer())] += 1
        assert abs(found["canary"] - 20) < 4
        for _ in range(5):
            peer.send(get("/", f"Cookie: {cookie(first)}"))
            assert who(peer.read_answer()) == "stable"


def test_the_admin_api_shifts_the_weights_live(admin: Callable[..., Admin], pair: dict[str, EchoInstance]) -> None:
    with admin(split(*weighted(1, 0), sticky="cookie"), **pair) as api:
        document = api.get("/config")
        members = document["routes"][0]["split"]
        assert members == [{"service": "stable", "weight": 1}, {"service": "canary", "weight": 0}]
        members[0]["weight"], members[1]["weight"] = 0, 1
        applied = api.http.put("/config", content=json.dumps(document), headers={"If-Match": "*"})
        assert applied.status_code == 200, applied.text
        assert who(api.running.get()) == "canary"
