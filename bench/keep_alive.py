"""How many POSTs fail when services close kept connections. `python -m bench.keep_alive --help`."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.measure import free_port
from bench.options import add_pylae
from bench.peers import Pylae
from bench.processes import BenchError

_APPLICATION = r"""
import os

seen = open(os.environ["BENCH_SEEN"], "ab", buffering=0)

async def asgi(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    seen.write(scope["path"].encode() + b"\n")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

def wsgi(environ, start_response):
    environ["wsgi.input"].read()
    seen.write(environ["PATH_INFO"].encode() + b"\n")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
_SERVERS = {
    "uvicorn": (5.0, "uvicorn application:asgi --no-access-log --log-level error --port {port}"),
    "gunicorn": (2.0, "gunicorn application:wsgi --threads 16 --workers 1 --bind 127.0.0.1:{port}"),
}
"""Seconds of keep-alive by default, and the module with its arguments. Without threads gunicorn keeps no connection."""
_SPREAD = 0.25
"""Seconds by which a pause is shorter or longer than the keep-alive, at most."""


def main(argv: Sequence[str] | None = None) -> int:
    """0 if at most one in ten thousand failed and none was done twice, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m bench.keep_alive", description=__doc__)
    parser.add_argument("--servers", default=",".join(_SERVERS), help=f"of {', '.join(_SERVERS)}; default all")
    parser.add_argument("--requests", type=int, default=10_000, help="POSTs to each; default 10000")
    parser.add_argument("--clients", type=int, default=100, help="that send at the same time; default 100")
    parser.add_argument("--idle-timeout", default="4s", help="of the gateway's kept connections; default 4s")
    add_pylae(parser)
    options = parser.parse_args(argv)
    good = True
    print("| server | POSTs | 200 | others | done twice |")
    print("|---|---:|---:|---:|---:|")
    try:
        for server in options.servers.split(","):
            if server not in _SERVERS:
                raise BenchError(f"--servers: {server} is none of {', '.join(_SERVERS)}")
            good &= _measure(server, options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0 if good else 1


def _measure(server: str, options: argparse.Namespace) -> bool:
    if importlib.util.find_spec(server) is None:
        raise BenchError(f"{server} is not there: `pip install {server}`")
    keep_alive, command = _SERVERS[server]
    with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name:
        folder, port, mine = Path(name), free_port(), free_port()
        (folder / "application.py").write_text(_APPLICATION)
        service = {"instances": [f"http://127.0.0.1:{port}"], "idle_timeout": options.idle_timeout}
        route = {"name": "all", "prefix": "/", "service": "all", "auth_required": False}
        config = {"listeners": [f"127.0.0.1:{mine}"], "workers": 1, "admin": False, "services": {"all": service}}
        (folder / "pylae.yaml").write_text(json.dumps({**config, "routes": [route]}))
        environment = {**os.environ, "BENCH_SEEN": str(folder / "seen")}
        arguments = ["-m", *command.format(port=port).split()]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment, stdout=log, stderr=log) as one,
            subprocess.Popen([options.pylae or Pylae.find(), "run", "pylae.yaml"], cwd=folder, stderr=log) as gateway,
        ):
            try:
                statuses = asyncio.run(_load(mine, port, keep_alive, options))
            finally:
                for process in (gateway, one):
                    process.terminate()
        seen = Counter((folder / "seen").read_text().split())
    twice = sum(count > 1 for count in seen.values())
    failed = sum(statuses.values()) - statuses[200]
    print(f"| {server} | {sum(statuses.values()):,} | {statuses[200]:,} | {failed} | {twice} |", flush=True)
    return twice == 0 and failed * 10_000 <= sum(statuses.values())


async def _load(mine: int, port: int, keep_alive: float, options: argparse.Namespace) -> Counter[int]:
    for wanted in (port, mine):
        await _until_open(wanted)
    statuses: Counter[int] = Counter()
    clients = [await asyncio.open_connection("127.0.0.1", mine) for _ in range(options.clients)]
    for wave in range(options.requests // options.clients):
        if wave:
            # All of a wave's connections have been idle for about as long as the service keeps them.
            await asyncio.sleep(keep_alive + random.uniform(-_SPREAD, _SPREAD))  # noqa: S311 - no secret
        statuses.update(await asyncio.gather(*(_post(*client, f"/{wave}-{n}") for n, client in enumerate(clients))))
    for _, writer in clients:
        writer.close()
    return statuses


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> int:
    writer.write(f"POST {target} HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 2\r\n\r\nhi".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(line.partition(":")[2] for line in head.split("\r\n") if line.startswith("content-length:"))
    await reader.readexactly(int(length))
    return int(head.split(" ")[1])


async def _until_open(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            if time.monotonic() > end:
                raise BenchError(f"nothing listens on port {port}") from error
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


if __name__ == "__main__":
    raise SystemExit(main())
