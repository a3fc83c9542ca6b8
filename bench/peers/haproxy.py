"""HAProxy, from the distribution."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.peers.base import Peer, Setup, first_version
from bench.processes import BenchError
from bench.scenarios import Route

_CONFIG = """\
global
    nbthread 1
    maxconn 4096

defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    option forwardfor
    http-reuse always

{cache}
frontend bench
    bind 127.0.0.1:{port}
{rules}

backend origin
    server origin 127.0.0.1:{origin}
"""


_CACHE = """\
cache answers
    total-max-size 64
    max-age 300
"""
# It stores only what says how long it is fresh, which the origin does not.
_CACHED = """\
    http-request cache-use answers
    http-response set-header Cache-Control max-age=300 if !{ res.hdr(Age) -m found }
    http-response cache-store answers
"""


class HAProxy(Peer):
    """One thread, default buffers, upstream connections shared between clients."""

    features = frozenset({"cache"})

    @classmethod
    def find(cls) -> Path:
        """From the path, or where Debian puts it."""
        found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
        if not found:
            raise BenchError(
                "haproxy is not installed: install the Debian package haproxy, or leave it out with --peers"
            )
        return Path(found)

    def command(self, setup: Setup) -> list[str | Path]:
        """A frontend with one rule per route."""
        rules = "\n".join(f"    {_rule(route)}" for route in setup.scenario.routes)
        cached = "cache" in setup.scenario.features
        rules = _CACHED + rules if cached else rules
        file = setup.folder / "haproxy.cfg"
        file.write_text(
            _CONFIG.format(port=setup.port, origin=setup.origin, rules=rules, cache=_CACHE if cached else "")
        )
        return [self.program, "-db", "-f", file]

    def version(self) -> str:
        """From `haproxy -v`."""
        return first_version([str(self.program), "-v"])


def _rule(route: Route) -> str:
    if route.pattern is not None:
        return f"use_backend origin if {{ path_reg {route.pattern.replace(chr(92), chr(92) * 2)} }}"
    if route.prefix == "/":
        return "default_backend origin"
    return f"use_backend origin if {{ path_beg {route.prefix} }}"
