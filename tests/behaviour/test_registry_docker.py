"""Instances from a server that speaks Docker's Engine API, over a real Unix socket or TCP."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae import ConfigError, Gateway
from support.admin import Admin
from support.docker import Docker
from support.instance import EchoInstance
from support.peer import wait_until
from support.running import Running
from support.tls import Authority

Start = Callable[..., Admin]
LABEL = {"pylae.service": "users"}
QUICK = {"interval": "1h", "retry": "10ms", "max_retry": "20ms"}


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Docker]:
    with Docker(socket_file=tmp_path / "docker.sock") as server:
        yield server


def settings(docker: Docker, **more: Any) -> dict[str, Any]:
    found = {"address": docker.address, "labels": "pylae.service=users", **QUICK, **more}
    return {"services": {"users": {"discovery": {"docker": found}}}}


def weights(running: Running) -> dict[str, int]:
    (service,) = running.gateway.stats()["services"]
    return {one["url"]: one["weight"] for one in service["instances"]}


def trouble(running: Running) -> str:
    return running.gateway.registry.troubles()["users"] or ""


def port(instance: EchoInstance) -> int:
    return int(instance.url.rpartition(":")[2])


def lists(docker: Docker) -> int:
    return sum(path.endswith("/containers/json") for path, _, _ in docker.asked)


def test_containers_come_and_go_when_events_say_so(
    gateway: Callable[..., Running], docker: Docker, echo: EchoInstance
) -> None:
    """The next look without an event would be in an hour."""
    docker.run("one", LABEL, ports=(port(echo),))
    docker.run("other", {"pylae.service": "orders"}, ports=(1,))
    running = gateway(settings(docker))
    assert running.get("/").status == 200, "from the first request on"
    wait_until(lambda: docker.listening == 1)
    docker.run("two", {**LABEL, "pylae.weight": "3"}, ports=(2,))
    wait_until(lambda: weights(running) == {echo.url: 1, "http://127.0.0.1:2": 3})
    docker.stop_container("one")
    wait_until(lambda: weights(running) == {"http://127.0.0.1:2": 3})
    docker.stop_container("two")
    wait_until(lambda: weights(running) == {})
    gone = "no running container has the label pylae.service=users; it has no instances from there any more"
    assert trouble(running) == gone
    paths = [path for path, _, _ in docker.asked]
    assert paths[:3] == ["/_ping", "/v1.51/events", "/v1.51/containers/json"], "as new as the engine is"


def test_events_of_others_wake_nobody(gateway: Callable[..., Running], docker: Docker) -> None:
    docker.run("one", LABEL, ports=(1,))
    docker.run("other", {"pylae.service": "orders"}, ports=(1,))
    running = gateway(settings(docker))
    wait_until(lambda: docker.listening == 1)
    known = lists(docker)
    docker.happen("exec_start: /healthy", "one")
    docker.happen("start", "other")
    docker.run("two", LABEL, ports=(2,))
    wait_until(lambda: len(weights(running)) == 2)
    assert lists(docker) == known + 1


def test_one_that_is_not_healthy_leaves(gateway: Callable[..., Running], docker: Docker) -> None:
    docker.run("one", LABEL, ports=(1,), health="starting")
    docker.run("two", LABEL, ports=(2,))
    running = gateway(settings(docker))
    assert weights(running) == {"http://127.0.0.1:2": 1}, "one that has no health check is taken"
    wait_until(lambda: docker.listening == 1)
    docker.become("one", "healthy")
    wait_until(lambda: len(weights(running)) == 2)
    docker.become("one", "unhealthy")
    wait_until(lambda: len(weights(running)) == 1)
    running.apply(settings(docker, healthy=False))
    assert len(weights(running)) == 2


def test_one_that_is_paused_leaves(gateway: Callable[..., Running], docker: Docker) -> None:
    docker.run("one", LABEL, ports=(1,))
    running = gateway(settings(docker))
    wait_until(lambda: docker.listening == 1)
    for state, action, count in (("paused", "pause", 0), ("running", "unpause", 1)):
        docker.containers["one"]["State"] = state
        docker.happen(action, "one")
        wait_until(lambda count=count: len(weights(running)) == count)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("more", "labels", "container", "url"),
    [
        ({}, {}, {"ports": (8000,)}, "http://127.0.0.1:8000"),
        ({"port": 9}, {}, {"ports": (8000, 8001)}, "http://127.0.0.1:9"),
        ({}, {"pylae.port": "10"}, {"ports": (8000, 8001)}, "http://127.0.0.1:10"),
        ({"port": 9}, {"pylae.port": "10"}, {}, "http://127.0.0.1:9"),
        ({"scheme": "https"}, {}, {"ports": (1,)}, "https://127.0.0.1:1"),
        ({"network": "b"}, {}, {"ports": (1,), "networks": {"a": "10.0.0.1", "b": "10.0.0.2"}}, "http://10.0.0.2:1"),
        (
            {},
            {"pylae.network": "b"},
            {"ports": (1,), "networks": {"a": "10.0.0.1", "b": "10.0.0.2"}},
            "http://10.0.0.2:1",
        ),
        ({}, {}, {"ports": (1,), "networks": {"a": "2001:db8::1"}}, "http://[2001:db8::1]:1"),
        ({"host": "192.0.2.1"}, {}, {"ports": (7, (8, 32768))}, "http://192.0.2.1:32768"),
        ({"host": "2001:db8::1", "port": 8}, {}, {"ports": ((7, 1), (8, 2))}, "http://[2001:db8::1]:2"),
    ],
    ids=range(10),
)
def test_where_a_container_is(
    gateway: Callable[..., Running],
    docker: Docker,
    more: dict[str, Any],
    labels: dict[str, str],
    container: dict[str, Any],
    url: str,
) -> None:
    docker.run("one", {**LABEL, **labels}, **container)
    running = gateway(settings(docker, **more))
    assert weights(running) == {url: 1}
    assert not trouble(running)


@pytest.mark.parametrize(
    ("more", "labels", "container", "why"),
    [
        ({}, {}, {}, "two has not one port (none); `port`, or its label `pylae.port`, says which"),
        ({}, {}, {"ports": (1, 2)}, "two has not one port (1, 2); `port`, or its label `pylae.port`, says which"),
        ({}, {"pylae.port": "x"}, {}, "two has a label `pylae.port` that is not a port"),
        ({}, {"pylae.port": "99999"}, {}, "two has a label or address that cannot be used"),
        ({}, {"pylae.weight": "0"}, {"ports": (1,)}, "two has a label or address that cannot be used"),
        ({}, {}, {"ports": (1,), "networks": {"a": "10.0.0.1", "b": "10.0.0.2"}}, "two has not one network (a, b)"),
        ({}, {}, {"ports": (1,), "networks": {"host": ""}}, "two has not one network (none with an address)"),
        (
            {"network": "bridge"},
            {},
            {"ports": (1,), "networks": {"a": "10.0.0.1"}},
            "two has no address in the network",
        ),
        ({"host": "192.0.2.1"}, {}, {"ports": (1,)}, "two has not one port (none)"),
        ({"host": "192.0.2.1", "port": 3}, {}, {"ports": ((1, 2),)}, "two does not publish port 3"),
    ],
    ids=range(10),
)
def test_a_container_that_cannot_be_used_is_told_and_the_others_are_used(
    gateway: Callable[..., Running],
    docker: Docker,
    more: dict[str, Any],
    labels: dict[str, str],
    container: dict[str, Any],
    why: str,
) -> None:
    docker.run("one", LABEL, ports=(((more.get("port", 9)), 9),))
    docker.run("two", {**LABEL, **labels}, **container)
    running = gateway(settings(docker, **more))
    assert len(weights(running)) == 1
    assert trouble(running).startswith(why)
    assert trouble(running).endswith("; the others are used")


def test_several_labels_are_all_asked_for(gateway: Callable[..., Running], docker: Docker) -> None:
    docker.run("one", {"a": "1", "b": "2"}, ports=(1,))
    docker.run("two", {"a": "1"}, ports=(2,))
    running = gateway(settings(docker, labels=["a=1", "b"]))
    assert weights(running) == {"http://127.0.0.1:1": 1}
    (query,) = {json.dumps(query) for path, query, _ in docker.asked if path.endswith("/containers/json")}
    assert json.loads(json.loads(query)["filters"][0]) == {
        "label": ["a=1", "b"],
        "status": ["running"],
        "health": ["healthy", "none"],
    }


def test_an_engine_that_is_gone_leaves_the_instances_and_is_seen_everywhere(
    admin: Start, docker: Docker, echo: EchoInstance
) -> None:
    docker.run("one", LABEL, ports=(port(echo),))
    with admin({**settings(docker), "routes": [{"path": "/", "service": "users"}]}) as api:
        wait_until(lambda: docker.listening == 1)
        docker.stop()
        wait_until(lambda: "cannot be reached" in (api.get("/services/users")["trouble"] or ""))
        why = api.get("/services/users")["trouble"]
        assert why.startswith(f"{docker.address} cannot be reached (")
        assert why.endswith("; its instances stay as they are")
        assert api.running.get("/").status == 200
        health = api.get("/health")
        assert (health["status"], health["reasons"]) == ("degraded", [f"instances cannot be looked up: users: {why}"])
        docker.run("two", LABEL, ports=(2,))
        docker.start()
        wait_until(lambda: len(api.get("/services/users")["instances"]) == 2)
        assert api.get("/health")["status"] == "healthy"
        assert {one["source"] for one in api.get("/services/users")["instances"]} == {"docker"}


def test_events_that_end_are_asked_for_again(gateway: Callable[..., Running], docker: Docker) -> None:
    docker.run("one", LABEL, ports=(1,))
    running = gateway(settings(docker))
    wait_until(lambda: docker.listening == 1)
    docker.stop()
    docker.start()
    wait_until(lambda: docker.listening == 1)
    docker.run("two", LABEL, ports=(2,))
    wait_until(lambda: len(weights(running)) == 2)
    wait_until(lambda: not trouble(running))


def test_without_events_it_looks_now_and_then(gateway: Callable[..., Running], docker: Docker) -> None:
    """There are proxies for Docker's socket that let lists through, and no events."""
    docker.events_refused = True
    docker.run("one", LABEL, ports=(1,))
    running = gateway(settings(docker, interval="20ms"))
    assert not trouble(running)
    docker.run("two", LABEL, ports=(2,))
    wait_until(lambda: len(weights(running)) == 2)


@pytest.mark.parametrize(
    ("raw", "failure", "why"),
    [
        (b"\x00\xff" * 50, None, "does not answer as HTTP has it"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",
            None,
            "does not answer as Docker does: there is no Api-Ver",
        ),
        (
            b"HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\n\r\n" + b" " * (17 * 1024 * 1024),
            None,
            "answers with more than 16MB",
        ),
        (
            b"HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nContent-Length: 2\r\n\r\n{}",
            None,
            "does not answer as Docker does",
        ),
        (None, (500, '{"message": "the daemon is\\nill"}'), "refuses with 500: the daemon is ill"),
        (
            None,
            (400, '{"message": "client version 1.2 is too old"}'),
            "refuses with 400: client version 1.2 is too old",
        ),
    ],
    ids=range(6),
)
def test_an_answer_that_is_none_leaves_the_instances(
    gateway: Callable[..., Running], docker: Docker, raw: bytes | None, failure: tuple[int, str] | None, why: str
) -> None:
    docker.run("one", LABEL, ports=(1,))
    running = gateway(settings(docker))
    wait_until(lambda: docker.listening == 1)
    docker.raw, docker.failure = raw, failure
    docker.happen("start", "one")
    wait_until(lambda: why in trouble(running))
    assert len(weights(running)) == 1
    docker.raw = docker.failure = None
    wait_until(lambda: not trouble(running))


def test_it_stops_while_it_waits_for_events(gateway: Callable[..., Running], docker: Docker) -> None:
    docker.run("one", LABEL, ports=(1,))
    running = gateway(settings(docker))
    wait_until(lambda: docker.listening == 1)
    running.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "pylae-registry"]


def test_a_reload_ends_the_stream(gateway: Callable[..., Running], docker: Docker, echo: EchoInstance) -> None:
    docker.run("one", LABEL, ports=(1,))
    running = gateway(settings(docker))
    wait_until(lambda: docker.listening == 1)
    running.apply(settings(docker, labels="none"))
    assert weights(running) == {}
    wait_until(lambda: docker.listening == 2)
    running.apply(users=echo)

    def nobody_listens() -> bool:
        # The server notices when it has something to say.
        docker.happen("start", "one")
        docker.happen("start", "one", {"none": ""})
        return docker.listening == 0

    wait_until(nobody_listens)


def test_over_tcp_and_tls(gateway: Callable[..., Running], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Docker() as plain, Docker(context=authority.server("127.0.0.1")) as secure:
        for docker, more in (
            (plain, {"address": plain.address.replace("http:", "tcp:")}),
            (secure, {"ca": str(authority.file)}),
        ):
            docker.run("one", LABEL, ports=(1,))
            running = gateway(settings(docker, **more))
            assert len(weights(running)) == 1
            wait_until(lambda docker=docker: docker.listening == 1)  # type: ignore[misc]
            docker.run("two", LABEL, ports=(2,))
            wait_until(lambda running=running: len(weights(running)) == 2)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"labels": []}, "at least 1"),
        ({"labels": ["=x"]}, "is not a label"),
        ({"port": 0}, "at least 1"),
        ({"host": "a b"}, "is not a host"),
        ({"label": "x"}, "did you mean `labels`?"),
        ({"cert": "a", "key": "b"}, "are for an `address` that begins with https://"),
    ],
)
def test_settings_that_are_wrong(wrong: dict[str, Any], why: str, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    found = {"labels": "pylae.service=users", **wrong}
    file.write_text(f"services:\n  users:\n    discovery:\n      docker: {found}\n")
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(file)
    assert re.search(rf"pylae.yaml:4:\d+: services.users.discovery.docker.*{re.escape(why)}", str(caught.value))


def test_a_label_is_enough() -> None:
    config = Gateway(services={"users": {"discovery": {"docker": "com.docker.compose.service=users"}}}).config
    discovery = config.services["users"].discovery
    assert discovery is not None
    assert discovery.settings.model_dump(include={"labels", "address"}) == {
        "labels": ("com.docker.compose.service=users",),
        "address": "unix:/var/run/docker.sock",
    }
