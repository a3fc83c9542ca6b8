"""CPU and memory of a dashboard for three busy gateways, by page. `python -m bench.dashboard.load --help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from playwright.sync_api import Page, sync_playwright

from bench.measure import free_port, wait_listening
from bench.peers import Pylae
from bench.processes import BenchError, Process, running

_TOKEN = "the-token-of-the-admin-api-of-a-bench"  # noqa: S105 (it opens nothing)
_CHROMIUM = Path("/usr/bin/chromium")
_SERVICES = 40
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
_PATHS = ("/", "/services", "/routes", "/exchanges", "/configuration", "/configuration?tab=edit",
          "/configuration?tab=history", "/consumers", "/nodes", "/limits")  # fmt: skip
_MOST_CPU, _MOST_MEMORY = 0.20, 300e6


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bench; 1 if there is no figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard.load", description=__doc__)
    parser.add_argument("--nodes", type=int, default=3, help="gateways; default 3")
    parser.add_argument("--routes", type=int, default=1000, help="routes of each; default 1000")
    parser.add_argument("--rate", type=float, default=500, help="requests per second in all; default 500")
    parser.add_argument("--seconds", type=float, default=15, help="how long each page is open; default 15")
    parser.add_argument("--readers", type=int, default=1, help="how many have the page open; default 1")
    options = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name:
            _run(Path(name), options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _run(folder: Path, options: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(_Load(options.rate))
        nodes = [_node(stack, folder / str(number), load.origin, options.routes) for number in range(options.nodes)]
        load.begin([port for port, _ in nodes], options.routes)
        dashboard, url = _dashboard(stack, folder, [admin for _, admin in nodes])
        print(f"{options.nodes} gateways with {options.routes} routes, {options.rate:g} requests/s, ", end="")
        print(f"{options.readers} with the page open for {options.seconds:g} s", flush=True)
        print(f"{'nobody looks':<34}{_cost(dashboard, options.seconds)}", flush=True)
        driver = stack.enter_context(sync_playwright())
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        stack.callback(browser.close)
        pages = [browser.new_context().new_page() for _ in range(options.readers)]
        for page in pages:
            _log_in(page, url)
        for path in _PATHS:
            for page in pages:
                page.goto(f"{url}{path}")
                page.get_by_role("heading", level=1).wait_for()
            print(f"{path:<34}{_cost(dashboard, options.seconds)}", flush=True)
        print(f"{load.answered} requests answered, {load.failed} failed")


def _cost(process: Process, seconds: float) -> str:
    """CPU and memory over some seconds."""
    _, before = process.usage()
    begun = time.monotonic()
    time.sleep(seconds)
    _, after = process.usage()
    busy = (after.total - before.total) / (time.monotonic() - begun)
    resident = process.resident()
    over = " too much" if busy > _MOST_CPU or resident > _MOST_MEMORY else ""
    return f"{busy:6.1%} of a core {resident / 1e6:6.0f} MB{over}"


def _node(stack: contextlib.ExitStack, folder: Path, origin: int, routes: int) -> tuple[int, int]:
    """Starts a gateway; returns the ports of its listener and its admin API."""
    folder.mkdir()
    port, admin = free_port(), free_port()
    instances = [f"http://127.0.0.1:{origin}"]
    config = {
        "listeners": [f"127.0.0.1:{port}"],
        "workers": 1,
        "admin": {"address": f"127.0.0.1:{admin}", "token": _TOKEN},
        "state": "state",
        "services": {f"service-{number}": {"instances": instances} for number in range(_SERVICES)},
        "routes": [
            {
                "name": f"route-{number}",
                "prefix": f"/r{number}",
                "service": f"service-{number % _SERVICES}",
                "auth_required": False,
                "rate_limit": "100000/minute",
            }
            for number in range(routes)
        ],
    }
    file = folder / "pylae.yaml"
    file.write_text(json.dumps(config))
    process = stack.enter_context(running(Process([Pylae.find(), "run", file], None, folder / "log")))
    wait_listening(process, port)
    wait_listening(process, admin)
    return port, admin


def _dashboard(stack: contextlib.ExitStack, folder: Path, admins: Sequence[int]) -> tuple[Process, str]:
    words = [Pylae.find(), "dashboard", *(f"127.0.0.1:{port}" for port in admins), "--port", "0", "--no-open"]
    process = Process(words, None, folder / "dashboard.log", pipes=True, env={"PYTHONUNBUFFERED": "1"})
    stack.enter_context(running(process))
    found = re.search(r"http://\S+", process.read_line(30))
    if not found:
        raise BenchError(f"the dashboard does not say where it is: {process.tail()}")
    return process, found[0]


def _log_in(page: Page, url: str) -> None:
    page.goto(f"{url}/login")
    page.get_by_label("Token").fill(_TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{url}/")


class _Load:
    """An instance, and clients that ask gateways at a steady rate, on a thread of their own."""

    def __init__(self, rate: float) -> None:
        self.answered = self.failed = 0
        self.origin = 0
        self._rate, self._loop = rate, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.origin = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def begin(self, ports: Sequence[int], routes: int) -> None:
        """Begins to ask gateways, each on a few connections."""
        clients = [port for port in ports for _ in range(4)]
        for port in clients:
            asyncio.run_coroutine_threadsafe(self._ask(port, routes, len(clients) / self._rate), self._loop)

    async def _serve(self) -> int:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while await reader.readuntil(b"\r\n\r\n"):
                    writer.write(_ANSWER)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _ask(self, port: int, routes: int, pause: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        choice = random.Random(port)  # noqa: S311 (it picks routes)
        due = self._loop.time()
        while True:
            due += pause
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            path = f"/r{choice.randrange(routes)}/x"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: gateway\r\nUser-Agent: bench\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            if head.startswith(b"HTTP/1.1 200"):
                self.answered += 1
            else:
                self.failed += 1


if __name__ == "__main__":
    sys.exit(main())
