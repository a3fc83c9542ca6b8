"""What the gateway itself may run out of: descriptors, ports, memory. Nobody else is blamed, and it recovers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.frames import handshake
from support.instance import OK, RawInstance
from support.load import get
from support.peer import Message, Peer, wait_until
from support.programs import program, run_python
from support.running import Process, configure

SHOP = {"passive_health": {"failures": 1}, "circuit_breaker": {"failure_threshold": 1}}
"""A service that one failure would take out."""
FEW = 256
"""Descriptors."""


class Limited(Process):
    """A gateway that may open a few descriptors, and the admin API on its socket."""

    def __init__(self, config: dict[str, Any], folder: Path, descriptors: int) -> None:
        start = "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)); "
        start += "os.execv(sys.executable, [sys.executable, '-m', 'pylae', 'run', sys.argv[2]])"
        config = {"admin": False, "state": "state", **config}
        super().__init__(config, folder, "-c", start, str(descriptors), str(folder / "pylae.yaml"))
        self.http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(folder / "state" / "admin.sock")), base_url="http://admin"
        )

    def ask(self, path: str) -> Any:
        """What the admin API answers."""
        return self.http.get(path).json()

    def metrics(self) -> dict[str, float]:
        """Samples by their names and labels."""
        lines = self.http.get("/metrics").text.splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def log(self) -> str:
        """All that it has logged so far, once it has ended."""
        self.stop()
        while (line := self._lines.get()) is not None:
            self.printed.append(line)
        return "".join(self.printed)

    def stop(self) -> None:
        """Kills it if it is still there."""
        if hasattr(self, "http"):
            self.http.close()
        super().stop()


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Callable[..., Limited]]:
    """Starts gateways with few descriptors."""
    started: list[Limited] = []

    def start(
        configuration: dict[str, Any], descriptors: int = FEW, files: Mapping[str, str] | None = None, **instances: Any
    ) -> Limited:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        for name, text in (files or {}).items():
            (folder / name).write_text(text, encoding="utf-8")
        started.append(Limited(configure(configuration, **instances), folder, descriptors))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def blameless(running: Limited) -> None:
    """No instance was ejected, taken down or charged with a failure, and no breaker opened."""
    metrics = running.metrics()
    states = {name: value for name, value in metrics.items() if name.startswith("pylae_instance_state{")}
    assert all(value == ('state="up"' in name) for name, value in states.items()), states
    assert states
    breakers = {name: value for name, value in metrics.items() if name.startswith("pylae_breaker_state{")}
    assert all(value == ('state="closed"' in name) for name, value in breakers.items()), breakers
    failures = [value for name, value in metrics.items() if name.startswith("pylae_instance_failures_total{")]
    assert not any(failures)


class Crowd:
    """Clients that ask again and again, each on a connection that it keeps as long as the gateway does."""

    def __init__(self, address: str, clients: int) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.clients = clients
        self.seen: Counter[str] = Counter()

    def run(self, answers: int) -> Counter[str]:
        """What came of the requests, once so many were answered on connections that had been answered before."""
        asyncio.run(asyncio.wait_for(self._run(answers), 120))
        return self.seen

    async def _run(self, answers: int) -> None:
        self.enough = asyncio.Event()
        self.answers = answers
        async with asyncio.TaskGroup() as group:
            for _ in range(self.clients):
                group.create_task(self._client())

    async def _client(self) -> None:
        while not self.enough.is_set():
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                self.seen["not connected"] += 1
                continue
            try:
                await self._ask(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                self.seen["no answer to the first"] += 1
            finally:
                writer.close()
            # As clients do before they try again.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.enough.wait(), 0.2)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Asks until the connection ends."""
        await self._exchange(reader, writer)
        self.seen["established"] += 1
        while not self.enough.is_set():
            self.seen["asked"] += 1
            try:
                status, leave = await self._exchange(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                self.seen["not answered"] += 1
                return
            self.seen[status] += 1
            if self.seen["asked"] >= self.answers:
                self.enough.set()
            if leave:
                return

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, bool]:
        writer.write(get())
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length
        await reader.readexactly(int(length[1]))
        return head[9:12].decode(), b"connection: close" in head.lower()


def test_a_thousand_clients_at_few_descriptors(limited: Callable[..., Limited]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("needs 4,096 descriptors for the clients")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    with RawInstance(OK) as instance:
        instance.listener.listen(1024)
        running = limited({"workers": 2, "services": {"shop": SHOP}}, shop=instance)
        said = running.said("bounds: ")
        assert "256 file descriptors" in said
        assert "too few for limits.max_connections 10000" in said
        admitted = int(re.findall(r"bounds: (\d+) client connections", said)[0])
        assert 20 < admitted < 128
        seen = Crowd(running.address, 1000).run(5000)
        assert seen["200"] >= 0.95 * seen["asked"], seen
        metrics = running.metrics()
        assert metrics["pylae_max_connections"] == admitted
        assert metrics["pylae_connections_refused_total"] > 0
        assert metrics['pylae_overload_limit{resource="descriptors"}'] == FEW
        blameless(running)
        # The clients have left.
        wait_until(lambda: running.metrics()["pylae_connections"] == 0)
        wait_until(lambda: running.metrics()['pylae_overload_level{resource="descriptors"}'] == 0)
        with running.connect() as client:
            client.send(get())
            assert client.read_answer().status == 200
        log = running.log()
        assert "breaker opened" not in log
        assert "ejected" not in log


HOARD = """
import os, threading, time
from pathlib import Path

HELD = []

def hoard(request):
    take()
    threading.Thread(target=keep, daemon=True).start()

def take():
    try:
        while True:
            HELD.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass

def keep():
    while not os.path.exists("release"):
        take()
        time.sleep(0.001)
    while HELD:
        os.close(HELD.pop())
"""
"""A hook that takes all descriptors, also those that become free, and closes them once the test says so."""


def hoarded(client: Peer, kind: str) -> Message:
    """The answer to a request whose hook takes all descriptors.

    A health check that ends right then gives its own one back, and the request may get that: then it is sent again.
    """
    for _ in range(100):
        client.send(handshake(target="/hoard") if kind == "websocket" else get("/hoard"))
        answer = client.read_answer()
        if answer.status == 503 or kind == "mirror":
            break
    return answer


@pytest.mark.parametrize("kind", ["http1", "http2", "websocket", "by name", "mirror"])
def test_a_hook_that_takes_all_descriptors(limited: Callable[..., Limited], tmp_path: Path, kind: str) -> None:
    """Requests and health checks fail for want of them, and the instance is not to blame."""
    folder = tmp_path / "0"
    shop: dict[str, Any] = {**SHOP, "protocol": "http2" if kind == "http2" else "http1"}
    if kind not in {"http2", "mirror"}:
        shop["health_check"] = {"path": "/health", "interval": "100ms", "unhealthy_after": 1}
    hoard: dict[str, Any] = {"name": "hoard", "prefix": "/hoard", "service": "shop", "websocket": kind == "websocket"}
    if kind == "mirror":
        hoard["mirror"] = "copies"
    config = {
        "health": {"minimum_requests": 1000},
        "services": {"shop": shop},
        "routes": [hoard, {"name": "rest", "prefix": "/", "service": "shop"}],
        "hooks": [{"on_request": "hoarder:hoard", "routes": "hoard"}],
    }
    # Without kept connections every request needs a descriptor; for the mirror only the copy shall.
    closing = OK.replace(b"Content-Length", b"Connection: close\r\nContent-Length")
    with RawInstance(OK if kind == "mirror" else closing) as instance:
        url = instance.url.replace("127.0.0.1", "localhost") if kind == "by name" else instance.url
        copies = {"copies": instance} if kind == "mirror" else {}
        running = limited(config, files={"hoarder.py": HOARD}, shop=url, **copies)
        blameless(running)
        with running.connect() as client:
            if kind == "mirror":
                # From now on there is a kept connection for all but the copy.
                client.send(get())
                assert client.read_answer().status == 200
            answer = hoarded(client, kind)
            if kind == "mirror":
                assert answer.status == 200
            else:
                assert (answer.status, problem(answer)) == (503, "out_of_descriptors")
                assert answer.one("retry-after") == "1"
        lacked = 'pylae_own_exhaustion_total{resource="descriptors"}'
        wait_until(lambda: running.metrics()[lacked] >= (4 if "health_check" in shop else 1))
        wait_until(lambda: running.metrics()['pylae_overload_level{resource="descriptors"}'] == 3)
        health = running.ask("/health")
        assert health["status"] == "degraded"
        assert any("256 file descriptors are in use: no connections are accepted" in why for why in health["reasons"])
        blameless(running)
        # Connections wait meanwhile, in the queue of the kernel.
        with running.connect() as waiting:
            shed = running.metrics()[SHED_CLIENTS]
            (folder / "release").touch()
            wait_until(lambda: running.metrics()['pylae_overload_level{resource="descriptors"}'] == 0)
            if kind != "http2":
                assert_served(running, waiting, shed)
        blameless(running)
        # What is logged comes after what is counted.
        running.said("are in use: connections and requests are taken as usual")
        log = running.log()
    assert "the gateway is out of descriptors, which no instance is blamed for" in log
    assert log.count("could not be accepted") <= 2
    assert re.search(r"\d+ of 256 file descriptors are in use: .*no connections accepted", log)
    assert "breaker opened" not in log
    assert " down" not in log


SHED_CLIENTS = 'pylae_overload_closed_total{side="client"}'


def assert_served(running: Limited, waiting: Peer, shed: float) -> None:
    """The connection is served, unless it was accepted while descriptors were short, and closed as an idle one."""
    try:
        waiting.send(get())
        closed = waiting.at_end()
    except OSError:
        closed = True
    if not closed:
        assert waiting.read_answer().status == 200
        return
    assert running.metrics()[SHED_CLIENTS] > shed
    with running.connect() as next_one:
        next_one.send(get())
        assert next_one.read_answer().status == 200


def problem(answer: Message) -> str:
    """The code of an answer of the gateway's own."""
    return str(json.loads(answer.body)["type"]).removeprefix("urn:pylae:error:")


PORTS = """
import json, subprocess
from pathlib import Path

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
# No listener is among the eight.
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("20000 30000")

from support.instance import OK, RawInstance
from support.load import get
from support.peer import Peer
from support.running import Running, configure

SERVICES = {"shop": {"passive_health": {"failures": 1}, "circuit_breaker": {"failure_threshold": 1}}}

def ask(running):
    with running.connect() as client:
        client.send(get())
        answer = client.read_answer()
        # Its port is free again at once.
        client.reset()
        return answer.status if answer.status == 200 else json.loads(answer.body)["type"]

def state(running):
    stats = running.gateway.stats()
    (shop,) = stats["services"]
    states = {one["state"] for one in shop["instances"]} | {shop["breaker"]["state"]}
    return {"states": sorted(states), "lacked": stats["overload"]["shortages"]["ports"] > 0}

def take(address):
    peers = []
    while True:
        try:
            peers.append(Peer.connect(address))
        except OSError:
            return peers

found = {}
with RawInstance(OK) as full, RawInstance(OK) as other:
    one = Running(configure({"services": SERVICES}, shop=full))
    two = Running(configure({"services": SERVICES}, shop=[full.url, other.url]))
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40007")
    taken = take(full.address)
    for running in one, two:
        found[len(found)] = {"answers": [ask(running) for _ in range(4)], **state(running)}
    for peer in taken:
        peer.reset()
    found["later"] = [ask(one) for _ in range(4)]
    one.stop()
    two.stop()
print(json.dumps(found))
"""
"""In a network of its own with eight ports, which are taken for one instance."""


def test_ports_that_are_used_up() -> None:
    """An instance for which there are none is not to blame, and another one is asked."""
    found = run_python(PORTS, through=[program("unshare", "util-linux"), "--net"])
    if "Operation not permitted" in found.stderr:
        pytest.skip("makes a network of its own, which only root may do")
    assert found.returncode == 0, found.stderr
    well = {"states": ["closed", "up"], "lacked": True}
    assert json.loads(found.stdout) == {
        "0": {"answers": ["urn:pylae:error:out_of_ports"] * 4, **well},
        "1": {"answers": [200] * 4, **well},
        "later": [200] * 4,
    }


def test_memory_that_grows(gateway_process: Callable[..., Process]) -> None:
    """Stored responses are given up before the gateway stops for want of memory."""
    large = b"x" * (1 << 20)
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: %d\r\n\r\n" % len(large)
    config: dict[str, Any] = {
        "limits": {"cache_size": "1GB"},
        "services": {"shop": {}},
        "routes": [{"name": "all", "prefix": "/", "service": "shop", "cache": {"max_entry": "2MB"}}],
    }
    with RawInstance(head + large) as instance:
        running = gateway_process(config, shop=instance)
        bound = running.memory + (100 << 20)
        config["limits"]["max_memory"] = bound
        running.apply(config, shop=instance)
        assert f"descriptors, {bound >> 20} MB of memory" in running.said(f"{bound >> 20} MB of memory")
        statuses = Counter(ask(running.address, f"/{number}") for number in range(300))
        assert statuses[200] > 50
        assert set(statuses) <= {200, 503}
        running.read_until("new requests refused")
        running.read_until("MB of memory are in use: connections and requests are taken as usual")
        wait_until(lambda: ask(running.address, "/0") == 200)
        assert running.peak_memory < bound + (100 << 20)


def ask(address: str, target: str) -> int:
    """The status of a GET on a connection of its own."""
    with Peer.connect(address) as client:
        client.send(get(target))
        return client.read_answer().status
