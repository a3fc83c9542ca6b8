"""`tls: auto`: a certificate for this machine."""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import ssl
import stat
import subprocess
import time
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pylae import Gateway
from pylae.errors import ConfigError
from support.h2servers import Shop, grpc_instance
from support.instance import EchoInstance
from support.running import Process, Running, configure

CONFIG = {"listeners": [{"address": "127.0.0.1:0", "tls": "auto"}]}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Pylae keeps what outlives a restart."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "pylae"


def test_it_is_made_once_and_kept_where_only_its_owner_can_read(
    gateway: Callable[..., Running], echo: EchoInstance, state: Path
) -> None:
    gateway(CONFIG, users=echo).stop()
    file = state / "localhost.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    made = file.read_text()
    assert "PRIVATE KEY" in made
    assert "PRIVATE KEY" not in (state / "localhost-ca.pem").read_text()
    gateway(CONFIG, users=echo)
    assert file.read_text() == made
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="other users can read or change"):
        gateway(CONFIG, users=echo)


def test_clients_trust_it_once_they_are_told(
    gateway_process: Callable[..., Process], echo: EchoInstance, state: Path
) -> None:
    process = gateway_process(CONFIG, users=echo)
    port = process.address.rpartition(":")[2]
    authority = state / "localhost-ca.pem"
    assert str(authority) in "".join(process.printed)
    for url in (f"https://localhost:{port}/", f"https://127.0.0.1:{port}/"):
        words = ["curl", "-sS", "--cacert", str(authority), url]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["method"] == "GET"
    refused = subprocess.run(["curl", "-sS", f"https://localhost:{port}/"], capture_output=True, check=False)
    assert refused.returncode == 60


def test_it_is_what_the_standard_says_a_certificate_is(echo: EchoInstance, state: Path) -> None:
    running = Gateway(**configure(CONFIG, users=echo))
    address = running.start()[0]
    running.stop(drain=False)
    assert address
    leaf, authority = state / "localhost.pem", state / "localhost-ca.pem"
    words = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost"]
    done = subprocess.run([*words, "-CAfile", authority, leaf], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("OK\n")
    text = subprocess.run(
        ["openssl", "x509", "-in", authority, "-text", "-noout"], capture_output=True, text=True
    ).stdout
    assert "X509v3 Name Constraints: critical" in text
    # What Python itself thinks of it.
    ssl.create_default_context(cafile=authority)


def test_grpc_clients_trust_it_too(gateway: Callable[..., Running], state: Path) -> None:
    """Their TLS, BoringSSL, refuses a chain with constraints that it does not know, such as those on addresses."""
    with grpc_instance(Shop()) as url:
        running = gateway({**CONFIG, "services": {"shop": {"protocol": "http2"}}}, shop=url)
        port = running.address.rpartition(":")[2]
        trusted = grpc.ssl_channel_credentials((state / "localhost-ca.pem").read_bytes())
        for host in ("localhost", "127.0.0.1"):
            with grpc.secure_channel(f"{host}:{port}", trusted, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                assert channel.unary_unary("/shop.Shop/Unary")(b"abc", timeout=15) == b"cba"


def test_the_authority_vouches_for_servers_of_this_machine_only(echo: EchoInstance, state: Path) -> None:
    running = Gateway(**configure(CONFIG, users=echo))
    running.start()
    running.stop(drain=False)
    words = ["openssl", "x509", "-in", state / "localhost-ca.pem", "-noout", "-text"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    shown = re.sub(r"\s+", " ", text)
    assert "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0 X509v3" in shown
    assert "X509v3 Name Constraints: critical Permitted: DNS:localhost X509v3" in shown
    assert "X509v3 Extended Key Usage: TLS Web Server Authentication X509v3" in shown


def _as_made_earlier() -> bytes:
    """A key, its certificate, and the authority that made it, which may vouch for a name and for addresses."""
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pylae on this machine, 0a0b0c0d")])
    loopback: list[IPv4Network | IPv6Network] = [IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")]
    constraints = x509.NameConstraints([x509.DNSName("localhost"), *map(x509.IPAddress, loopback)], None)

    def certificate(key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> bytes:
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=397))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    key = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key + certificate(own) + certificate(authority, x509.BasicConstraints(True, 0), constraints)


def test_an_authority_that_grpc_clients_refuse_is_made_anew(
    echo: EchoInstance, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of earlier versions have constraints on addresses."""
    kept, earlier = state / "localhost.pem", _as_made_earlier()
    state.mkdir(mode=0o700, parents=True)
    kept.touch(0o600)
    kept.write_bytes(earlier)
    assert Gateway(**configure(CONFIG, users=echo)).check() == []
    assert kept.read_bytes() == earlier
    caplog.set_level(logging.INFO, "pylae")
    for made_anew in (True, False):
        caplog.clear()
        running = Gateway(**configure(CONFIG, users=echo))
        running.start()
        running.stop(drain=False)
        assert kept.read_bytes() != earlier
        assert ("gRPC clients refuse the authority" in caplog.text) == made_anew
    assert str(state / "localhost-ca.pem") in caplog.text
    assert (state / "localhost-ca.pem").read_text().strip() in kept.read_text()


def test_looking_at_a_configuration_makes_no_files(state: Path, echo: EchoInstance) -> None:
    assert Gateway(**configure(CONFIG, users=echo)).check() == []
    assert not state.exists()


def test_one_that_is_old_is_made_anew(echo: EchoInstance, state: Path) -> None:
    def start() -> str:
        running = Gateway(**configure(CONFIG, users=echo))
        running.start()
        running.stop(drain=False)
        return (state / "localhost.pem").read_text()

    first = start()
    for days, same in ((360, True), (370, False)):
        then = time.time() - days * 86_400
        os.utime(state / "localhost.pem", (then, then))
        assert (start() == first) == same
    assert (state / "localhost-ca.pem").read_text().strip() in (state / "localhost.pem").read_text()
