"""TLS on listeners, with the clients that people use."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pylae.errors import ConfigError
from support.instance import EchoInstance, RawInstance
from support.peer import Peer, wait_until
from support.running import Process, Running
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


def test_client_certificates_are_users(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    settings = listener(authority, client_auth={"ca": str(authority.file), "mode": "optional"})
    users = {"robot.test": {"role": "robot", "permissions": ["write"]}, "other.test": {}}
    config = {
        **settings,
        "auth": {"client_certificate": {"users": users}},
        "routes": [
            {"path": "/open", "service": "users", "auth_required": False},
            {"path": "/closed", "service": "users"},
            {"path": "/write", "service": "users", "permissions": ["write"]},
        ],
    }
    running = gateway(config, users=echo)

    def ask(context: ssl.SSLContext, path: str) -> tuple[int, dict[str, str]]:
        with secure(running.address, context) as peer:
            peer.send(f"GET {path} HTTP/1.1\r\nHost: gateway.test\r\nX-User-Id: forged\r\n\r\n".encode())
            answer = peer.read_answer()
        return answer.status, dict(json.loads(answer.body)["headers"]) if answer.status == 200 else {}

    nobody = authority.context()
    assert ask(nobody, "/open")[0] == 200
    assert ask(nobody, "/closed")[0] == 401
    robot = authority.context(**authority.issue("robot", "robot.test", common_name="robot.test"))
    status, fields = ask(robot, "/write")
    assert (status, fields["x-user-id"], fields["x-user-role"]) == (200, "robot.test", "robot")
    other = authority.context(**authority.issue("other", "other.test"))
    assert ask(other, "/closed")[1]["x-user-id"] == "other.test"
    assert ask(other, "/write")[0] == 403
    unknown = authority.context(**authority.issue("unknown", "unknown.test"))
    assert ask(unknown, "/closed")[0] == 401


def test_whoever_lacks_a_required_certificate_does_not_come_in(
    gateway: Start, echo: EchoInstance, authority: Authority, tmp_path: Path
) -> None:
    running = gateway(listener(authority, client_auth=str(authority.file)), users=echo)
    own = authority.context(**authority.issue("client", "client.test"))
    with secure(running.address, own) as peer:
        peer.send(GET)
        assert peer.read_answer().status == 200
    (tmp_path / "strange").mkdir()
    strange = Authority(tmp_path / "strange").issue("client", "client.test")
    for context in (authority.context(), authority.context(**strange)):
        # With TLS 1.3 a client hears of it after its own part of the handshake.
        with pytest.raises(OSError), secure(running.address, context) as peer:
            peer.send(GET)
            peer.read_answer()
    assert echo.count == 1
    wait_until(lambda: running.gateway.stats()["totals"]["handshakes_failed"] == 2)


def test_versions_and_names_as_openssl_sees_them(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    pairs = [authority.issue("first", "first.test"), authority.issue("second", "second.test")]
    settings = {"certificates": pairs}

    def shake(address: str, *options: str) -> str:
        command = ["openssl", "s_client", "-connect", address, "-CAfile", str(authority.file), *options]
        done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    running = gateway({"listeners": [{"address": "127.0.0.1:0", "tls": settings}]}, users=echo)
    assert "TLSv1.3" in shake(running.address)
    assert "New, TLSv1.2" in shake(running.address, "-tls1_2")
    # Without lowering OpenSSL's own security level it would not even ask.
    assert "New, (NONE)" in shake(running.address, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert "ALPN protocol: http/1.1" in shake(running.address, "-alpn", "http/1.1")
    assert "alert no application protocol" in shake(running.address, "-alpn", "imap")
    assert "verify_hostname" not in shake(running.address, "-servername", "second.test")
    verified = ("-servername", "second.test", "-verify_hostname", "second.test", "-verify_return_error")
    assert "Verify return code: 0 (ok)" in shake(running.address, *verified)
    running.apply({"listeners": [{"address": "127.0.0.1:0", "tls": {**settings, "min_version": 1.3}}]}, users=echo)
    assert "New, (NONE)" in shake(running.address, "-tls1_2")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tickets_are_good_for_their_listener_and_its_clients(
    gateway: Start, echo: EchoInstance, authority: Authority, version: ssl.TLSVersion
) -> None:
    pair = authority.issue("gateway", "gateway.test")
    clients = {"ca": str(authority.file), "mode": "optional"}

    def settings(**first: object) -> dict[str, object]:
        addresses = ("127.0.0.1:0", "127.0.0.2:0")
        return {
            "listeners": [
                {"address": at, "tls": {**pair, **more}} for at, more in zip(addresses, (first, {}), strict=True)
            ]
        }

    running = gateway(settings(), users=echo)
    context = authority.context()
    context.minimum_version = context.maximum_version = version

    def resumed(address: str, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        host, _, port = address.rpartition(":")
        with ssl_connect(context, host, int(port), session) as connection:
            connection.sendall(GET)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            return bool(connection.session_reused), connection.session

    again, session = resumed(running.addresses[0], None)
    assert not again
    assert resumed(running.addresses[0], session)[0]
    assert not resumed(running.addresses[1], session)[0]
    # A new certificate changes nothing about who may come.
    pair = authority.issue("renewed", "gateway.test")
    running.apply(settings(), users=echo)
    assert resumed(running.addresses[0], session)[0]
    running.apply(settings(client_auth=clients), users=echo)
    assert not resumed(running.addresses[0], session)[0]
    running.apply(settings(session_tickets=False), users=echo)
    _, session = resumed(running.addresses[0], None)
    assert not resumed(running.addresses[0], session)[0]


def ssl_connect(context: ssl.SSLContext, host: str, port: int, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    """A handshake that may resume a session."""
    connection = socket.create_connection((host, port), 15)
    return context.wrap_socket(connection, server_hostname="gateway.test", session=session)


def test_a_handshake_that_takes_too_long_is_cut_off(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    running = gateway(listener(authority, handshake_timeout="300ms"), users=echo)
    with running.connect() as silent, running.connect() as slow:
        assert silent.at_end()
        # Bytes that come one by one do not move the end: it is one deadline in total.
        hello = bytes.fromhex("160301020001 0001fc0303".replace(" ", ""))
        with pytest.raises(OSError):
            while True:
                slow.send(hello[:1])
                slow.socket.settimeout(0.05)
                try:
                    if not slow.socket.recv(1):
                        raise ConnectionResetError
                except TimeoutError:
                    continue
    wait_until(lambda: running.gateway.stats()["totals"]["handshakes_failed"] == 2)


def test_what_is_not_tls_is_refused(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    running = gateway(listener(authority), users=echo)
    with running.connect() as peer:
        peer.send(GET)
        with contextlib.suppress(ConnectionResetError):
            assert not peer.read_all().startswith(b"HTTP/")
    assert echo.count == 0


def test_a_client_that_reads_slowly_gets_all(gateway: Start, authority: Authority) -> None:
    body = bytes(range(256)) * 20_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with RawInstance(answer) as instance:
        running = gateway(listener(authority), users=instance)
        connection = Peer.connect(running.address, receive_buffer=4096).socket
        with Peer(authority.context().wrap_socket(connection, server_hostname="gateway.test")) as peer:
            peer.send(GET)
            head = peer.read_head()
            assert head.status == 200
            got = bytearray()
            while len(got) < len(body):
                got += peer.read(min(1000, len(body) - len(got)))
            assert got == body


def test_the_end_is_announced(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    context = authority.context()
    running = gateway(listener(authority), users=echo)
    with secure(running.address, context) as peer:
        assert isinstance(peer.socket, ssl.SSLSocket)
        # Otherwise the module hides an end that was not announced.
        peer.socket.suppress_ragged_eofs = False
        peer.send(b"GET / HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n")
        assert peer.read_answer().status == 200
        assert peer.at_end()


def test_an_answer_that_was_cut_off_ends_without_announcement(gateway: Start, authority: Authority) -> None:
    def answer(peer: Peer, _: object) -> None:
        peer.send(b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        peer.close()

    with RawInstance(answer) as instance:
        running = gateway(listener(authority), users=instance)
        with secure(running.address, authority.context()) as peer:
            assert isinstance(peer.socket, ssl.SSLSocket)
            peer.socket.suppress_ragged_eofs = False
            peer.send(GET)
            peer.read_until(b"half")
            with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                peer.read(1)


def test_node_and_its_agent_that_keeps_connections(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    running = gateway(listener(authority), users=echo)
    port = running.address.rpartition(":")[2]
    script = """
        const https = require("https"), fs = require("fs");
        const agent = new https.Agent({keepAlive: true, maxSockets: 1, ca: fs.readFileSync(process.argv[2])});
        const ask = (left) => https.request(
            {agent, host: "127.0.0.1", port: process.argv[1], servername: "gateway.test", method: "POST"},
            (answer) => {
                let text = "";
                answer.on("data", (piece) => (text += piece)).on("end", () => {
                    console.log(JSON.parse(text).body.length);
                    left ? ask(left - 1) : agent.destroy();
                });
            }).end("x".repeat(50000));
        ask(4);
    """
    command = ["node", "-e", script, "--", port, str(authority.file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["50000"] * 5
    assert running.gateway.stats()["totals"]["handshakes"] == 1


def test_certificates_are_exchanged_under_load_without_a_failed_handshake(
    gateway_process: Callable[..., Process], authority: Authority
) -> None:
    with EchoInstance() as echo:
        process = gateway_process(listener(authority), users=echo)
        context = authority.context()
        stop, failures, serials = threading.Event(), list[BaseException](), set[str]()

        def connect() -> None:
            while not stop.is_set():
                try:
                    with secure(process.address, context) as peer:
                        peer.send(GET)
                        assert peer.read_answer().status == 200
                        assert isinstance(peer.socket, ssl.SSLSocket)
                        certificate = peer.socket.getpeercert()
                        assert certificate
                        serials.add(str(certificate["serialNumber"]))
                except BaseException as error:
                    failures.append(error)
                    return

        threads = [threading.Thread(target=connect) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            authority.issue("gateway", "gateway.test")
            process.read_until("configuration applied")
        # Half of a renewal: refused, and the old pair stays in force.
        key = authority.folder / "gateway.key"
        good = key.read_bytes()
        key.write_bytes(b"not a key")
        process.read_until("the old one stays in force")
        key.write_bytes(good)
        authority.issue("gateway", "gateway.test")
        process.read_until("configuration applied")
        with secure(process.address, context) as peer:
            assert isinstance(peer.socket, ssl.SSLSocket)
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert len(serials) >= 4


def test_a_handshake_in_small_pieces_has_a_bound(
    gateway: Start, echo: EchoInstance, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    running = gateway(listener(authority), users=echo)
    # The beginning of a hello that says that it is 64,000 bytes long, one byte in each record.
    hello = b"\x01\x00\xfa\x00" + bytes(60_000)
    records = b"".join(b"\x16\x03\x01\x00\x01" + bytes([byte]) for byte in hello)
    with running.connect() as peer:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            peer.send(records)
        assert peer.at_end()
    wait_until(lambda: "a message is too long" in caplog.text)
    wait_until(lambda: running.gateway.stats()["totals"]["handshakes_failed"] == 1)


def test_idle_connections_cost_little(gateway_process: Callable[..., Process], authority: Authority) -> None:
    count = 300
    with EchoInstance() as echo, contextlib.ExitStack() as stack:
        process = gateway_process(listener(authority), users=echo)
        context = authority.context()

        def connect() -> None:
            peer = stack.enter_context(secure(process.address, context))
            peer.send(GET)
            assert peer.read_answer().status == 200

        for _ in range(50):
            connect()
        before = process.memory
        for _ in range(count):
            connect()
        # A buffer of 16 KB for each would show.
        assert (process.memory - before) / count < 16_000


def test_an_idle_connection_that_is_closed_hears_of_it(
    gateway: Start, echo: EchoInstance, authority: Authority
) -> None:
    running = gateway({**listener(authority), "limits": {"keep_alive": "100ms"}}, users=echo)
    with secure(running.address, authority.context()) as peer:
        assert isinstance(peer.socket, ssl.SSLSocket)
        peer.socket.suppress_ragged_eofs = False
        peer.send(GET)
        assert peer.read_answer().status == 200
        assert peer.at_end()


def test_bad_files_are_told_with_their_place(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    first, second = authority.issue("first", "a.test"), authority.issue("second", "b.test")
    mixed = {"certificates": [{"cert": first["cert"], "key": second["key"]}], "client_auth": second["key"]}
    with pytest.raises(ConfigError) as caught:
        gateway({"listeners": [{"address": "127.0.0.1:0", "tls": mixed}]}, users=echo)
    told = {problem.path: problem.message for problem in caught.value.problems}
    assert "is not the key of the certificate" in told["listeners[0].tls.certificates[0].key"]
    assert "holds no certificate" in told["listeners[0].tls.client_auth.ca"]
    with pytest.raises(
        ConfigError, match=r"listeners\[0\]\.tls\.certificates\[0\]\.cert: the file missing\.pem cannot"
    ):
        gateway(
            {"listeners": [{"address": "127.0.0.1:0", "tls": {"cert": "missing.pem", "key": first["key"]}}]},
            users=echo,
        )
