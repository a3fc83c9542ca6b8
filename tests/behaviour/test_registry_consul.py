"""Instances from a server that speaks Consul's HTTP API, over real sockets."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from pylae.config.document.written import mark, written
from support.admin import Admin
from support.consul import Consul, entry
from support.instance import EchoInstance
from support.peer import wait_until
from support.running import Running
from support.tls import Authority

Start = Callable[..., Admin]
QUICK = {"wait": "10m", "retry": "10ms", "max_retry": "20ms"}


@pytest.fixture
def consul() -> Iterator[Consul]:
    with Consul() as server:
        yield server


def settings(consul: Consul, **more: Any) -> dict[str, Any]:
    found = {"address": consul.address, "service": "users", **QUICK, **more}
    return {"services": {"users": {"discovery": {"consul": found}}}}


def weights(running: Running) -> dict[str, int]:
    (service,) = running.gateway.stats()["services"]
    return {one["url"]: one["weight"] for one in service["instances"]}


def trouble(running: Running) -> str:
    return running.gateway.registry.troubles()["users"] or ""


def test_instances_appear_leave_and_wake_the_query(
    gateway: Callable[..., Running], consul: Consul, echo: EchoInstance
) -> None:
    consul.put("users", entry(echo.url, weight=3))
    running = gateway(settings(consul))
    assert running.get("/").status == 200, "from the first request on"
    assert weights(running) == {echo.url: 3}
    with EchoInstance("second") as second:
        for entries in ((entry(echo.url), entry(second.url)), (entry(second.url, on_node=True),), ()):
            wait_until(lambda: consul.blocked == 1)
            asked = len(consul.asked)
            consul.put("users", *entries)
            urls = {f"http://127.0.0.1:{one['Service']['Port']}" for one in entries}
            wait_until(lambda urls=urls: set(weights(running)) == urls)  # type: ignore[misc]
            assert len(consul.asked) <= asked + 1, "it waits for Consul, and does not ask again and again"
    wait_until(lambda: running.get("/").status == 503)
    gone = f"{consul.address} has no passing instance of users; it has no instances from there any more"
    assert trouble(running) == gone
    path, query, _ = consul.asked[0]
    assert (path, query) == ("/v1/health/service/users", {"passing": ["true"]})
    assert consul.asked[-1][1] == {"passing": ["true"], "index": [str(consul.index)], "wait": ["600000ms"]}


def test_only_those_count_whose_checks_pass(gateway: Callable[..., Running], consul: Consul) -> None:
    well, warns, ill = (f"http://127.0.0.1:{port}" for port in (1, 2, 3))
    entries = entry(well, weight=5), entry(warns, warning=2, status="warning"), entry(ill, status="critical")
    consul.put("users", *entries)
    running = gateway(settings(consul))
    assert weights(running) == {well: 5}
    wait_until(lambda: consul.blocked == 1)
    consul.put("users", entry(well, status="critical"), entry(warns))
    wait_until(lambda: weights(running) == {warns: 1})


def test_those_that_warn_count_where_they_are_asked_for(gateway: Callable[..., Running], consul: Consul) -> None:
    well, warns, ill = (f"http://[2001:db8::1]:{port}" for port in (1, 2, 3))
    consul.put("users", entry(well, weight=5), entry(warns, warning=0, status="warning"), entry(ill, status="critical"))
    running = gateway(settings(consul, passing=False))
    assert weights(running) == {well: 5, warns: 1}


def test_what_is_asked(gateway: Callable[..., Running], consul: Consul) -> None:
    both, one = entry("http://127.0.0.1:1", tags=("a", "b")), entry("http://127.0.0.1:2", tags=("a",))
    consul.put("us ers/x", both, one)
    more: dict[str, Any] = {"tags": ["a", "b"], "filter": 'Service.Meta.v == "2"', "datacenter": "dc2", "stale": True}
    running = gateway(settings(consul, service="us ers/x", namespace="team", partition="part", **more))
    assert weights(running) == {"http://127.0.0.1:1": 1}
    path, query, _ = consul.asked[0]
    assert path == "/v1/health/service/us%20ers%2Fx"
    assert query == {
        "passing": ["true"],
        "tag": ["a", "b"],
        "filter": ['Service.Meta.v == "2"'],
        "dc": ["dc2"],
        "ns": ["team"],
        "partition": ["part"],
        "stale": [""],
    }


def test_the_name_is_enough() -> None:
    config = Gateway(services={"users": {"discovery": {"consul": "orders"}}}).config
    discovery = config.services["users"].discovery
    assert discovery is not None
    assert discovery.settings.model_dump(include={"service", "address", "passing"}) == {
        "service": "orders",
        "address": "http://127.0.0.1:8500",
        "passing": True,
    }


def test_a_server_that_is_gone_leaves_the_instances_and_is_seen_everywhere(
    admin: Start, consul: Consul, echo: EchoInstance
) -> None:
    consul.put("users", entry(echo.url))
    with admin({**settings(consul), "routes": [{"path": "/", "service": "users"}]}) as api:
        wait_until(lambda: consul.blocked == 1)
        consul.stop()
        wait_until(lambda: api.get("/services/users")["trouble"] is not None)
        wait_until(lambda: "cannot be reached" in api.get("/services/users")["trouble"])
        why = api.get("/services/users")["trouble"]
        assert why.startswith(f"{consul.address} cannot be reached (")
        assert why.endswith("; its instances stay as they are")
        assert api.running.get("/").status == 200
        health = api.get("/health")
        assert (health["status"], health["reasons"]) == ("degraded", [f"instances cannot be looked up: users: {why}"])
        assert '\npylae_discovery_failing{service="users",source="consul"} 1\n' in api.http.get("/metrics").text
        consul.start()
        wait_until(lambda: api.get("/services/users")["trouble"] is None)
        assert api.get("/health")["status"] == "healthy"
        assert api.get("/services/users")["instances"][0]["source"] == "consul"


def test_a_token_is_presented_and_one_that_is_refused_is_told(
    gateway: Callable[..., Running], consul: Consul, echo: EchoInstance
) -> None:
    consul.token = "right"
    consul.put("users", entry(echo.url))
    running = gateway(settings(consul, token="wrong"))
    assert running.get("/").status == 503
    assert re.search(
        r"refuses with 403: Permission denied: token lacks permission 'service:read' on \"users\" "
        r"\(`token` needs service:read for users\)",
        trouble(running),
    )
    assert "wrong" not in trouble(running)
    consul.token = "wrong"
    wait_until(lambda: running.get("/").status == 200)
    assert consul.asked[-1][2]["X-Consul-Token"] == "wrong"


def test_a_token_is_a_secret() -> None:
    services: Any = {"users": {"discovery": {"consul": {"service": "users", "token": "s3cret"}}}}
    shown = written(Gateway(services=services).config)
    assert shown["services"]["users"]["discovery"]["consul"] == {"service": "users", "token": mark("s3cret")}
    with pytest.raises(ConfigError) as caught:
        Gateway(services={"users": {"discovery": {"consul": {"service": "users", "token": "two words"}}}})
    assert "a token is visible ASCII characters" in str(caught.value)
    assert "two words" not in str(caught.value)


def test_what_a_token_may_not_see_is_not_gone(
    gateway: Callable[..., Running], consul: Consul, echo: EchoInstance
) -> None:
    consul.put("users", entry(echo.url))
    running = gateway(settings(consul))
    wait_until(lambda: consul.blocked == 1)
    consul.hides = True
    consul.put("users", entry(echo.url))
    wait_until(lambda: "that `token` lets it see" in trouble(running))
    assert running.get("/").status == 200


def test_an_index_that_goes_back_begins_anew(
    gateway: Callable[..., Running], consul: Consul, echo: EchoInstance
) -> None:
    """It went back because the state is another one: what comes next may have a lower index for long."""
    consul.put("users", entry(echo.url), index=1000)
    running = gateway(settings(consul))
    wait_until(lambda: consul.blocked == 1)
    consul.put("users", index=5)
    wait_until(lambda: weights(running) == {})
    wait_until(lambda: consul.blocked == 1)
    assert [query.get("index") for _, query, _ in consul.asked] == [None, ["1000"], None, ["5"]]
    consul.put("users", entry(echo.url), index=6)
    wait_until(lambda: weights(running) != {})


def test_an_index_of_zero_is_waited_for_all_the_same(gateway: Callable[..., Running], consul: Consul) -> None:
    consul.put("users", entry("http://127.0.0.1:1"), index=0)
    gateway(settings(consul, wait="50ms"))
    wait_until(lambda: len(consul.asked) >= 3)
    assert consul.asked[1][1]["index"] == ["1"]


def reply(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *fields, b"", body))


INDEX = b"X-Consul-Index: 5"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer as HTTP has it"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]", "does not answer as HTTP has it"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "does not answer as HTTP has it"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n[]", "does not answer as HTTP has it"),
        (b"", "ends the connection without an answer"),
        (reply(b"[" * 100_000, INDEX), "does not answer as Consul does"),
        (reply(b"<html>", INDEX), "does not answer as Consul does"),
        (reply(b'{"a": 1}', INDEX), "does not answer as Consul does"),
        (reply(b'[{"Service": {"Port": "x"}}]', INDEX), "does not answer as Consul does"),
        (reply(b"[]"), "does not answer as Consul does: there is no X-Consul-Index"),
        (reply(b"[]", b"X-Consul-Index: -1"), "does not answer as Consul does: there is no X-Consul-Index"),
        (reply(b" " * (16 * 1024 * 1024 + 1), INDEX), "answers with more than 16MB"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (16 * 1024 * 1024 + 1), "answers with more than 16MB"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nNo\x1bleader", "refuses with 500: No leader"),
        (b"HTTP/1.1 500 No\r\n\r\n" + b"x" * 100_000, f"refuses with 500: {'x' * 200}…"),
    ],
    ids=range(15),
)
def test_an_answer_that_is_none_leaves_the_instances(
    gateway: Callable[..., Running], consul: Consul, echo: EchoInstance, raw: bytes, why: str
) -> None:
    consul.put("users", entry(echo.url))
    running = gateway(settings(consul))
    wait_until(lambda: consul.blocked == 1)
    consul.raw = raw
    consul.put("users", entry(echo.url))
    wait_until(lambda: trouble(running) == f"{consul.address} {why}; its instances stay as they are")
    assert running.get("/").status == 200
    consul.raw = None
    consul.put("users", entry(echo.url))
    wait_until(lambda: not trouble(running))


def test_an_instance_that_cannot_be_used_is_told_and_the_others_are_used(
    gateway: Callable[..., Running], consul: Consul
) -> None:
    wrong = entry("http://127.0.0.1:2")
    wrong["Service"]["Address"] = "not a host"
    consul.put("users", entry("http://127.0.0.1:1"), wrong)
    running = gateway(settings(consul))
    assert weights(running) == {"http://127.0.0.1:1": 1}
    assert "one of its instances in Consul has no address that can be used (one-2)" in trouble(running)


def test_an_empty_answer_may_be_given_time(gateway: Callable[..., Running], consul: Consul) -> None:
    consul.put("users", entry("http://127.0.0.1:1"))
    running = gateway(settings(consul, gone_after="50ms"))
    wait_until(lambda: consul.blocked == 1)
    consul.put("users")
    wait_until(lambda: weights(running) == {})
    stays = f"{consul.address} has no passing instance of users; its instances stay as they are"
    assert trouble(running) != stays, "the query did not wait for its ten minutes"


def test_a_silent_server_keeps_nobody_from_stopping(gateway: Callable[..., Running], consul: Consul) -> None:
    """Ten minutes are asked for; the end takes as long as with nothing under way."""
    consul.put("users", entry("http://127.0.0.1:1"))
    running = gateway(settings(consul))
    wait_until(lambda: consul.blocked == 1)
    running.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "pylae-registry"]


def test_a_reload_ends_the_query_and_asks_with_other_settings(gateway: Callable[..., Running], consul: Consul) -> None:
    consul.put("users", entry("http://127.0.0.1:1", tags=("a",)), entry("http://127.0.0.1:2", tags=("b",)))
    running = gateway(settings(consul, tags=["a"]))
    assert weights(running) == {"http://127.0.0.1:1": 1}
    wait_until(lambda: consul.blocked == 1)
    running.apply(settings(consul, tags=["b"]))
    assert weights(running) == {"http://127.0.0.1:2": 1}
    running.apply(settings(consul, tags=["b"]))
    wait_until(lambda: consul.asked[-1][1].get("index") is not None and consul.asked[-1][1]["tag"] == ["b"])
    asked = len(consul.asked)
    consul.put("users", entry("http://127.0.0.1:3", tags=("a", "b")))
    wait_until(lambda: weights(running) == {"http://127.0.0.1:3": 1})
    assert all(query["tag"] == ["b"] for _, query, _ in consul.asked[asked:]), "nobody asks for the others any more"


def test_over_tls(gateway: Callable[..., Running], echo: EchoInstance, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Consul(context=authority.server("127.0.0.1")) as consul:
        consul.put("users", entry(echo.url))
        running = gateway(settings(consul, ca=str(authority.file)))
        assert running.get("/").status == 200
        untrusted = gateway(settings(consul))
        assert "cannot prove who it is" in trouble(untrusted)
        without = gateway(settings(consul, ca=str(tmp_path / "none.pem")))
        assert "`ca`, `cert` or `key` cannot be read (No such file or directory)" in trouble(without)


def test_over_a_unix_socket(gateway: Callable[..., Running], echo: EchoInstance, tmp_path: Path) -> None:
    with Consul(socket_file=tmp_path / "consul") as consul:
        consul.put("users", entry(echo.url))
        running = gateway(settings(consul))
        assert running.get("/").status == 200
    wait_until(lambda: "cannot be reached" in trouble(running))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"address": "127.0.0.1:8500"}, "is not the address of an API"),
        ({"address": "http://u:p@a"}, "has no user or password"),
        ({"address": "http://a/v1"}, "has no path or query"),
        ({"address": "http://a:99999"}, "is not a valid URL"),
        ({"address": "unix:consul"}, "is not the path of a socket"),
        ({"ca": "ca.pem"}, "are for an `address` that begins with https://"),
        ({"address": "https://a", "cert": "c.pem"}, "`cert` and `key` belong together"),
        ({"wait": "11m"}, "waits for 10 minutes at most"),
        ({"servce": "x"}, "did you mean `service`?"),
        ({"service": ""}, "at least 1 character"),
    ],
)
def test_settings_that_are_wrong(wrong: dict[str, Any], why: str, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    found = {"service": "users", **wrong}
    file.write_text(f"services:\n  users:\n    discovery:\n      consul: {found}\n")
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(file)
    assert re.search(rf"pylae.yaml:4:\d+: services.users.discovery.consul.*{re.escape(why)}", str(caught.value))
