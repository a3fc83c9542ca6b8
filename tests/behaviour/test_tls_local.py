"""`tls: auto`: a certificate for this machine."""

from __future__ import annotations

import json
import os
import ssl
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pylae import Gateway
from pylae.errors import ConfigError
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
    with pytest.raises(ConfigError, match="can be read or changed by others"):
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
