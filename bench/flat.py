"""Whether memory stays flat over many requests through hooks of each kind. `python -m bench.flat --help`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.measure import LOAD_CORE, Gateway, free_port, start_origin
from bench.options import add_load, add_pylae
from bench.peers import Pylae, Setup
from bench.processes import BenchError, running
from bench.run import build_load
from bench.scenarios import SCENARIOS

_KINDS = ("sync", "driven", "waiting", "blocking")
"""Functions of `bench/hooks.py`."""
_PARTS = 10
"""Memory is read so many times; what the first part brings is warm-up."""
_ALLOWED = 4 * 2**20
"""Bytes that may come behind the warm-up: allocators breathe. 16 bytes for each of the requests would be more."""


def main(argv: Sequence[str] | None = None) -> int:
    """0 if the memory of every kind stays flat, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m bench.flat", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="through each kind of hook; default a million")
    parser.add_argument("--kinds", default=",".join(_KINDS), help=f"of {', '.join(_KINDS)}; default all")
    add_pylae(parser)
    add_load(parser)
    options = parser.parse_args(argv)
    kinds = options.kinds.split(",")
    try:
        if unknown := set(kinds) - set(_KINDS):
            raise BenchError(f"--kinds: {', '.join(unknown)} is none of {', '.join(_KINDS)}")
        load = options.load.resolve() if options.load else build_load()
        peer = Pylae("pylae", options.pylae or Pylae.find())
        os.sched_setaffinity(0, {LOAD_CORE})
        print(f"| hook | RSS MB after each {options.requests // _PARTS:,} requests | growth behind the first |")
        print("| --- | --- | ---: |")
        flat = [_is_flat(peer, load, kind, options.requests) for kind in kinds]
        return int(not all(flat))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _is_flat(peer: Pylae, load: Path, kind: str, requests: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="pylae-bench-") as name:
        origin, port = start_origin(load, Path(name))
        with running(origin):
            gateway = Gateway(peer, Setup(SCENARIOS[f"hook_{kind}"], free_port(), port, Path(name)))
            with running(gateway.process):
                gateway.wait(load)
                resident = []
                for _ in range(_PARTS):
                    gateway.serve(load, requests // _PARTS)
                    resident.append(gateway.process.resident())
    growth = resident[-1] - resident[0]
    shown = " ".join(f"{size / 2**20:.1f}" for size in resident)
    print(f"| {kind} | {shown} | {growth / 2**20:+.1f} MB |", flush=True)
    return growth <= _ALLOWED


if __name__ == "__main__":
    raise SystemExit(main())
