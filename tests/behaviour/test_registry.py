"""Instances that come and go while the gateway runs, over real sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pylae.config.models.instance import Instance
from pylae.registry.kinds import KINDS
from support.admin import Admin
from support.instance import OK, EchoInstance, RawInstance
from support.names import NameServer
from support.peer import Peer, wait_until
from support.running import Process, Running, configure
from support.traffic import Traffic

Start = Callable[..., Admin]

UNUSED = {place.partition(":")[0] for place in KINDS.values()}
"""The modules of the kinds of sources."""
HEARTBEAT = "services: {all: {discovery: {heartbeat: {ttl: 30s, max_instances: 600}}}}"


def listed(api: Admin) -> list[str]:
    return [instance["url"] for instance in api.get("/services/all")["instances"]]


def test_an_instance_registers_beats_and_leaves(admin: Start, echo: EchoInstance) -> None:
    with admin(HEARTBEAT) as api:
        assert api.running.get("/").status == 503
        found = api.post("/services/all/instances", url=echo.url, ttl=5)
        assert found == {"id": echo.url.removeprefix("http://"), "ttl": 5}
        # Workers have it before it is listed.
        wait_until(lambda: listed(api) == [echo.url])
        assert api.running.get("/").status == 200
        (instance,) = api.get("/services/all")["instances"]
        assert (instance["source"], 0 < instance["expires_in"] <= 5) == ("heartbeat", True)
        path = f"/services/all/instances/{found['id']}"
        assert api.http.put(f"{path}/heartbeat").json() == found
        assert api.http.delete(path).status_code == 204
        wait_until(lambda: api.running.get("/").status == 503)
        assert api.http.delete(path).status_code == 404
        assert api.http.put(f"{path}/heartbeat").status_code == 404


def test_one_that_stops_beating_leaves(admin: Start, echo: EchoInstance) -> None:
    with EchoInstance("second") as second, admin(HEARTBEAT) as api:
        api.post("/services/all/instances", url=echo.url)
        api.post("/services/all/instances", url=second.url, ttl=0.05)
        wait_until(lambda: listed(api) == [echo.url])
        assert api.running.get("/").status == 200


def test_what_is_refused(admin: Start, echo: EchoInstance) -> None:
    with admin(
        "services: {all: {discovery: {heartbeat: {max_instances: 1}}}, other: {instances: ['http://127.0.0.1:1']}}"
    ) as api:

        def status(service: str, **body: Any) -> int:
            return api.http.post(f"/services/{service}/instances", json=body).status_code

        assert status("none", url=echo.url) == 404
        assert status("other", url=echo.url) == 409
        for wrong in ("ftp://x", "http://x/path", "x", "http://a:b@c", "http://" + "x" * 400):
            assert status("all", url=wrong) == 422, wrong
        for wrong in ({"ttl": 0}, {"ttl": True}, {"ttl": "5"}, {"weight": True}, {"weight": "2"}, {"weight": 1.5}):
            assert status("all", url=echo.url, **wrong) == 422, wrong
        assert status("all", url=echo.url, ttl=1e9) == 409
        assert status("all", url=echo.url, colour="red") == 422
        assert status("all", url="https://127.0.0.1:1") == 409
        assert status("all", url=f"http://{api.address}") == 409, "the admin API is no instance"
        assert status("all", url=echo.url) == 201
        assert status("all", url="http://127.0.0.1:1") == 409


def test_a_registered_instance_finishes_what_it_has_when_it_leaves(admin: Start) -> None:
    with RawInstance() as one, admin(HEARTBEAT) as api:
        api.post("/services/all/instances", url=one.url)
        wait_until(lambda: listed(api) == [one.url])
        with api.running.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            peer = one.accept()
            peer.read_request()
            api.http.delete(f"/services/all/instances/{one.address}")
            wait_until(lambda: listed(api) == [])
            peer.send(OK)
            assert client.read_answer().status == 200


def test_changes_of_instances_drop_nothing_and_survive_a_reload(admin: Start, echo: EchoInstance) -> None:
    with EchoInstance("second") as second, admin(HEARTBEAT) as api:
        api.post("/services/all/instances", url=echo.url)
        wait_until(lambda: listed(api) == [echo.url])
        with Traffic(api.running.address) as traffic:
            for n in range(6):
                if n % 2:
                    api.http.delete(f"/services/all/instances/{second.url.removeprefix('http://')}")
                else:
                    api.post("/services/all/instances", url=second.url)
                wait_until(lambda n=n: len(listed(api)) == 2 - n % 2)  # type: ignore[misc]
                document = api.get("/config")
                document["limits"] = {"max_requests": 1000 + n}
                answer = api.http.put("/config", json=document, headers={"If-Match": "*"})
                assert answer.status_code == 200, answer.text
                assert len(listed(api)) == 2 - n % 2
                traffic.wait_for(20)
        assert traffic.failures == []
        assert second.count > 0


def test_what_registers_during_changes_is_used(admin: Start) -> None:
    with admin(HEARTBEAT) as api:
        urls = [f"http://127.0.0.1:{port}" for port in range(1, 61)]

        def register() -> None:
            for url in urls:
                api.post("/services/all/instances", url=url)

        registering = threading.Thread(target=register)
        registering.start()
        document = api.get("/config")
        for n in range(10):
            answer = api.http.put(
                "/config", json={**document, "limits": {"max_requests": 1000 + n}}, headers={"If-Match": "*"}
            )
            assert answer.status_code == 200, answer.text
        registering.join()
        wait_until(lambda: sorted(listed(api)) == sorted(urls))


def test_a_change_that_is_refused_leaves_the_terms_of_registration(admin: Start) -> None:
    with admin(HEARTBEAT) as api:
        document = api.get("/config")
        narrow = {"all": {"discovery": {"heartbeat": {"max_instances": 1, "max_ttl": 1, "ttl": 1}}}}
        refused = {**document, "services": narrow, "workers": 2}
        assert api.http.put("/config", json=refused, headers={"If-Match": "*"}).status_code == 422
        assert api.post("/services/all/instances", url="http://127.0.0.1:1")["ttl"] == 30
        assert api.post("/services/all/instances", url="http://127.0.0.1:2", ttl=40)["ttl"] == 40
        accepted = {**refused, "workers": 1}
        assert api.http.put("/config", json=accepted, headers={"If-Match": "*"}).status_code == 200
        answer = api.http.post("/services/all/instances", json={"url": "http://127.0.0.1:3"})
        assert answer.status_code == 409


def test_registered_instances_outlive_a_restart(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path
) -> None:
    services = {"all": {"discovery": {"heartbeat": {}}}}
    routes = [{"prefix": "/", "service": "all", "auth_required": False}]
    config = {"admin": "127.0.0.1:0", "state": str(tmp_path / "state"), "services": services, "routes": routes}
    running = gateway_process(config)
    address = running.read_until("admin API on").split()[-1]
    token = (tmp_path / "state" / "admin-token").read_text().strip()
    with httpx.Client(base_url=f"http://{address}", headers={"Authorization": f"Bearer {token}"}, verify=False) as http:
        for url, ttl in ((echo.url, 600), ("http://127.0.0.1:1", 0.5)):
            answer = http.post("/services/all/instances", json={"url": url, "ttl": ttl})
            assert answer.status_code == 201
        kept = tmp_path / "state" / "registered.json"
        wait_until(lambda: kept.exists() and echo.url in kept.read_text())
    running.signal(signal.SIGKILL)
    running.wait()
    wait_until(lambda: time.time() > kept.stat().st_mtime + 0.5)
    again = Process(configure(config), running.file.parent)
    try:
        with Peer.connect(again.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.read_answer().status == 200, "from the first request on"
        address = again.read_until("admin API on").split()[-1]
        with httpx.Client(
            base_url=f"http://{address}", headers={"Authorization": f"Bearer {token}"}, verify=False
        ) as http:
            (instance,) = http.get("/services/all").json()["instances"]
            assert instance["url"] == echo.url
            assert instance["expires_in"] < 600
    finally:
        again.stop()


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


def test_instances_from_dns(gateway: Callable[..., Running], echo: EchoInstance, names: NameServer) -> None:
    port = echo.url.rpartition(":")[2]
    names.put("users.test", "A", "127.0.0.1", ttl=0)
    dns = {"name": "users.test", "port": int(port), "resolvers": [names.address], "min_ttl": "50ms", "gone_after": 0}
    running = gateway({"services": {"users": {"discovery": {"dns": dns}}}})
    assert running.get("/").status == 200, "from the first request on"
    names.put("users.test", "A", "127.0.0.2", ttl=0)
    wait_until(lambda: running.gateway.stats()["services"][0]["instances"][0]["url"] == f"http://127.0.0.2:{port}")
    del names.records["users.test", "A"]
    wait_until(lambda: running.get("/").status == 503)
    trouble = "users.test has no address; it has no instances from there any more"
    assert running.gateway.registry.troubles() == {"users": trouble}


def test_a_name_that_cannot_be_looked_up_does_not_keep_it_from_starting(
    gateway: Callable[..., Running], echo: EchoInstance, names: NameServer
) -> None:
    dns = {"name": "users.test", "port": 1, "resolvers": [names.address], "retry": "50ms"}
    running = gateway({"services": {"users": {"instances": [echo.url], "discovery": {"dns": dns}}}})
    assert running.get("/").status == 200


def test_a_name_that_cannot_be_looked_up_is_seen_everywhere(
    admin: Start, echo: EchoInstance, names: NameServer, caplog: pytest.LogCaptureFixture
) -> None:
    port = int(echo.url.rpartition(":")[2])
    dns = {"name": "users.test", "port": port, "resolvers": [names.address], "retry": "20ms", "gone_after": "1h"}
    services = {"users": {"discovery": {"dns": dns}}, "all": {"instances": [echo.url]}}
    with admin({"services": services, "routes": [{"path": "/", "service": "users"}]}) as api:
        why = "users.test has no address; its instances stay as they are"
        assert api.get("/services/users")["trouble"] == why
        assert api.get("/services/all")["trouble"] is None
        health = api.get("/health")
        assert (health["status"], health["reasons"]) == ("degraded", [f"instances cannot be looked up: users: {why}"])
        failing = 'pylae_discovery_failing{service="users",source="dns"}'
        assert f"\n{failing} 1\n" in api.http.get("/metrics").text
        assert f"users: {why}" in caplog.messages
        names.put("users.test", "A", "127.0.0.1", ttl=0)
        wait_until(lambda: api.get("/services/users")["trouble"] is None)
        wait_until(lambda: api.get("/services/users")["instances"] != [])
        assert api.running.get("/").status == 200
        assert (api.get("/health")["status"], api.get("/health")["reasons"]) == ("healthy", [])
        assert f"\n{failing} 0\n" in api.http.get("/metrics").text
        assert "users: its instances are known again" in caplog.messages


def test_instances_from_a_file(gateway: Callable[..., Running], echo: EchoInstance, tmp_path: Path) -> None:
    file = tmp_path / "instances.json"
    file.write_text(f'{{"users": ["{echo.url}"]}}')
    discovery = {"file": {"path": str(file), "interval": "20ms"}}
    running = gateway({"services": {"users": {"discovery": discovery}}})
    assert running.get("/").status == 200
    beside = tmp_path / "beside"
    beside.write_text("{}")
    beside.replace(file)
    wait_until(lambda: running.get("/").status == 503)


def test_a_program_registers_instances(gateway: Callable[..., Running], echo: EchoInstance) -> None:
    """Without an admin API."""
    running = gateway(HEARTBEAT)
    registry = running.gateway.registry
    registration = registry.register("all", Instance(url=echo.url), ttl=60)
    assert (registration.ttl, registration.instance.url) == (60, echo.url)
    wait_until(lambda: running.get("/").status == 200)
    name = echo.url.removeprefix("http://")
    assert registry.heartbeat("all", name) is registration
    assert registry.remove("all", name)
    wait_until(lambda: running.get("/").status == 503)


def test_a_source_that_is_taken_away_is_followed_no_more(
    gateway: Callable[..., Running], echo: EchoInstance, names: NameServer
) -> None:
    names.put("users.test", "A", "127.0.0.1", ttl=0)
    dns = {"name": "users.test", "port": 1, "resolvers": [names.address], "min_ttl": "10ms"}
    running = gateway({"services": {"users": {"discovery": {"dns": dns}}}})
    running.apply(users=echo)
    assert running.get("/").status == 200
    asked = len(names.asked)
    for _ in range(20):
        running.get("/")
    assert len(names.asked) <= asked + 2
    assert not [thread for thread in threading.enumerate() if "registry" in thread.name and not thread.is_alive()]


def test_what_is_not_used_costs_nothing() -> None:
    program = f"""
import sys, pylae
pylae.Gateway(services={{"users": {{"instances": ["http://127.0.0.1:1"]}}}})
unused = {{"dns", "fastapi", "uvicorn", "asyncio", "http.client", *{sorted(UNUSED)}}}
print(sorted(unused & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert found.stdout.strip() == "[]"
