"""What a large configuration that comes over the admin API costs in memory. `python -m bench.configuration --help`."""

from __future__ import annotations

import argparse
import http.client
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

from bench.measure import GATEWAY_CORE, free_port
from bench.options import add_pylae
from bench.peers import Pylae
from bench.processes import BenchError, Process, running

_TOKEN = "the-token-of-the-admin-api-of-a-bench"  # noqa: S105 (it opens nothing)
_PATIENCE = 600.0
_AB = '"ab"'
_ALLOWED = 20
"""How many times its size a body may cost."""
_START = '"listeners": ["127.0.0.1:0"], "services": {"a": {"instances": ["http://127.0.0.1:1"]}}'


def _repeated(item: str, size: int) -> str:
    return ",".join([item] * (size // (len(item) + 1)))


def _routes(size: int, name: str = "path") -> str:
    def each() -> Iterator[str]:
        left = size
        for index in count():
            route = {"name": f"route-{index}", name: f"/items/{index}", "service": "a", "auth_required": False,
                     "rate_limit": "100/minute", "timeout": "5s"}  # fmt: skip
            text = json.dumps(route)
            left -= len(text) + 1
            if left < 0:
                return
            yield text

    return ",".join(each())


def _settings(item: str, size: int) -> str:
    return f'{{{_START}, "plugins": [{{"use": "x", "settings": {{"a": [{_repeated(item, size)}]}}}}]}}'


def _answered(policy: str) -> str:
    return f'{{{_START}, "routes": [{{"path": "/", "service": "a", "auth_required": false, {policy}}}]}}'


def _addresses(size: int) -> str:
    count = size // 18
    listed = ",".join(f'"10.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255}/32"' for at in range(count))
    return _answered(f'"ip_access": {{"deny": [{listed}]}}')


def _consumers(size: int) -> str:
    listed = ",".join(f'"consumer-{at}": {{"keys": ["{at:064x}"], "role": "reader"}}' for at in range(size // 120))
    return f'{{{_START}, "auth": {{"api_key": {{"consumers": {{{listed}}}}}}}}}'


def _schema(size: int) -> str:
    schema = f'{{"enum": [{_repeated("0.123456789", size)}]}}'
    return _answered(f'"validation": {{"json_body": {{"json_schema": {schema}}}}}')


_KINDS: dict[str, Callable[[int], str]] = {
    "numbers in settings": lambda size: _settings("0", size),
    "lists in settings": lambda size: _settings("[0]", size),
    "mappings in settings": lambda size: _settings('{"a":0}', size),
    "numbers as routes": lambda size: f'{{{_START}, "routes": [{_repeated("0", size)}]}}',
    "texts as addresses": lambda size: f'{{{_START}, "trusted_proxies": [{_repeated(_AB, size)}]}}',
    "routes with a wrong key": lambda size: f'{{{_START}, "routes": [{_routes(size, "paht")}]}}',
    "routes": lambda size: f'{{{_START}, "routes": [{_routes(size)}]}}',
    "addresses": _addresses,
    "consumers": _consumers,
    "a schema": _schema,
    "a text": lambda size: _answered(f'"static_response": {json.dumps("x" * size)}'),
}


def main(argv: Sequence[str] | None = None) -> int:
    """0 if every body costs what it may, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m bench.configuration", description=__doc__)
    parser.add_argument("--sizes", default="4,31", help="sizes of bodies in MB; default 4,31")
    parser.add_argument("--kinds", default=",".join(_KINDS), help=f"of {', '.join(_KINDS)}; default all")
    add_pylae(parser)
    options = parser.parse_args(argv)
    try:
        if unknown := set(options.kinds.split(",")) - set(_KINDS):
            raise BenchError(f"--kinds: {', '.join(unknown)} is none of {', '.join(_KINDS)}")
        print("| body | MB | answer | seconds | peak MB | × size | then MB | a small one later MB |")
        print("|---|---:|---|---:|---:|---:|---:|---:|")
        cases = [(kind, float(size)) for kind in options.kinds.split(",") for size in options.sizes.split(",")]
        cheap = [_costs(options.pylae or Pylae.find(), *case) for case in cases]
        return int(not all(cheap))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _costs(program: Path, kind: str, size: float) -> bool:
    """Sends one body to a gateway that has just been started, then a small one, and prints a row."""
    body = _KINDS[kind](int(size * 2**20)).encode()
    with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name:
        port, file = free_port(), Path(name, "pylae.yaml")
        admin = {"address": f"127.0.0.1:{port}", "token": _TOKEN}
        file.write_text(f'{{{_START}, "workers": 1, "state": "state", "admin": {json.dumps(admin)}}}')
        own = f'{{"workers": 1, "admin": {json.dumps(admin)}, '.encode()
        body, small = own + body[1:], file.read_bytes()
        with running(Process([program, "run", file], GATEWAY_CORE, Path(name, "log"))) as process:
            _warm_up(process, port, small)
            (pid, *_) = process.tree()
            Path(f"/proc/{pid}/clear_refs").write_text("5")
            before = _resting(pid)
            began = time.monotonic()
            status = _put(port, body)
            seconds = time.monotonic() - began
            then = _resting(pid) - before
            peak = _memory(pid, "VmHWM") - before
            _put(port, small)
            later = _resting(pid) - before
    factor = peak / len(body)
    megabytes = (f"{part / 2**20:.0f}" for part in (peak, then, later))
    row = [
        kind,
        f"{len(body) / 2**20:.1f}",
        str(status),
        f"{seconds:.1f}",
        next(megabytes),
        f"{factor:.1f}",
        *megabytes,
    ]
    print(f"| {' | '.join(row)} |", flush=True)
    return factor <= _ALLOWED


def _resting(pid: int) -> int:
    """Resident memory once the answer is a second old: what is freed is freed behind it."""
    time.sleep(1)
    return _memory(pid, "VmRSS")


def _warm_up(process: Process, port: int, body: bytes) -> None:
    """Waits until the admin API answers, and applies something small."""
    end = time.monotonic() + 20
    while True:
        try:
            if (status := _put(port, body)) != 200:
                raise BenchError(f"the first configuration was answered with {status}")
            return
        except OSError:
            if time.monotonic() > end or not process.running:
                raise BenchError(process.tail()) from None
            time.sleep(0.05)


def _put(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("PUT", "/config", body, {"Authorization": f"Bearer {_TOKEN}", "If-Match": "*"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _memory(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
