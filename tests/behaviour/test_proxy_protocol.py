"""The PROXY protocol on listeners."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from support.instance import EchoInstance
from support.running import Running
from support.tls import Authority

Start = Callable[..., Running]
GET = b"GET / HTTP/1.1\r\nHost: gateway.test\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
TEXT = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
BINARY = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack(">H4B4BHH", 12, 192, 0, 2, 7, 198, 51, 100, 1, 56324, 443)
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


@pytest.fixture
def behind(gateway: Start, echo: EchoInstance) -> Running:
    """A gateway behind a proxy on this machine."""
    listener = {"address": "127.0.0.1:0", "proxy_protocol": ["127.0.0.1"]}
    return gateway({"listeners": [listener], "limits": {"head_timeout": "300ms"}}, users=echo)


@pytest.mark.parametrize(
    ("header", "client"),
    [(TEXT, "192.0.2.7"), (BINARY, "192.0.2.7"), (LOCAL, "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1")],
)
def test_the_clients_address_is_what_the_proxy_says(behind: Running, header: bytes, client: str) -> None:
    for pieces in ([header + GET + GET], [bytes([byte]) for byte in header] + [GET, GET]):
        with behind.connect() as peer:
            peer.send(*pieces)
            for _ in range(2):
                fields = dict(json.loads(peer.read_answer().body)["headers"])
                # What the client itself says about where it comes from is not believed.
                assert fields["x-forwarded-for"] == client


@pytest.mark.parametrize(
    "start", [GET, b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n" + GET, TEXT[:-2] + b" 1\r\n" + GET]
)
def test_who_does_not_begin_with_a_header_is_refused(behind: Running, echo: EchoInstance, start: bytes) -> None:
    with behind.connect() as peer:
        peer.send(start)
        assert peer.at_end()
    assert echo.count == 0


@pytest.mark.parametrize("start", [b"", TEXT[:20], BINARY[:14]])
def test_a_header_must_come_in_time(behind: Running, start: bytes) -> None:
    with behind.connect() as peer:
        peer.send(start)
        assert peer.at_end()


def test_strangers_are_refused_whatever_they_say(gateway: Start, echo: EchoInstance) -> None:
    running = gateway({"listeners": [{"address": "127.0.0.1:0", "proxy_protocol": ["192.0.2.1"]}]}, users=echo)
    with running.connect() as peer:
        peer.send(TEXT + GET)
        assert peer.at_end()
    assert echo.count == 0


def test_trusted_proxies_may_be_named_in_one_place(gateway: Start, echo: EchoInstance) -> None:
    listener = {"address": "127.0.0.1:0", "proxy_protocol": True}
    running = gateway({"listeners": [listener], "trusted_proxies": ["127.0.0.1"]}, users=echo)
    with running.connect() as peer:
        peer.send(TEXT + GET)
        assert dict(json.loads(peer.read_answer().body)["headers"])["x-forwarded-for"] == "192.0.2.7"


def test_the_header_stands_before_the_handshake(gateway: Start, echo: EchoInstance, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.issue("gateway", "gateway.test")
    listener = {"address": "127.0.0.1:0", "proxy_protocol": ["127.0.0.1"], "tls": tls}
    running = gateway({"listeners": [listener]}, users=echo)
    with running.connect() as plain:
        plain.send(BINARY)
        with authority.context().wrap_socket(plain.socket, server_hostname="gateway.test") as connection:
            connection.sendall(GET)
            fields = dict(json.loads(connection.recv(65536).partition(b"\r\n\r\n")[2])["headers"])
    assert (fields["x-forwarded-for"], fields["x-forwarded-proto"]) == ("192.0.2.7", "https")
