"""The admin API over TLS: with the clients that people use, and with those that mean no good."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

from pylae import ConfigError, Gateway
from pylae.admin import bounds
from pylae.cli import main
from pylae.state import local_tls
from support.admin import Admin
from support.exposition import promtool
from support.instance import EchoInstance
from support.peer import Message, Peer, raw, wait_until
from support.running import Process
from support.tls import Authority, secure

Start = Callable[..., Admin]
NAME = "gate.internal"
LIVE = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority and its files."""
    return Authority(tmp_path)


@pytest.fixture
def start(admin: Start, authority: Authority, echo: EchoInstance) -> Callable[..., Admin]:
    """Starts a gateway whose admin API has a certificate for `NAME`, localhost and 127.0.0.1."""

    def started(**tls: Any) -> Admin:
        pair = authority.issue("admin", NAME, "localhost", "127.0.0.1")
        return admin({"admin": {"address": "127.0.0.1:0", "hosts": [NAME], "tls": {**pair, **tls}}}, all=echo)

    return started


def client(api: Admin, context: ssl.SSLContext, **options: Any) -> httpx.Client:
    """A client with the token."""
    fields = {"headers": api.credential, "timeout": 30, **options}
    return httpx.Client(base_url=f"https://{api.address}", verify=context, **fields)


def ask(peer: Peer, api: Admin, path: str, *fields: str) -> Message:
    """The answer to a GET with the token."""
    lines = "".join(f"{field}\r\n" for field in (f"Authorization: Bearer {api.token}", f"Host: {NAME}", *fields))
    peer.send(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    return peer.read_answer()


def test_everything_is_there_as_it_is_without(start: Callable[..., Admin], authority: Authority) -> None:
    with start() as api, client(api, authority.context()) as https:
        assert https.get("/status").json()["listeners"] == [api.running.address]
        assert https.get("/live", headers={"Authorization": ""}).json() == {"status": "live"}
        assert https.get("/ready").json() == {"status": "ready"}
        assert ask_live(api, authority).one("connection") == "close"
        assert https.get("/status", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert https.get("/status", headers={"Host": "evil.example"}).status_code == 403
        assert https.get("/status", headers={"Host": NAME, "Origin": f"https://{NAME}"}).status_code == 200
        assert https.head("/live").content == b""


def test_a_connection_serves_many_requests_and_tells_its_end(start: Callable[..., Admin], authority: Authority) -> None:
    with start() as api, secure(api.address, authority.context(), NAME) as peer:
        for _ in range(3):
            assert ask(peer, api, "/status").status == 200
        assert ask(peer, api, "/status", "Connection: close").status == 200
        # `close_notify` came before: an end without it raises.
        assert peer.read_all() == b""


def test_large_bodies_pass_both_ways(start: Callable[..., Admin], authority: Authority) -> None:
    with start() as api, client(api, authority.context()) as https:
        document = https.get("/config").json()
        answer = {"auth_required": False, "static_response": {"body": "x" * 30_000}}
        document["routes"] = [{"name": f"r{number}", "prefix": f"/{number}", **answer} for number in range(100)]
        put = https.put("/config", json=document, headers={"If-Match": "*"})
        assert put.is_success, put.text
        assert https.get("/config").json() == document


def test_who_calls_is_known(
    start: Callable[..., Admin], authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with start() as api, client(api, authority.context()) as https:
        assert https.get("/status", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert "with a wrong token, from 127.0.0.1" in caplog.text


def test_an_unknown_authority_is_refused_by_clients(start: Callable[..., Admin], tmp_path: Path) -> None:
    with start() as api:
        (tmp_path / "other").mkdir()
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            client(api, Authority(tmp_path / "other").context()).get("/status")


def test_with_client_auth_a_certificate_is_needed_besides_the_token(
    start: Callable[..., Admin], authority: Authority, tmp_path: Path
) -> None:
    known, folder = authority.issue("operator", "operator.test"), tmp_path / "other"
    folder.mkdir()
    stranger = Authority(folder).issue("stranger", "operator.test")
    with start(client_auth={"ca": str(authority.file)}) as api:
        for certificate in ({}, stranger):
            with pytest.raises(httpx.HTTPError), client(api, authority.context(**certificate)) as https:
                https.get("/live")
        with client(api, authority.context(**known)) as https:
            assert https.get("/status").status_code == 200
            assert https.get("/status", headers={"Authorization": ""}).status_code == 401


def test_plain_http_is_told_to_speak_tls(start: Callable[..., Admin]) -> None:
    with start() as api:
        for path in ("/live", "/status"):
            (answer,) = raw(api.address, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert answer.status == 400
            assert json.loads(answer.body)["detail"] == "the admin API speaks TLS here: use https://"


def test_a_handshake_that_takes_too_long_is_given_up(start: Callable[..., Admin], authority: Authority) -> None:
    with start(handshake_timeout="200ms") as api:
        for sent in (b"", b"\x16\x03\x01\x02\x00\x01"):
            with Peer.connect(api.address) as peer:
                peer.send(sent)
                assert peer.read_all() == b""
        assert ask_live(api, authority).status == 200


def ask_live(api: Admin, authority: Authority) -> Message:
    """The answer to a probe."""
    with secure(api.address, authority.context(), NAME) as peer:
        peer.send(LIVE)
        return peer.read_answer()


def test_clients_that_say_nothing_do_not_keep_others_out(start: Callable[..., Admin], authority: Authority) -> None:
    with start() as api, contextlib.ExitStack() as stack:
        for number in range(bounds.WAITING + 20):
            if number % 2:
                stack.enter_context(Peer.connect(api.address))
            else:
                stack.enter_context(Peer.connect(api.address)).send(b"\x16\x03\x01")
        assert ask_live(api, authority).status == 200
        with client(api, authority.context()) as https:
            assert https.get("/status").status_code == 200


def test_bytes_that_are_no_http_end_in_an_answer(start: Callable[..., Admin], authority: Authority) -> None:
    with start() as api, secure(api.address, authority.context(), NAME) as peer:
        peer.send(b"\x00\x01\x02 nonsense\r\n\r\n")
        assert peer.read_answer().status == 400
        assert peer.read_all() == b""


def test_a_client_that_breaks_off_frees_its_place(start: Callable[..., Admin], authority: Authority) -> None:
    """A relay ends with its client, also while Python still has much to say."""
    with start() as api:
        held = 0
        for number in range(10):
            with secure(api.address, authority.context(), NAME) as peer:
                head = f"GET /exchanges/tail HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {api.token}\r\n\r\n"
                peer.send(head.encode())
                assert peer.read_head().status == 200
                # What the first one needs, the loop that serves it among it, stays.
                held = descriptors() if number == 0 else held
        wait_until(lambda: descriptors() < held)


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_events_come_as_they_happen(start: Callable[..., Admin], authority: Authority) -> None:
    with start() as api, client(api, authority.context()) as https, https.stream("GET", "/exchanges/tail") as tail:
        lines = tail.iter_lines()
        assert next(lines) == ": watching"
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                api.running.get("/watched")

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            assert '"/watched"' in next(line for line in lines if line.startswith("data: {"))
        finally:
            ended.set()
            asking.join()


def test_replaced_certificates_take_effect(
    gateway_process: Callable[..., Process], authority: Authority, echo: EchoInstance
) -> None:
    pair = authority.issue("admin", NAME)
    process = gateway_process({"admin": {"address": "127.0.0.1:0", "tls": pair}}, all=echo)
    address = process.said("admin API on https://").rpartition("https://")[2].strip()
    with secure(address, authority.context(), NAME):
        pass
    authority.issue("admin", "other.internal")
    process.read_until("configuration applied")
    with secure(address, authority.context(), "other.internal"):
        pass
    with pytest.raises(ssl.SSLCertVerificationError):
        secure(address, authority.context(), NAME)
    # One that is no certificate is refused, and the old one stays.
    Path(pair["cert"]).write_text("nothing", encoding="ascii")
    assert "holds no certificate" in process.read_until("admin.tls.cert")
    with secure(address, authority.context(), "other.internal"):
        pass


def test_auto_makes_a_certificate_for_this_machine(
    admin: Start, echo: EchoInstance, caplog: pytest.LogCaptureFixture
) -> None:
    with admin({"admin": {"address": "127.0.0.1:0", "tls": "auto"}}, all=echo) as api:
        assert str(local_tls.authority_file()) in caplog.text
        with client(api, ssl.create_default_context(cafile=local_tls.authority_file())) as https:
            assert https.get("/status").status_code == 200


def test_tls_is_taken_over_by_a_reload_but_not_lost_by_one(
    admin: Start, echo: EchoInstance, authority: Authority
) -> None:
    plain = {"address": "127.0.0.1:0", "hosts": [NAME]}
    with admin({"admin": plain}, all=echo) as api:
        assert api.http.get("/status").status_code == 200
        secured = {"admin": {**plain, "tls": authority.issue("admin", NAME)}}
        api.running.apply(secured, all=echo)
        assert ask_live(api, authority).status == 200
        # A configuration for another address counts after a restart, and one without any as well.
        for other in ({"admin": "127.0.0.1:9"}, {"admin": False}, {}):
            api.running.apply(other, all=echo)
            assert ask_live(api, authority).status == 200
        api.running.apply({"admin": plain}, all=echo)
        assert api.http.get("/status").status_code == 200


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("0.0.0.0:9901", "needs TLS"),
        ({"address": "0.0.0.0:9901", "remote": True}, "`remote` is not there any more.*tls"),
        ({"address": "127.0.0.1:9901", "remote": False}, "`remote` is not there any more"),
        ({"address": "unix:/run/x.sock", "tls": "auto"}, "a unix socket speaks no TLS"),
        ({"tls": {"auto": True, "client_auth": {"ca": "x", "mode": "optional"}}}, "optional"),
        ({"tls": {}}, "needs a certificate"),
    ],
)
def test_settings_that_are_refused(settings: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Gateway(admin=settings)


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing", encoding="ascii")
    file = tmp_path / "pylae.yaml"
    file.write_text("admin: {address: '0.0.0.0:9901', tls: {cert: x.pem, key: x.pem}}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"pylae\.yaml:1:46: admin\.tls\.cert: holds no certificate"):
        Gateway.from_file(file).check()


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Calls curl."""
    command = ["curl", "--silent", "--show-error", "--max-time", "30", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_curl_openssl_and_promtool(start: Callable[..., Admin], authority: Authority) -> None:
    with start() as api:
        port = api.address.rpartition(":")[2]
        there = ("--cacert", str(authority.file), "--resolve", f"{NAME}:{port}:127.0.0.1")
        told = curl(*there, "-H", f"Authorization: Bearer {api.token}", f"https://{NAME}:{port}/metrics")
        assert "pylae_admin_restarts_total 0" in told.stdout, told.stderr
        assert promtool("check", "metrics", text=told.stdout) == ""
        assert curl(*there, f"https://{NAME}:{port}/ready").stdout == '{"status":"ready"}'
        assert curl(f"https://127.0.0.1:{port}/ready").returncode == 60
        verifying = ("-CAfile", str(authority.file), "-verify_hostname", NAME, "-verify_return_error")
        spoken = subprocess.run(
            ["openssl", "s_client", "-connect", api.address, *verifying, "-alpn", "h2,http/1.1", "-brief", "-ign_eof"],
            input=LIVE.decode(), capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert '{"status":"live"}' in spoken.stdout, spoken.stderr
        assert "Verification: OK" in spoken.stderr


@pytest.fixture
def pylae(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """Calls the command in an empty directory, for an address and its token."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")

    def run(api: Admin, address: str, *arguments: str, **environment: str) -> Result:
        told = {"PYLAE_ADMIN": address, "PYLAE_ADMIN_TOKEN": api.token, **environment}
        return CliRunner().invoke(main, ["status", *arguments], env=told)

    yield run


def test_the_command_speaks_it(start: Callable[..., Admin], authority: Authority, pylae: Callable[..., Result]) -> None:
    known = authority.issue("operator", "operator.test")
    with start() as api:
        ca = str(authority.file)
        assert pylae(api, f"https://{api.address}", "--ca", ca).exit_code == 0
        assert pylae(api, f"https://{api.address}/", PYLAE_ADMIN_CA=ca).exit_code == 0
        # Who names an authority wants TLS.
        assert pylae(api, api.address, PYLAE_ADMIN_CA=ca).exit_code == 0
        unknown = pylae(api, f"https://{api.address}")
        assert unknown.exit_code == 3
        assert "cannot prove who it is" in unknown.output
        assert "--ca FILE" in unknown.output
        assert "use https://" in pylae(api, api.address).output
        nothing = pylae(api, f"https://{api.address}", "--ca", "nothing.pem")
        assert "cannot be read" in nothing.output
        empty = pylae(api, f"https://{api.address}", "--ca", known["key"])
        assert "no certificates" in empty.output
    with start(client_auth=str(authority.file)) as api:
        asked = pylae(api, f"https://{api.address}", "--ca", ca)
        assert "asks for a certificate" in asked.output, asked.output
        given = ("--ca", ca, "--cert", known["cert"], "--key", known["key"])
        assert pylae(api, f"https://{api.address}", *given).exit_code == 0
        told = {"PYLAE_ADMIN_CA": ca, "PYLAE_ADMIN_CERT": known["cert"], "PYLAE_ADMIN_KEY": known["key"]}
        assert pylae(api, f"https://{api.address}", **told).exit_code == 0


def test_the_command_says_what_is_wrong_about_a_name_or_a_port(
    admin: Start, authority: Authority, echo: EchoInstance, pylae: Callable[..., Result]
) -> None:
    with admin({"admin": {"address": "127.0.0.1:0", "tls": authority.issue("admin", NAME)}}, all=echo) as api:
        other = pylae(api, f"https://{api.address}", "--ca", str(authority.file))
        assert "must name the host" in other.output
    with admin(all=echo) as api:
        assert "speaks no TLS" in pylae(api, f"https://{api.address}").output
        assert pylae(api, f"http://{api.address}").exit_code == 0


def test_the_command_finds_the_authority_of_a_certificate_that_was_made_here(
    admin: Start, echo: EchoInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with admin({"admin": {"address": "127.0.0.1:0", "tls": "auto"}}, all=echo) as api:
        Path("pylae.yaml").write_text(
            yaml.safe_dump({"admin": {"address": api.address, "tls": "auto", "token": api.token}}), encoding="utf-8"
        )
        told = CliRunner().invoke(main, ["status"], env={"PYLAE_ADMIN": api.address})
        assert told.exit_code == 0, told.output
