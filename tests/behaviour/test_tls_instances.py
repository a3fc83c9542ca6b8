"""TLS towards instances: who is believed, what the gateway shows, and what a failure looks like."""

from __future__ import annotations

import datetime
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pylae.errors import ConfigError
from support.instance import OK, RawInstance
from support.peer import Message, Peer, wait_until
from support.running import Process, Running
from support.servers import nginx_instance
from support.tls import Authority

Start = Callable[..., Running]
StartProcess = Callable[..., Process]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority and its files."""
    return Authority(tmp_path)


def service(**tls: object) -> dict[str, object]:
    """The configuration of a service `users` with these settings of TLS, which tries once."""
    routes = [{"prefix": "/", "service": "users", "retries": 0}]
    return {"services": {"users": {"tls": tls}}, "routes": routes}


def test_a_verified_instance_is_asked_over_connections_that_are_kept(gateway: Start, authority: Authority) -> None:
    with RawInstance(OK, context=authority.server("127.0.0.1")) as instance:
        running = gateway(service(ca=str(authority.file)), users=instance)
        for _ in range(5):
            assert running.get().body == b"ok"
        assert instance.connections == 1
        assert instance.requests[0].one("host") == instance.address


def test_the_name_asked_for_is_the_host_or_the_one_that_is_given(gateway: Start, authority: Authority) -> None:
    asked: list[str | None] = []
    context = authority.server("users.internal")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with RawInstance(OK, context=context) as instance:
        running = gateway(service(ca=str(authority.file), server_name="users.internal"), users=instance)
        assert running.get().status == 200
        # The certificate is for another name than the address.
        running.apply(service(ca=str(authority.file)), users=instance)
        assert running.get().status == 502
    assert asked == ["users.internal", None]


def test_the_systems_authorities_are_believed_unless_others_are_given(gateway: Start, authority: Authority) -> None:
    with RawInstance(OK, context=authority.server("127.0.0.1")) as instance:
        assert gateway(service(), users=instance).get().status == 502
        assert gateway(service(verify=False), users=instance).get().status == 200


def test_a_certificate_that_is_listed_itself_is_believed(gateway: Start, tmp_path: Path) -> None:
    files = tmp_path / "own.pem", tmp_path / "own.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-out", files[0], "-keyout", files[1]]
    names = ["-subj", "/CN=own", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    with RawInstance(OK, context=context) as instance:
        running = gateway(service(ca=str(files[0])), users=instance)
        assert running.get().status == 200
        running.apply(service(ca=str(files[0]), server_name="other.test"), users=instance)
        assert running.get().status == 502


def test_connections_made_on_other_terms_are_not_used(gateway: Start, authority: Authority) -> None:
    with RawInstance(OK, context=authority.server("127.0.0.1")) as instance:
        running = gateway(service(verify=False), users=instance)
        assert running.get().status == 200
        running.apply(service(), users=instance)
        assert running.get().status == 502
        running.apply(service(ca=str(authority.file)), users=instance)
        assert running.get().status == 200
        assert instance.connections == 2


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        ({"names": ["127.0.0.1"], "not_after": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)}, "expired"),
        ({"names": ["other.test"]}, "not valid for name"),
    ],
)
def test_the_log_says_why_a_handshake_failed(
    gateway_process: StartProcess, authority: Authority, certificate: dict[str, object], why: str
) -> None:
    names = certificate.pop("names")
    assert isinstance(names, list)
    with RawInstance(OK, context=authority.server(*names, **certificate)) as instance:
        process = gateway_process(service(ca=str(authority.file)), users=instance)
        with process.connect() as peer:
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = peer.read_answer()
        assert answer.status == 502
        assert why not in answer.body.decode()
        assert why in process.read_until(f"TLS with {instance.url} of service users")


def test_an_instance_that_does_not_speak_tls_is_one_that_cannot_be_reached(gateway: Start) -> None:
    with RawInstance(OK) as instance:
        users = {"tls": {}, "connect_timeout": "300ms", "instances": [instance.url.replace("http:", "https:")]}
        running = gateway({**service(), "services": {"users": users}})
        assert running.get().status == 502
        assert b"HTTP/" not in instance.received


def test_the_gateway_shows_its_certificate_to_instances_that_ask(gateway: Start, authority: Authority) -> None:
    context = authority.server("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    own = authority.issue("gateway", "gateway.internal")
    shown = []

    def answer(peer: Peer, _: Message) -> None:
        assert isinstance(peer.socket, ssl.SSLSocket)
        shown.append(peer.socket.getpeercert())
        peer.send(OK)

    with RawInstance(answer, context=context) as instance:
        running = gateway(service(ca=str(authority.file)), users=instance)
        assert running.get().status == 502
        running.apply(service(ca=str(authority.file), **own), users=instance)
        assert running.get().status == 200
    assert shown[0] and ("DNS", "gateway.internal") in shown[0]["subjectAltName"]


def test_nginx_with_mutual_tls_and_health_checks(gateway: Start, authority: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "nginx"
    folder.mkdir()
    content = bytes(range(256)) * 4000
    files = {"health": b"well", "large": content}
    pair = {**authority.issue("nginx", "127.0.0.1"), "ca": str(authority.file)}
    own = authority.issue("gateway", "gateway.internal")
    with nginx_instance(folder, files, pair) as url:
        check = {"path": "/health", "interval": "50ms"}
        tls = {"ca": str(authority.file), **own}
        running = gateway({"services": {"users": {"tls": tls, "health_check": check}}}, users=url)
        assert running.get("/large").body == content

        def healthy() -> bool:
            return bool(running.gateway.stats()["services"][0]["instances"][0]["state"] == "up")

        wait_until(healthy)
        # Without its certificate nginx answers 400, which is not healthy.
        running.apply({"services": {"users": {"tls": {"ca": tls["ca"]}, "health_check": check}}}, users=url)
        wait_until(lambda: not healthy())


@pytest.mark.parametrize("clean", [True, False])
def test_an_end_that_was_not_announced_is_an_incomplete_answer(
    gateway: Start, authority: Authority, clean: bool
) -> None:
    def answer(peer: Peer, _: Message) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        assert isinstance(peer.socket, ssl.SSLSocket)
        if clean:
            # Says close_notify, and does not wait for the other side's.
            peer.socket.settimeout(0)
            with pytest.raises(OSError):
                peer.socket.unwrap()
        peer.close()

    with RawInstance(answer, context=authority.server("127.0.0.1")) as instance:
        running = gateway(service(ca=str(authority.file)), users=instance)
        with running.connect() as peer:
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            if clean:
                assert peer.read_answer().body == b"half of it"
            else:
                with pytest.raises((AssertionError, ConnectionResetError)):
                    peer.read_answer()
        wait_until(lambda: running.gateway.stats()["totals"]["incomplete"] == (0 if clean else 1))


def test_bad_settings_are_told_with_their_place(gateway: Start, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    first, second = authority.issue("first", "a.test"), authority.issue("second", "b.test")
    with pytest.raises(ConfigError) as caught:
        gateway(service(ca=str(tmp_path / "empty.pem"), cert=first["cert"], key=second["key"]), users="https://a")
    told = {problem.path: problem.message for problem in caught.value.problems}
    assert "holds no certificate" in told["services.users.tls.ca"]
    assert "is not the key of the certificate" in told["services.users.tls.key"]
