"""HAProxy, from the distribution."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.peers.base import Peer, Setup, first_version
from bench.processes import BenchError
from bench.scenarios import ORIGIN, PER_SECOND, SECRET, SECURITY_HEADERS, Route

_CONFIG = """\
global
    nbthread 1
    maxconn 8192

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
    bind 127.0.0.1:{port}{tls}
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


# The limit is counted by user, as Pylae's is.
_POLICIES = """\
    http-request set-var(txn.token) http_auth_bearer
    http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
    http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
    http-request set-var(txn.user) var(txn.token),jwt_payload_query('$.sub')
    http-request set-var(txn.role) var(txn.token),jwt_payload_query('$.role')
    http-request deny deny_status 401 unless {{ var(txn.alg) -m str HS256 }}
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify(txn.alg,"{secret}") 1 }}
    http-request set-var(txn.now) date()
    http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
    http-request set-header X-User-ID %[var(txn.user)]
    http-request set-header X-User-Role %[var(txn.role)]
    stick-table type string len 64 size 100k expire 60s store http_req_rate(1s)
    http-request track-sc0 var(txn.user)
    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {limit} }}
    http-request set-var(txn.origin) req.hdr(Origin)
    http-response set-header Access-Control-Allow-Origin {origin} if {{ var(txn.origin) -m str {origin} }}
    http-response add-header Vary Origin
{headers}
"""


class HAProxy(Peer):
    """One thread, default buffers, upstream connections shared between clients."""

    features = frozenset({"cache", "policies", "tls", "websocket", "h2"})

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
        rules = _policies() + rules if "policies" in setup.scenario.features else rules
        spoken = "h2" if "h2" in setup.scenario.features else "http/1.1"
        tls = f" ssl crt {setup.certificate.both} ssl-min-ver TLSv1.3 alpn {spoken}" if setup.tls else ""
        file = setup.folder / "haproxy.cfg"
        file.write_text(
            _CONFIG.format(port=setup.port, origin=setup.origin, rules=rules, cache=_CACHE if cached else "", tls=tls)
        )
        return [self.program, "-db", "-f", file]

    def version(self) -> str:
        """From `haproxy -v`."""
        return first_version([str(self.program), "-v"])


def _policies() -> str:
    named = (field.split(": ", 1) for field in SECURITY_HEADERS)
    headers = "\n".join(f'    http-response set-header {name} "{value}"' for name, value in named)
    return _POLICIES.format(secret=SECRET, limit=PER_SECOND, origin=ORIGIN, headers=headers)


def _rule(route: Route) -> str:
    if route.pattern is not None:
        return f"use_backend origin if {{ path_reg {route.pattern.replace(chr(92), chr(92) * 2)} }}"
    if route.prefix == "/":
        return "default_backend origin"
    return f"use_backend origin if {{ path_beg {route.prefix} }}"
