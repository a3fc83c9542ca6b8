"""The floor: what the kernel alone costs a proxy that looks at nothing."""

from __future__ import annotations

from pathlib import Path

from bench.peers.base import Peer, Setup
from bench.processes import BenchError


class Floor(Peer):
    """The relay of `pylae-bench-load`, which is built by the bench itself."""

    features = frozenset({"websocket"})

    @classmethod
    def find(cls) -> Path:
        """Not looked for: the bench gives the program that it built."""
        raise BenchError("floor: give the load program with --load")

    def command(self, setup: Setup) -> list[str | Path]:
        """A relay from the port to the origin."""
        listen = f"127.0.0.1:{setup.port}"
        return [self.program, "relay", "--listen", listen, "--upstream", f"127.0.0.1:{setup.origin}"]

    def version(self) -> str:
        """It has none of its own."""
        return "relay"
