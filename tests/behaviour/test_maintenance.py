"""Maintenance: what clients get of a route, a service or a gateway that is switched off for a while."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from pylae.cli import main
from pylae.maintenance.switch import MOST_TEXT, RETRY_AFTER, TEXT
from support.admin import Admin
from support.instance import EchoInstance, RawInstance
from support.peer import Message, wait_until
from support.running import Process, configure
from support.tokens import SECRET

Start = Callable[..., Admin]
ROUTES = """
routes:
  - {name: orders, prefix: /orders, service: shop}
  - {name: users, prefix: /users, service: users}
"""


def switch(api: Admin, path: str = "", **told: Any) -> bool:
    """Switches something; whether that is a change."""
    answer = api.http.put(f"/maintenance{path}", json=told)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["changed"])


def end(api: Admin, path: str = "") -> bool:
    """Ends the maintenance of something; whether that is a change."""
    answer = api.http.delete(f"/maintenance{path}")
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["changed"])


def told(answer: Message) -> str | None:
    """What an answer says of maintenance; None if it is none of it."""
    if answer.status != 503:
        return None
    problem = json.loads(answer.body)
    assert problem["type"] == "urn:pylae:error:maintenance"
    assert problem["title"] == "Service Unavailable"
    return str(problem["detail"])


def test_a_gateway_is_switched_and_back(admin: Start, echo: EchoInstance) -> None:
    with admin(all=echo) as api:
        assert api.get("/maintenance") == {"switches": [], "trouble": None}
        assert switch(api, text="back at six", retry_after="10m")
        answer = api.running.get("/any")
        assert told(answer) == "back at six"
        assert answer.one("retry-after") == "600"
        assert answer.one("content-type") == "application/problem+json"
        assert answer.one("cache-control") == "no-store"
        # Changes of the words are changes, the same words are none.
        assert not switch(api, text="back at six", retry_after=600)
        assert switch(api, text="back at seven")
        assert told(api.running.get("/any")) == "back at seven"
        assert api.running.get("/any").one("retry-after") == str(RETRY_AFTER)
        # The admin API and probes go on.
        assert api.get("/ready") == {"status": "ready"}
        (one,) = api.get("/maintenance")["switches"]
        assert (one["scope"], one["name"], one["by"], one["known"]) == ("gateway", "", "admin", True)
        assert end(api)
        assert not end(api)
        assert api.running.get("/any").status == 200
        assert switch(api)
        assert told(api.running.get("/any")) == TEXT


def test_a_service_or_a_route_is_switched_and_the_closest_switch_has_the_word(
    admin: Start, echo: EchoInstance, instance: RawInstance
) -> None:
    with admin(ROUTES, shop=echo, users=instance) as api:
        assert switch(api, "/services/shop", text="the shop is shut")
        assert told(api.running.get("/orders")) == "the shop is shut"
        assert api.running.get("/users").status == 200
        assert switch(api, "/routes/orders", text="no orders today")
        assert told(api.running.get("/orders")) == "no orders today"
        assert switch(api, text="all is shut")
        assert told(api.running.get("/orders")) == "no orders today"
        assert told(api.running.get("/users")) == "all is shut"
        # What no route takes is shut as well, so that nobody takes a page for gone.
        assert told(api.running.get("/nothing")) == "all is shut"
        assert end(api, "/routes/orders")
        assert end(api)
        assert told(api.running.get("/orders")) == "the shop is shut"
        assert api.running.get("/nothing").status == 404


@pytest.mark.parametrize(
    ("path", "status"), [("/services/none", 404), ("/routes/none", 404), ("/routes/", 404), ("/elsewhere", 404)]
)
def test_only_what_is_there_can_be_switched(admin: Start, echo: EchoInstance, path: str, status: int) -> None:
    with admin(all=echo) as api:
        assert api.http.put(f"/maintenance{path}", json={}).status_code == status
        assert api.get("/maintenance")["switches"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"text": ""},
        {"text": "  "},
        {"text": "x" * (MOST_TEXT + 1)},
        {"text": "two\nlines"},
        {"text": "a\x1b[31mred"},
        {"text": "a\u2028b"},
        {"text": 7},
        {"retry_after": 0},
        {"retry_after": -1},
        {"retry_after": "31d"},
        {"retry_after": "soon"},
        {"until": "six"},
    ],
)
def test_what_cannot_be_told_is_refused(admin: Start, echo: EchoInstance, body: dict[str, Any]) -> None:
    with admin(all=echo) as api:
        answer = api.http.put("/maintenance", content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text
        assert answer.json()["problems"]
        assert api.running.get("/").status == 200


def test_the_longest_text_arrives_whole(admin: Start, echo: EchoInstance) -> None:
    text = "ü" * MOST_TEXT
    with admin(all=echo) as api:
        assert switch(api, text=text)
        assert told(api.running.get("/")) == text


def test_names_with_slashes_and_other_letters(admin: Start, echo: EchoInstance) -> None:
    name = "a/b c%2Fd?é"
    with admin({"routes": [{"name": name, "prefix": "/", "service": "all"}]}, all=echo) as api:
        path = "/routes/a/b%20c%252Fd%3F%C3%A9"
        assert switch(api, path)
        assert [one["name"] for one in api.get("/maintenance")["switches"]] == [name]
        assert told(api.running.get("/")) == TEXT
        assert end(api, path)


def test_pages_show_the_text_as_text(admin: Start, echo: EchoInstance, tmp_path: Path) -> None:
    page = tmp_path / "shut.html"
    page.write_text("<h1>{{ detail }}</h1><p>{{ code }}</p>", encoding="utf-8")
    text = "<script>alert('x')</script> & more"
    with admin(all=echo) as api:
        assert switch(api, text=text)
        own = api.running.get("/", "Accept: text/html")
        assert own.one("content-type") == "text/html; charset=utf-8"
        assert b"<script>" not in own.body
        assert b"&lt;script&gt;" in own.body
        assert text.encode() in api.running.get("/", "Accept: text/plain").body
        api.running.apply({"errors": {"503": {"html": str(page)}}}, all=echo)
        shown = api.running.get("/", "Accept: text/html").body
        assert shown.startswith(b"<h1>&lt;script&gt;")
        assert b"<p>maintenance</p>" in shown


def test_it_comes_before_authentication_and_after_what_bars_clients(admin: Start, echo: EchoInstance) -> None:
    config = {
        "auth": {"jwt": {"secret": SECRET, "algorithms": ["HS256"]}},
        "routes": [
            {"name": "private", "prefix": "/private", "service": "all"},
            {"name": "barred", "prefix": "/barred", "service": "all", "ip_access": {"deny": ["127.0.0.0/8"]}},
            {"name": "limited", "prefix": "/limited", "service": "all", "address_limit": "1/hour"},
        ],
    }
    with admin(config, all=echo) as api:
        assert api.running.get("/private").status == 401
        assert switch(api)
        assert told(api.running.get("/private")) == TEXT
        assert api.running.get("/barred").status == 403
        assert told(api.running.get("/limited")) == TEXT
        assert api.running.get("/limited").status == 429


def test_pages_of_other_origins_can_read_it(admin: Start, echo: EchoInstance) -> None:
    origin = "https://shop.example"
    with admin(f"policies: {{cors: {{origins: ['{origin}']}}}}", all=echo) as api:
        assert switch(api)
        preflight = api.running.raw(
            b"OPTIONS / HTTP/1.1\r\nHost: gateway.test\r\nOrigin: " + origin.encode() + b"\r\n"
            b"Access-Control-Request-Method: GET\r\n\r\n", 1,
        )[0]  # fmt: skip
        assert preflight.status in (200, 204)
        assert preflight.one("access-control-allow-origin") == origin
        answer = api.running.get("/", f"Origin: {origin}")
        assert told(answer) == TEXT
        assert answer.one("access-control-allow-origin") == origin


def test_nothing_reaches_an_instance_or_comes_from_the_cache(admin: Start, instance: RawInstance) -> None:
    config = {"routes": [{"name": "all", "prefix": "/", "service": "all", "cache": {"ttl": "1h"}, "retries": 3}]}
    with admin(config, all=instance) as api:
        assert api.running.get("/kept").status == 200
        seen = len(instance.requests)
        assert switch(api, "/services/all")
        for target in ("/kept", "/other"):
            assert told(api.running.get(target)) == TEXT
        assert len(instance.requests) == seen
        end(api, "/services/all")
        assert api.running.get("/kept").status == 200
        assert len(instance.requests) == seen


def test_health_checks_go_on(admin: Start, instance: RawInstance) -> None:
    config = {"services": {"all": {"health_check": {"path": "/health", "interval": "50ms"}}}}
    with admin(config, all=instance) as api:
        assert switch(api)
        assert switch(api, "/services/all")
        before = len(instance.requests)
        wait_until(lambda: len(instance.requests) > before + 1)
        assert {request.target for request in instance.requests} == {"/health"}


def test_exchanges_in_flight_finish(admin: Start) -> None:
    with RawInstance() as held, admin(all=held) as api, api.running.connect() as peer:
        peer.send(b"GET /slow HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        waiting = held.accept()
        assert switch(api)
        waiting.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert peer.read_answer().body == b"ok"
        # The connection goes on, and its next request is one that comes now.
        peer.send(b"GET /next HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        assert told(peer.read_answer()) == TEXT


def test_it_outlives_reloads_and_names_that_are_gone_for_a_while(admin: Start, echo: EchoInstance) -> None:
    with admin(ROUTES, shop=echo, users=echo) as api:
        assert switch(api, "/routes/orders")
        api.running.apply("routes: [{name: users, prefix: /, service: users}]", users=echo)
        assert api.running.get("/orders").status == 200
        assert [one["known"] for one in api.get("/maintenance")["switches"]] == [False]
        api.running.apply(ROUTES, shop=echo, users=echo)
        assert told(api.running.get("/orders")) == TEXT
        assert [one["known"] for one in api.get("/maintenance")["switches"]] == [True]


def test_a_kill_loses_nothing(tmp_path: Path, echo: EchoInstance) -> None:
    config = configure({"state": str(tmp_path / "state"), "admin": "127.0.0.1:0"}, all=echo)
    path, switched = tmp_path / "state" / "admin-token", False
    for number in range(4):
        process = Process(config, tmp_path)
        address = process.said("admin API on").rpartition(" ")[2].strip()
        try:
            answer = httpx.get(f"{process.url}/", timeout=30)
            assert (answer.status_code == 503) is switched
            if switched:
                assert answer.json()["detail"] == f"since run {number - 1}"
            token = path.read_text(encoding="ascii").strip()
            fields = {"Authorization": f"Bearer {token}"}
            base = f"http://{address}/maintenance"
            if number == 2:
                assert httpx.delete(base, headers=fields, timeout=30).json()["changed"]
            else:
                assert httpx.put(base, json={"text": f"since run {number}"}, headers=fields, timeout=30).is_success
            switched = number != 2
            process.process.send_signal(signal.SIGKILL)
        finally:
            process.stop()
    assert not (tmp_path / "state" / "store.db").exists(), "a gateway that switches opens no SQLite"


@pytest.mark.parametrize(
    "content", ["", "nothing", "{}", "[7]", '[{"version": 2}]', '[{"version": 1, "scope": "gateway"}]', "[" * 100_000]
)
def test_a_file_that_is_broken_is_reported_and_switches_nothing(
    admin: Start, echo: EchoInstance, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "maintenance.json").write_text(content, encoding="ascii")
    with admin(all=echo) as api:
        assert "maintenance.json cannot be read" in caplog.text
        assert api.running.get("/").status == 200
        assert switch(api)
        assert told(api.running.get("/")) == TEXT


def test_a_folder_that_cannot_be_written_changes_nothing(admin: Start, echo: EchoInstance, tmp_path: Path) -> None:
    with admin(all=echo) as api:
        (tmp_path / "state" / "maintenance.json").mkdir()
        refused = api.http.put("/maintenance", json={})
        assert refused.status_code == 503
        assert "nothing was changed" in refused.json()["detail"]
        assert api.running.get("/").status == 200
        assert api.get("/maintenance")["switches"] == []


def test_it_is_seen_everywhere(admin: Start, echo: EchoInstance) -> None:
    with admin(ROUTES, shop=echo, users=echo) as api:
        assert "\npylae_maintenance" not in api.http.get("/metrics").text
        assert switch(api, "/services/shop")
        for _ in range(20):
            assert told(api.running.get("/orders")) == TEXT
        assert '\npylae_maintenance{scope="service",name="shop"} 1\n' in api.http.get("/metrics").text
        halts = '\npylae_halts_total{route="orders",service="shop",code="maintenance"} 20\n'
        # An exchange is counted once its answer is out.
        wait_until(lambda: halts in api.http.get("/metrics").text)
        health = api.http.get("/health")
        # What was asked for is no failure.
        assert (health.status_code, health.json()["status"], health.json()["errors"]) == (200, "healthy", 0)
        assert health.json()["maintenance"] == ["service shop"]
        assert api.get("/exchanges")["exchanges"][0]["code"] == "maintenance"


def test_copies_do_not_reach_a_service_that_is_switched(
    admin: Start, echo: EchoInstance, instance: RawInstance
) -> None:
    config = {
        "routes": [{"name": "orders", "prefix": "/", "service": "shop", "mirror": {"service": "copies"}}],
        "services": {"copies": {"instances": [instance.url]}},
    }
    with admin(config, shop=echo) as api:
        assert switch(api, "/services/copies")
        for _ in range(5):
            assert api.running.get("/").status == 200
        assert end(api, "/services/copies")
        assert api.running.get("/last").status == 200
        wait_until(lambda: len(instance.requests) == 1)


def test_a_service_that_a_hook_chooses(admin: Start, echo: EchoInstance) -> None:
    with admin(ROUTES, shop=echo, users=echo) as api:
        gateway = api.running.gateway

        @gateway.on_request(routes=["orders"])
        def choose(request: Any) -> None:
            request.service = "users"

        gateway.apply()
        assert switch(api, "/services/users", text="users are away")
        assert told(api.running.get("/orders")) == "users are away"
        assert end(api, "/services/users")
        assert api.running.get("/orders").status == 200


def test_websockets_get_it_in_place_of_an_upgrade(admin: Start, echo: EchoInstance) -> None:
    with admin({"routes": [{"name": "chat", "prefix": "/", "service": "all", "websocket": True}]}, all=echo) as api:
        assert switch(api, "/routes/chat")
        fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
        answer = api.running.get("/", *fields, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        assert told(answer) == TEXT


def test_http2_and_grpc_get_it(admin: Start, echo: EchoInstance) -> None:
    with admin({"listeners": [{"address": "127.0.0.1:0", "http2": True}]}, all=echo) as api:
        assert switch(api, text="ça ferme")
        with httpx.Client(http1=False, http2=True, verify=False, timeout=30) as h2:
            url = f"http://{api.running.address}/shop.Orders/Get"
            plain = h2.get(url)
            assert (plain.status_code, plain.json()["detail"]) == (503, "ça ferme")
            call = h2.post(url, headers={"Content-Type": "application/grpc", "TE": "trailers"}, content=b"")
            assert call.headers["grpc-status"] == "14"
            assert call.headers["grpc-message"] == "%C3%A7a ferme"


@pytest.fixture
def pylae(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """Calls the command in an empty directory, for an admin API."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")

    def run(api: Admin, *arguments: str) -> Result:
        environment = {"PYLAE_ADMIN": api.address, "PYLAE_ADMIN_TOKEN": api.token}
        return CliRunner().invoke(main, arguments, env=environment)

    yield run


def test_the_command(admin: Start, echo: EchoInstance, pylae: Callable[..., Result]) -> None:
    with admin(ROUTES, shop=echo, users=echo) as api:
        assert pylae(api, "maintenance", "list").stdout == "nothing is switched to maintenance\n"
        on = pylae(api, "maintenance", "on", "--text", "back at six", "--retry-after", "10m")
        assert on.stdout == "the gateway is switched to maintenance\n"
        assert api.running.get("/orders").one("retry-after") == "600"
        assert pylae(api, "maintenance", "on", "--service", "shop").exit_code == 0
        assert "already" in pylae(api, "maintenance", "on", "--service", "shop").stdout
        header, first, second = pylae(api, "maintenance", "list").stdout.splitlines()
        assert header.split() == ["WHAT", "SINCE", "BY", "RETRY", "AFTER", "TEXT"]
        assert first.startswith("gateway ")
        assert first.endswith("admin  600 s        back at six")
        assert second.startswith("service shop")
        assert "switched to maintenance: gateway, service shop" in pylae(api, "status").stdout
        off = pylae(api, "maintenance", "off")
        assert off.stdout == "the maintenance of the gateway has ended\nstill switched: service shop\n"
        assert pylae(api, "maintenance", "off", "--route", "orders").stdout == (
            "route orders was not switched to maintenance\n"
        )
        both = pylae(api, "maintenance", "on", "--service", "shop", "--route", "orders")
        assert both.exit_code == 2
        unknown = pylae(api, "maintenance", "on", "--route", "none")
        assert (unknown.exit_code, "there is no such route" in unknown.output) == (3, True)
        assert "retry_after" in pylae(api, "maintenance", "on", "--retry-after", "soon").output
