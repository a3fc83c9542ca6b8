"""What clients are told with which the gateway cannot agree on TLS (RFC 8446 section 6.2, RFC 5246 section 7.2.2)."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.instance import EchoInstance
from support.peer import wait_until
from support.running import Running
from support.tls import Authority

Start = Callable[..., Running]

HANDSHAKE_FAILURE, PROTOCOL_VERSION = 40, 70
AUTHORITY = object()
"""Stands for the file of the test's authority."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority and its files."""
    return Authority(tmp_path)


def listener(authority: Authority, **tls: object) -> dict[str, object]:
    """The configuration of a listener with an ECDSA certificate for `gateway.test`."""
    return {"listeners": [{"address": "127.0.0.1:0", "tls": {**authority.issue("gateway", "gateway.test"), **tls}}]}


def shake(running: Running, *options: str) -> str:
    """What OpenSSL says about a handshake. Its own level of security would keep it from asking for what is old."""
    words = ["openssl", "s_client", "-connect", running.address, "-servername", "gateway.test", *options]
    done = subprocess.run(words, input="", capture_output=True, text=True, check=False, timeout=30)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("settings", "options", "alert"),
    [
        ({}, ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), PROTOCOL_VERSION),
        ({}, ("-tls1", "-cipher", "ALL:@SECLEVEL=0"), PROTOCOL_VERSION),
        ({"min_version": "1.3"}, ("-tls1_2",), PROTOCOL_VERSION),
        # A suite that nobody should use, one for a key of another kind, and one that is rare.
        ({}, ("-tls1_2", "-cipher", "AES128-SHA"), HANDSHAKE_FAILURE),
        ({}, ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), HANDSHAKE_FAILURE),
        ({}, ("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"), HANDSHAKE_FAILURE),
        ({}, ("-tls1_2", "-groups", "brainpoolP256r1"), HANDSHAKE_FAILURE),
        ({}, ("-tls1_3", "-groups", "ffdhe2048"), HANDSHAKE_FAILURE),
        ({}, ("-tls1_2", "-sigalgs", "RSA+SHA256"), HANDSHAKE_FAILURE),
        ({}, ("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"), HANDSHAKE_FAILURE),
        ({"client_auth": AUTHORITY}, ("-tls1_2",), HANDSHAKE_FAILURE),
    ],
    ids=lambda value: "_".join(value) or None if isinstance(value, tuple) else None,
)
def test_a_client_hears_why_there_is_no_handshake(
    settings: dict[str, object],
    options: tuple[str, ...],
    alert: int,
    gateway: Start,
    echo: EchoInstance,
    authority: Authority,
) -> None:
    settings = {name: str(authority.file) if value is AUTHORITY else value for name, value in settings.items()}
    running = gateway(listener(authority, **settings), users=echo)
    assert f"SSL alert number {alert}\n" in shake(running, *options)
    wait_until(lambda: running.gateway.stats()["totals"]["handshakes_failed"] == 1)
    # With what is in common everything is well.
    assert "New, TLSv1.3" in shake(running)


@pytest.mark.parametrize("version", [b"\x03\x00", b"\x03\x01", b"\x03\x02"])
def test_a_hello_of_an_old_version_as_it_was_written_then(
    version: bytes, gateway: Start, echo: EchoInstance, authority: Authority
) -> None:
    """Without extensions, as clients of that time send it: what is wrong with it is its version all the same."""
    running = gateway(listener(authority), users=echo)
    hello = version + bytes(32) + b"\x00" + b"\x00\x04\x00\x2f\x00\x0a" + b"\x01\x00"
    message = b"\x01" + len(hello).to_bytes(3) + hello
    with running.connect() as peer:
        peer.send(b"\x16" + version + len(message).to_bytes(2) + message)
        assert peer.read_all() == bytes([21, 3, 3, 0, 2, 2, PROTOCOL_VERSION])


def test_it_is_heard_behind_what_the_client_goes_on_to_send(
    gateway: Start, echo: EchoInstance, authority: Authority
) -> None:
    """In TLS 1.3 a client is done before the gateway has looked at its certificate, and sends its request at once."""
    running = gateway(listener(authority, client_auth=str(authority.file)), users=echo)
    context = authority.context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    host, _, port = running.address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), 15) as connection,
        context.wrap_socket(connection, server_hostname="gateway.test") as client,
    ):
        client.sendall(b"POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            client.recv(1)
