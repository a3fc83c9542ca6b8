"""HTTP/2 with the clients and servers that people use, over TLS, with large bodies, and while the gateway stops."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame

from support.h2client import Flooder, FramePeer
from support.instance import EchoInstance, RawInstance
from support.peer import Message, Peer
from support.programs import program
from support.running import Process, Running
from support.servers import nginx_instance
from support.tls import Authority

Start = Callable[..., Running]
StartProcess = Callable[..., Process]

PLAIN = {"listeners": [{"address": "127.0.0.1:0", "http2": True}]}
MB = 1024 * 1024
GB = 1024 * MB


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority and its files."""
    return Authority(tmp_path)


def secured(authority: Authority, **more: object) -> dict[str, object]:
    """The configuration of a listener with TLS."""
    return {"listeners": [{"address": "127.0.0.1:0", "tls": authority.issue("gateway", "localhost"), **more}]}


def curl(running: Running | Process, authority: Authority, *options: str) -> bytes:
    """What curl prints, the version of HTTP at its end."""
    port = running.address.rpartition(":")[2]
    command = ["curl", "-sS", "--cacert", str(authority.file), "-w", "%{http_version}", *options]
    return subprocess.run([*command, f"https://localhost:{port}/a"], capture_output=True, check=True, timeout=50).stdout


def test_curl_chooses_in_the_handshake(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    running = gateway(secured(authority), echo=echo)
    got = curl(running, authority, "-d", "x" * 100_000)
    assert got[-1:] == b"2"
    seen = json.loads(got[:-1])
    assert len(seen["body"]) == 100_000
    assert ["x-forwarded-proto", "https"] in seen["headers"]
    assert curl(running, authority, "--http1.1")[-3:] == b"1.1"


def test_a_listener_with_tls_may_leave_it_out(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    running = gateway(secured(authority, http2=False), echo=echo)
    assert curl(running, authority)[-3:] == b"1.1"
    running.apply(secured(authority), echo=echo)


def test_h2load_over_tls(gateway: Start, echo: EchoInstance, authority: Authority) -> None:
    running = gateway(secured(authority), echo=echo)
    command = [program("h2load", "nghttp2-client"), "-n", "3000", "-c", "8", "-m", "16", f"https://{running.address}/"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)
    assert "3000 succeeded, 0 failed, 0 errored, 0 timeout" in loaded.stdout
    assert "Application protocol: h2" in loaded.stdout


NODE = """
const http2 = require("node:http2");
const client = http2.connect(process.argv[2]);
const get = (path) => new Promise((resolve, reject) => {
  const stream = client.request({ ":path": path });
  let body = "", head;
  stream.on("response", (fields) => { head = fields; });
  stream.on("data", (piece) => { body += piece; });
  stream.on("end", () => resolve([head[":status"], JSON.parse(body).target]));
  stream.on("error", reject);
});
const post = () => new Promise((resolve, reject) => {
  const stream = client.request({ ":path": "/post", ":method": "POST" });
  let body = "";
  stream.on("data", (piece) => { body += piece; });
  stream.on("end", () => resolve(JSON.parse(body).body.length));
  stream.on("error", reject);
  for (let i = 0; i < 100; i++) stream.write("x".repeat(10000));
  stream.end();
});
(async () => {
  const got = await Promise.all([...Array(50).keys()].map((n) => get(`/${n}`)));
  const length = await post();
  client.close();
  console.log(JSON.stringify({ got, length }));
})();
"""


def test_node_as_client(gateway: Start, echo: EchoInstance, tmp_path: Path) -> None:
    running = gateway(PLAIN, echo=echo)
    (tmp_path / "client.js").write_text(NODE, encoding="utf-8")
    command = ["node", str(tmp_path / "client.js"), running.url]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=50).stdout)
    assert said == {"got": [[200, f"/{number}"] for number in range(50)], "length": 1_000_000}


def test_nginx_as_instance_over_tls(gateway: Start, authority: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "nginx"
    folder.mkdir()
    content = bytes(range(256)) * 20_000
    pair = {**authority.issue("nginx", "127.0.0.1"), "ca": str(authority.file)}
    own = authority.issue("own", "gateway.test")
    with nginx_instance(folder, {"large": content, "small": b"hello"}, pair, http2=True) as url:
        tls = {"ca": str(authority.file), **own}
        services = {"files": {"protocol": "http2", "tls": tls}}
        running = gateway({**PLAIN, "services": services}, files=url)
        assert running.get("/small").body == b"hello"
        with FramePeer(running.address) as peer:
            streams = [peer.request("GET", "/large") for _ in range(5)]
            assert {hashlib.sha256(peer.answer(stream).body).digest() for stream in streams} == {
                hashlib.sha256(content).digest()
            }
            assert peer.get("/missing").status == 404


def test_an_instance_that_does_not_choose_http2_is_one_that_cannot_be_reached(
    gateway: Start, authority: Authority, tmp_path: Path
) -> None:
    folder = tmp_path / "nginx"
    folder.mkdir()
    with nginx_instance(folder, {"small": b"hello"}, authority.issue("nginx", "127.0.0.1")) as url:
        services = {"files": {"protocol": "http2", "tls": {"ca": str(authority.file)}}}
        assert gateway({"services": services}, files=url).get("/small").status == 502


def test_a_gigabyte_down_and_one_up(gateway_process: StartProcess) -> None:
    piece = bytes(MB)

    def answer(peer: Peer, request: Message) -> None:
        if request.method == "POST":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body) + request.body)
            return
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GB)
        for _ in range(GB // MB):
            peer.send(piece)

    with RawInstance(answer) as instance:
        running = gateway_process({**PLAIN, "limits": {"max_body": "2GB"}}, all=instance)
        command = ["curl", "-sS", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{size_download}", running.url]
        before = running.peak_memory
        got = subprocess.run(command, capture_output=True, check=True, timeout=55).stdout
        assert int(got) == GB
        assert running.peak_memory - before < 16 * MB


@pytest.mark.timeout(120)
def test_an_upload_of_a_gigabyte(gateway_process: StartProcess) -> None:
    with RawInstance() as instance:
        running = gateway_process({**PLAIN, "limits": {"max_body": "2GB"}}, all=instance)
        before = running.peak_memory
        command = ["curl", "-sS", "--http2-prior-knowledge", "-H", f"Content-Length: {GB}", "-T", "-", running.url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin

            def send() -> None:
                assert process.stdin
                for _ in range(GB // MB):
                    process.stdin.write(bytes(MB))
                process.stdin.close()

            sender = threading.Thread(target=send)
            sender.start()
            peer = instance.accept()
            peer.read_head()
            for _ in range(GB // MB):
                peer.read(MB)
                peer.forget()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            sender.join()
            assert process.stdout
            assert process.stdout.read() == b"ok"
        assert running.peak_memory - before < 16 * MB


def test_large_bodies_over_tls_both_ways(gateway_process: StartProcess, authority: Authority, tmp_path: Path) -> None:
    size = GB // 4
    sums: list[bytes] = []

    def serve(peer: Peer) -> None:
        head = peer.read_head()
        sent = hashlib.sha256()
        for _ in range(size // MB):
            sent.update(peer.read(MB))
            peer.forget()
        sums.append(sent.digest())
        assert head.one("content-length") == str(size)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for number in range(size // MB):
            peer.send(bytes([number]) * MB)

    expected = hashlib.sha256()
    file = tmp_path / "large"
    with file.open("wb") as out:
        for number in range(size // MB):
            expected.update(bytes([number]) * MB)
            out.write(bytes([number]) * MB)
    with RawInstance() as instance:
        running = gateway_process({**secured(authority), "limits": {"max_body": "2GB"}}, all=instance)
        before = running.peak_memory
        port = running.address.rpartition(":")[2]
        command = ["curl", "-sS", "--http2", "--cacert", str(authority.file), "-T", str(file)]
        with subprocess.Popen([*command, f"https://localhost:{port}/"], stdout=subprocess.PIPE) as process:
            serving = threading.Thread(target=lambda: serve(instance.accept()))
            serving.start()
            got = hashlib.sha256()
            assert process.stdout
            while piece := process.stdout.read(MB):
                got.update(piece)
            serving.join()
        file.unlink()
        assert process.returncode == 0
        assert [got.digest(), *sums] == [expected.digest()] * 2
        assert running.peak_memory - before < 16 * MB


def test_certificates_are_exchanged_while_streams_flow(gateway_process: StartProcess, authority: Authority) -> None:
    """Connections that are open keep theirs; new ones get the new one; no exchange fails."""
    context = authority.context()
    context.set_alpn_protocols(["h2"])
    done, failures, asked = threading.Event(), list[BaseException](), [0, 0]

    def serial(peer: FramePeer) -> object:
        assert isinstance(peer.socket, ssl.SSLSocket)
        return (peer.socket.getpeercert() or {})["serialNumber"]

    with EchoInstance() as echo:
        running = gateway_process(secured(authority), echo=echo)

        def keep_asking(*, anew: bool) -> None:
            try:
                peer = FramePeer(running.address, tls=context)
                while not done.is_set():
                    streams = [peer.request("GET", "/") for _ in range(8)]
                    assert [peer.answer(stream).status for stream in streams] == [200] * 8
                    asked[anew] += 1
                    if anew:
                        peer.close()
                        peer = FramePeer(running.address, tls=context)
                peer.close()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=keep_asking, kwargs={"anew": anew}) for anew in (False, True) for _ in "ab"]
        for thread in threads:
            thread.start()
        serials = set()
        for _ in range(3):
            with FramePeer(running.address, tls=context) as peer:
                serials.add(serial(peer))
                authority.issue("gateway", "localhost")
                running.read_until("configuration applied")
                assert peer.get().status == 200
        done.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert len(serials) == 3
    assert min(asked) > 0


def test_a_stop_fails_no_exchange(gateway: Start, echo: EchoInstance) -> None:
    running = gateway(PLAIN, echo=echo)
    asked = [0] * 4
    halfway = threading.Event()
    outcomes: list[tuple[int, int, list[int]]] = []

    def client(number: int) -> None:
        with Flooder(running.address) as peer:

            def ended() -> int:
                return sum(isinstance(frame, DataFrame) and "END_STREAM" in frame.flags for frame in list(peer.came))

            while True:
                # A GOAWAY is answered behind everything that was sent before it was seen.
                with peer.news:
                    if any(isinstance(frame, GoAwayFrame) for frame in peer.came):
                        break
                    peer.send(peer.head(2 * asked[number] + 1, "END_HEADERS", "END_STREAM"))
                asked[number] += 1
                peer.wait(lambda frame: isinstance(frame, HeadersFrame), asked[number] - 8)
                if asked[number] == 100:
                    halfway.set()
            peer.ended()
            broken = [frame.stream_id for frame in peer.came if isinstance(frame, RstStreamFrame)]
            outcomes.append((asked[number], ended(), broken))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    assert halfway.wait(20)
    running.stop(drain=True)
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4
    for sent, answered, broken in outcomes:
        assert (answered, broken) == (sent, [])


def test_an_idle_connection_makes_room_for_others(gateway: Start, echo: EchoInstance) -> None:
    running = gateway({**PLAIN, "limits": {"max_connections": 2}}, echo=echo)
    with Flooder(running.address) as idle, FramePeer(running.address) as other:
        idle.send(idle.head(1, "END_HEADERS", "END_STREAM"))
        assert other.get().status == 200
        while not any(isinstance(frame, GoAwayFrame) for frame in idle.came):
            running.get()
        assert idle.ended() == 0
