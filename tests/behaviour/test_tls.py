"""TLS on listeners, with the clients that people use."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.instance import EchoInstance, RawInstance
from support.peer import Peer, wait_until
from support.running import Running
from support.tls import Authority, secure

Start = Callable[..., Running]
GET = b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority and its files."""
    return Authority(tmp_path)


def listener(authority: Authority, **tls: object) -> dict[str, object]:
    """The configuration of a listener with a certificate for `gateway.test`."""
    return {"listeners": [{"address": "127.0.0.1:0", "tls": {**authority.issue("gateway", "gateway.test"), **tls}}]}


def subject(peer: Peer) -> set[str]:
    """Names that the other side's certificate is for."""
    assert isinstance(peer.socket, ssl.SSLSocket)
    certificate = peer.socket.getpeercert()
    assert certificate
    return {name for _, name in certificate["subjectAltName"]}


def test_an_exchange_over_tls_is_https_to_the_instance(
    gateway: Start, echo: EchoInstance, authority: Authority
) -> None:
    running = gateway({**listener(authority), "policies": {"security_headers": True}}, users=echo)
    with secure(running.address, authority.context()) as peer:
        for _ in range(3):
            peer.send(GET)
            answer = peer.read_answer()
            assert answer.one("strict-transport-security")
            assert ["x-forwarded-proto", "https"] in json.loads(answer.body)["headers"]
    wait_until(lambda: running.gateway.stats()["totals"]["connections"] == 0)
    assert running.gateway.stats()["totals"]["handshakes"] == 1


def test_a_listener_without_tls_sends_no_hsts(gateway: Start, echo: EchoInstance) -> None:
    answer = gateway("policies: {security_headers: true}", users=echo).get()
    assert "strict-transport-security" not in answer


def test_the_name_asked_for_decides_about_the_certificate(
    gateway: Start, echo: EchoInstance, authority: Authority
) -> None:
    pairs = [
        authority.issue("first", "first.test"),
        authority.issue("wild", "*.wild.test"),
        authority.issue("exact", "exact.wild.test"),
    ]
    running = gateway({"listeners": [{"address": "127.0.0.1:0", "tls": {"certificates": pairs}}]}, users=echo)
    lenient = authority.context()
    lenient.check_hostname = False
    for name, shown in [
        ("first.test", "first.test"),
        ("FIRST.test", "first.test"),
        ("a.wild.test", "*.wild.test"),
        ("exact.wild.test", "exact.wild.test"),
        ("a.b.wild.test", "first.test"),
        ("wild.test", "first.test"),
        ("unknown.test", "first.test"),
    ]:
        with secure(running.address, lenient, name) as peer:
            assert subject(peer) == {shown}, name


def test_curl_verifies_and_gets_what_it_asked_for(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    running = gateway(listener(authority), users=echo)
    port = running.address.rpartition(":")[2]
    command = ["curl", "-sS", "--cacert", str(authority.file), "--resolve", f"gateway.test:{port}:127.0.0.1"]
    done = subprocess.run(
        [*command, "--data-binary", "@-", f"https://gateway.test:{port}/a"],
        input="x" * 300_000,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(done.stdout)["body"]) == 300_000


def test_bodies_of_all_framings_pass_both_ways(gateway: Start, authority: Authority) -> None:
    body = bytes(range(256)) * 8000
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    known = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with RawInstance(chunked, known) as instance:
        running = gateway(listener(authority), users=instance)
        with secure(running.address, authority.context()) as peer:
            for head in (b"Content-Length: %d\r\n\r\n%s" % (len(body), body), b"\r\n"):
                peer.send(b"POST / HTTP/1.1\r\nHost: gateway.test\r\n" + head)
                assert peer.read_answer().body == body
        assert [request.body for request in instance.requests] == [body, b""]
