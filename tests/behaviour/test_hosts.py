"""Hosts that are answered at all: others get 421, however they are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pylae import ConfigError, Gateway
from pylae.testing import FakeService, RunningGateway
from support.h2client import FramePeer
from support.instance import RawInstance
from support.peer import Message, wait_until
from support.running import Running
from support.tls import Authority, secure

Start = Callable[..., Running]

HOSTS: dict[str, Any] = {"hosts": ["shop.test", "*.shop.test", "[::1]"]}


def get(running: Running, target: str, host: str) -> Message:
    """One GET for a host."""
    return running.raw(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), 1)[0]


def test_others_are_misdirected(gateway: Start, instance: RawInstance) -> None:
    running = gateway({**HOSTS, "policies": {"security_headers": {}}}, all=instance)
    for host in ("shop.test", "Shop.TEST:8080", "shop.test.", "a.shop.test", "a.b.shop.test:1", "[::1]:8080", "[0::1]"):
        assert get(running, "/", host).status == 200, host
    count = len(instance.requests)
    for host in ("127.0.0.1", "shop.test.evil.test", "evilshop.test", "test", "[::2]", "a.shop.tests"):
        answer = get(running, "/x", host)
        assert answer.status == 421, host
        assert answer.start == "HTTP/1.1 421 Misdirected Request"
        assert answer.one("content-type") == "application/problem+json"
        assert answer.one("x-frame-options") == "DENY"
        problem = json.loads(answer.body)
        assert (problem["type"], problem["instance"]) == ("urn:pylae:error:misdirected_request", "/x")
        assert host not in answer.body.decode()
    assert len(instance.requests) == count


def test_whatever_the_path_and_method(gateway: Start, instance: RawInstance) -> None:
    """That there is no route, or none for a method, is not told to those who ask for another host."""
    running = gateway({**HOSTS, "routes": [{"path": "/here", "method": "GET", "service": "all"}]}, all=instance)
    for start, status in (("GET /here", 200), ("GET /", 404), ("POST /here", 405), ("OPTIONS *", 404)):
        for host, expected in (("shop.test", status), ("evil.test", 421)):
            (answer,) = running.raw(f"{start} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), 1)
            assert answer.status == expected, (start, host)


def test_the_connection_can_be_used_for_another(gateway: Start, instance: RawInstance) -> None:
    running = gateway(HOSTS, all=instance)
    requests = (
        b"POST / HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"
    )
    assert [answer.status for answer in running.raw(requests, 2)] == [421, 200]


def test_a_target_in_absolute_form_decides(gateway: Start, instance: RawInstance) -> None:
    running = gateway(HOSTS, all=instance)
    assert get(running, "http://shop.test/", "evil.test").status == 200
    assert get(running, "http://evil.test/", "shop.test").status == 421


def test_a_client_that_names_none(gateway: Start, instance: RawInstance) -> None:
    (answer,) = gateway(HOSTS, all=instance).raw(b"GET / HTTP/1.0\r\n\r\n")
    assert answer.status == 421


def test_what_a_trusted_proxy_says_is_another_matter(gateway: Start, instance: RawInstance) -> None:
    running = gateway({**HOSTS, "trusted_proxies": ["127.0.0.1"]}, all=instance)
    assert running.get("/", "X-Forwarded-Host: shop.test").status == 421


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_over_http2(tls: bool, gateway: Start, instance: RawInstance, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    listener = {"address": "127.0.0.1:0", "http2": True}
    if tls:
        listener["tls"] = authority.issue("gateway", "localhost")
    running = gateway({**HOSTS, "listeners": [listener]}, all=instance)
    context = authority.context()
    context.set_alpn_protocols(["h2"])
    with FramePeer(running.address, tls=context if tls else None) as client:
        for host, status in (("gateway.test", 421), ("shop.test", 200), ("a.shop.test:1", 200), ("evil.test", 421)):
            fields = [(name, host if name == ":authority" else value) for name, value in client.head()]
            answer = client.answer(client.open(fields))
            assert answer.status == status
            if status == 421:
                assert json.loads(answer.body)["title"] == "Misdirected Request"


def test_over_tls_by_the_request_not_the_handshake(gateway: Start, instance: RawInstance, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    listeners = [{"address": "127.0.0.1:0", "tls": authority.issue("gateway", "shop.test")}]
    running = gateway({**HOSTS, "listeners": listeners}, all=instance)
    with secure(running.address, authority.context(), "shop.test") as client:
        for host, status in (("shop.test", 200), ("evil.test", 421)):
            client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert client.read_answer().status == status


def test_a_reload_changes_them(gateway: Start, instance: RawInstance) -> None:
    running = gateway(all=instance)
    assert get(running, "/", "evil.test").status == 200
    running.apply({"hosts": "shop.test|other.test"}, all=instance)
    assert [get(running, "/", host).status for host in ("evil.test", "shop.test", "other.test")] == [421, 200, 200]


def test_it_is_counted(gateway: Start, instance: RawInstance) -> None:
    running = gateway(HOSTS, all=instance)
    get(running, "/", "evil.test")
    # The answer is there before the exchange is over.
    wait_until(lambda: 'code="misdirected_request"' in running.gateway.metrics())


@pytest.mark.parametrize("hosts", [["shop.test:80"], ["*"], ["a.*"], ["http://shop.test"], [""], [7]])
def test_what_is_no_host_is_refused(hosts: Any) -> None:
    with pytest.raises(ConfigError, match="hosts"):
        Gateway(hosts=hosts)


def test_a_test_may_ask_by_address(service: FakeService) -> None:
    """`pylae.testing`: who says nothing about the host is one of those who may ask."""
    config = {"hosts": ["shop.test"], "routes": [{"prefix": "/", "service": "all", "auth_required": False}]}
    with RunningGateway(config, {"all": service}) as gateway:
        assert gateway.get("/").status == 200
        assert gateway.get("/", headers={"Host": "shop.test"}).status == 200
        assert gateway.get("/", headers={"Host": "evil.test"}).status == 421


class TestWarnings:
    """What `pylae check` says of hosts."""

    def warnings(self, folder: Path, config: dict[str, Any]) -> list[str]:
        routes = [{"auth_required": False, "service": "all", **route} for route in config.pop("routes")]
        services = {"all": {"instances": ["http://127.0.0.1:1"]}}
        file = folder / "pylae.yaml"
        file.write_text(yaml.safe_dump({"services": services, "routes": routes, **config}), encoding="utf-8")
        return [str(problem) for problem in Gateway.from_file(file).check()]

    @pytest.mark.parametrize("listener", [":8080", "192.0.2.1:80", "[::]:80"])
    def test_a_route_that_takes_any_host_where_others_can_ask(self, listener: str, tmp_path: Path) -> None:
        config = {"listeners": ["127.0.0.1:1", listener], "routes": [{"path": "/a", "host": "a.test"}, {"path": "/b"}]}
        (warning,) = self.warnings(tmp_path, config)
        assert "pylae.yaml" in warning and "routes[1]" in warning
        assert "any host" in warning and "`hosts: [shop.example]`" in warning

    def test_several_are_told_once(self, tmp_path: Path) -> None:
        routes = [{"path": "/a"}, {"path": "/b"}, {"path": "/c", "host": "c.test"}]
        (warning,) = self.warnings(tmp_path, {"listeners": [":8080"], "routes": routes})
        assert "routes[0]" in warning and "2 routes" in warning

    @pytest.mark.parametrize(
        "more",
        [
            {"listeners": ["127.0.0.1:8080", "[::1]:8080", "localhost:81"]},
            {"listeners": [":8080"], "hosts": ["a.test"]},
        ],
    )
    def test_none_on_this_machine_or_where_hosts_are_named(self, more: dict[str, Any], tmp_path: Path) -> None:
        assert self.warnings(tmp_path, {"routes": [{"path": "/a"}], **more}) == []

    def test_a_route_for_a_host_that_is_not_answered(self, tmp_path: Path) -> None:
        taken = ["a.test", "x.b.test", "*.b.test", "*.y.b.test", "*.test"]
        routes = [{"path": f"/{index}", "host": host} for index, host in enumerate([*taken, "b.test", "*.c.test"])]
        found = self.warnings(tmp_path, {"hosts": ["a.test", "*.b.test"], "routes": routes})
        assert [index for index in range(7) if f"routes[{index}].host:" in "".join(found)] == [5, 6]


def test_explain(tmp_path: Path) -> None:
    """The Host that is sent, and that others are misdirected."""
    from click.testing import CliRunner

    from pylae.cli import main

    config = """
hosts: [shop.test]
services:
  plain: {instances: ["http://127.0.0.1:9001"]}
  tls: {instances: ["https://api.internal"]}
routes:
  - {path: /plain, service: plain, auth_required: false}
  - {path: /own, service: plain, auth_required: false, preserve_host: false}
  - {path: /tls, service: tls, auth_required: false}
  - {prefix: /api, strip_prefix: true, service: plain, auth_required: false}
"""
    file = tmp_path / "pylae.yaml"
    file.write_text(config, encoding="utf-8")

    def explain(url: str, *options: str) -> str:
        result = CliRunner().invoke(main, ["explain", str(file), "GET", url, *options])
        assert result.exit_code == 0, result.output
        return result.output

    assert "sends GET /plain to the host shop.test:81\n" in explain("http://shop.test:81/plain")
    assert "sends GET /own to the host 127.0.0.1:9001\n" in explain("http://shop.test/own")
    assert "sends GET /tls to the host api.internal\n" in explain("http://shop.test/tls")
    assert ["X-Forwarded-Prefix", "/api"] in json.loads(explain("http://shop.test/api/x", "--json"))["upstream_headers"]
    misdirected = explain("http://evil.test/plain")
    assert "421: its host is not one of `hosts`" in misdirected
    assert "Considered" not in misdirected, "no route is looked for"
