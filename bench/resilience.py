"""How soon the gateway sees, and how fast it refuses: `python -m bench.resilience`. Counts are checked; times not."""

from __future__ import annotations

import argparse
import http.client
import logging
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

from bench.processes import BenchError
from pylae import Gateway
from pylae.testing.gateway import StartedGateway

_PATIENCE = 20.0
_CLIENTS = 8
_PROGRAM = """
import asyncio, sys

class Serving(asyncio.Protocol):
    buffer = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while b"\\r\\n\\r\\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\\r\\n\\r\\n")
            if not head.startswith(b"GET /hold"):
                status = b"500 no" if head.startswith(b"GET /fail") else b"200 OK"
                self.transport.write(b"HTTP/1.1 %s\\r\\nContent-Length: 2\\r\\n\\r\\nok" % status)

async def main():
    server = await asyncio.get_running_loop().create_server(Serving, "127.0.0.1", int(sys.argv[1]), backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class _Instance:
    """A process that answers with 200, but `/hold` never and `/fail` with 500."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        """Starts it, where it was before."""
        words = [sys.executable, "-I", "-c", _PROGRAM, str(self.port)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise BenchError("the instance does not start")
        self.port = int(line)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> float:
        """Ends it with SIGKILL; when."""
        at = time.time()
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        return at


class _Told(logging.Handler):
    """Lines about changes of state, with the time of each."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[float, str]] = []
        self.came = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps it."""
        with self.came:
            self.lines.append((record.created, record.getMessage()))
            self.came.notify_all()

    def at(self, words: str, since: float) -> float:
        """Seconds from `since` until the line with these words."""

        def found() -> float | None:
            return next((at for at, line in self.lines if words in line and at >= since), None)

        with self.came:
            at = self.came.wait_for(found, _PATIENCE)
        if at is None:
            raise BenchError(f"nothing was told of: {words}")
        return at - since


@contextmanager
def _running(service: dict[str, Any], instances: Sequence[_Instance], **more: Any) -> Iterator[StartedGateway]:
    route = {"name": "all", "prefix": "/", "service": "shop", "auth_required": False, **more}
    shop = {"instances": [instance.url for instance in instances], **service}
    gateway = Gateway(listeners=["127.0.0.1:0"], workers=2, services={"shop": shop}, routes=[route])
    started = StartedGateway(gateway)
    try:
        yield started
    finally:
        started.stop()


def _ask(client: http.client.HTTPConnection, target: str = "/") -> int:
    client.request("GET", target)
    with client.getresponse() as answer:
        answer.read()
        return answer.status


def _client(running: StartedGateway) -> Any:
    return closing(http.client.HTTPConnection(running.address, timeout=_PATIENCE))


def _times(running: StartedGateway, status: int, count: int) -> str:
    """Medians of `count` requests one after the other, all answered with `status`."""
    times = []
    with _client(running) as client:
        for _ in range(count):
            began = time.perf_counter()
            _expect("an answer", _ask(client), status)
            times.append((time.perf_counter() - began) * 1000)
    return f"{statistics.median(times):.2f} ms (median), {statistics.quantiles(times, n=100)[98]:.2f} ms (p99)"


def _load(running: StartedGateway, count: int, at: dict[int, Callable[[], Any]] | None = None) -> Counter[int]:
    """Statuses of `count` requests by several clients at once."""
    seen, numbers, lock = Counter[int](), iter(range(count)), threading.Lock()

    def client(_: int) -> None:
        with _client(running) as connection:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                if at and number in at:
                    at[number]()
                status = _ask(connection)
                with lock:
                    seen[status] += 1

    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(client, range(_CLIENTS)))
    return seen


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise BenchError(f"{what}: {found} instead of {wanted}")


def _killed(told: _Told, count: int) -> None:
    one, other = _Instance(), _Instance()
    with _running({"passive_health": {"failures": 3, "ejection": "60s"}}, [one, other]) as running:
        when: list[float] = []
        seen = _load(running, 2 * count, {count: lambda: when.append(one.kill())})
        _expect("statuses with one of two killed", seen, {200: 2 * count})
        print(f"one of two killed under load: {dict(seen)}; ejected after {told.at('ejected', when[0]) * 1000:.1f} ms")
    other.kill()


def _all_down(told: _Told, count: int) -> None:
    instance = _Instance()
    check = {"path": "/health", "interval": "100ms", "unhealthy_after": 2}
    with _running({"health_check": check}, [instance]) as running:
        print(f"an answer: {_times(running, 200, count)}")
        down = told.at(" down: ", instance.kill())
        print(f"all killed, checks each 100 ms: down after {down:.2f} s; then 503 in {_times(running, 503, count)}")
        back = time.time()
        instance.start()
        print(f"back: up after {told.at(' up: ', back):.2f} s from its start; then {_times(running, 200, 10)}")
    instance.kill()


def _breaker(told: _Told, count: int) -> None:
    instance = _Instance()
    with _running({"circuit_breaker": {"failure_threshold": 5, "timeout": "1h"}}, [instance]) as running:
        with _client(running) as client:
            _expect("failures", [_ask(client, "/fail") for _ in range(5)], [500] * 5)
        told.at("breaker opened", 0)
        print(f"breaker open: 503 in {_times(running, 503, count)}")
    instance.kill()


def _full(_: _Told, count: int) -> None:
    instance = _Instance()
    bounds = {"max_in_flight": 1, "queue": {"size": 0}}
    with _running(bounds, [instance], timeout="1h") as running, _client(running) as held:
        held.request("GET", "/hold")
        until = time.monotonic() + _PATIENCE
        while running.gateway.stats()["services"][0]["entered"] != 1:
            _expect("in time", time.monotonic() < until, True)
        print(f"full service: 503 in {_times(running, 503, count)}")
    instance.kill()


def _limited(_: _Told, count: int) -> None:
    instance = _Instance()
    for algorithm in ("token_bucket", "sliding_window", "fixed_window"):
        limit = {"limit": count, "per": "30d", "algorithm": algorithm}
        with _running({}, [instance], rate_limit=limit) as running:
            seen = _load(running, 10 * count)
            _expect(f"admitted by {algorithm}", seen, {200: count, 429: 9 * count})
            print(f"{algorithm}: of {10 * count} at once {seen[200]} pass a limit of {count}")
    instance.kill()


def main(argv: Sequence[str] | None = None) -> int:
    """Measures everything; 1 if something came out that must not."""
    parser = argparse.ArgumentParser(prog="python -m bench.resilience", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="requests of each figure; default 1000")
    options = parser.parse_args(argv)
    told = _Told()
    log = logging.getLogger("pylae")
    log.setLevel(logging.INFO)
    log.addHandler(told)
    try:
        for measure in (_killed, _all_down, _breaker, _full, _limited):
            measure(told, options.count)
    except BenchError as error:
        print(f"no figure: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
