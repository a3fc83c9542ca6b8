"""Gateways as real processes: Pylae as users start it, and nginx and HAProxy set up for the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from bench.measure import free_port
from bench.peers import PEERS
from bench.processes import BenchError, Process

from chaos.client import PATIENCE, Answer, Client

TOKEN = "the-token-of-the-admin-api-under-chaos"  # noqa: S105 (it opens nothing)
START = 30.0


class ChaosError(Exception):
    """What keeps a fault from being tried; no verdict on anybody."""


@dataclass
class Setup:
    """What a fault asks of a gateway. `/` leads to the instances, `/ws` to an echo, `/revision` says the revision."""

    folder: Path
    ports: Sequence[int]
    """Of the instances."""
    websockets: int = 0
    """Port of the echo."""
    drain: float = 3.0
    """Seconds that exchanges have to finish."""
    timeout: float = 2.0
    """Seconds that an instance has for an answer."""
    keep_alive: float = 75.0
    connections: int = 20_000
    """Clients that there is room for."""
    access_log: str = ""
    key: tuple[str, int, int] | None = None
    """Field by which `/limited` is limited, requests in an hour, keys that are remembered."""
    files: int | None = None
    """`ulimit -n`."""
    output: int | None = None
    """Descriptor for its standard output and error, in place of a file."""
    env: Mapping[str, str] = field(default_factory=dict)
    pylae: Mapping[str, Any] = field(default_factory=dict)
    """More keys of a configuration of Pylae."""
    service: Mapping[str, Any] = field(default_factory=dict)
    """More of the service."""
    route: Mapping[str, Any] = field(default_factory=dict)
    """More of the route to it."""
    routes: Sequence[Mapping[str, Any]] = ()
    """More routes."""


class Front(ABC):
    """A gateway that runs."""

    name: ClassVar[str]
    reloading: ClassVar[signal.Signals]
    stopping: ClassVar[signal.Signals]
    at_once: ClassVar[signal.Signals]
    """Ends it without waiting for exchanges; for Pylae the second signal does."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.revision = setup, 0
        self.port, self.admin = free_port(), free_port()
        self.log = setup.folder / f"{self.name}.log"
        self.write()

    @abstractmethod
    def write(self) -> None:
        """Writes the configuration of this revision."""

    @abstractmethod
    def command(self) -> list[str | Path]:
        """What runs it in the foreground."""

    async def start(self, *, ready: bool = True) -> None:
        """Starts it, and waits until it answers."""
        words: list[str | Path] = list(self.command())
        if self.setup.files:
            words = ["sh", "-c", f'ulimit -n {self.setup.files}; exec "$@"', "sh", *words]
        self.process = Process(words, None, self.log, output=self.setup.output, env=self.setup.env)
        began = time.monotonic()
        while ready and not await self.ready():
            if not self.process.running or time.monotonic() - began > START:
                raise ChaosError(f"{self.name} does not start: {self.process.tail()}")
            await asyncio.sleep(0.02)

    async def ready(self) -> bool:
        """Whether it answers whoever will ask it."""
        return await self.serves_revision(patience=1)

    async def serves_revision(self, *, patience: float = PATIENCE) -> bool:
        """Whether the revision that was written last is served."""
        try:
            async with Client(self.port) as client:
                return (await client.ask("/revision", patience=patience)).body == b"revision %d" % self.revision
        except (OSError, EOFError, ValueError):
            return False

    async def reload(self, patience: float = PATIENCE) -> bool:
        """Puts the next revision in force; whether that was done in time."""
        self.revision += 1
        self.write()
        self.process.send(self.reloading)
        return await until(self.serves_revision, patience)

    def stop(self) -> None:
        """Asks it to finish."""
        self.process.send(self.stopping)

    async def gone(self, patience: float) -> float | None:
        """Seconds until it has ended; none if it is there for longer than that."""
        began = time.monotonic()
        while self.process.running:
            if time.monotonic() - began > patience:
                return None
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    def memory(self) -> int:
        """Resident bytes of all its processes."""
        return self.process.resident()

    def counts(self) -> tuple[int, int]:
        """Descriptors and threads of all its processes."""
        descriptors = threads = 0
        for pid in self.process.tree():
            with contextlib.suppress(OSError):
                descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
                threads += len(list(Path(f"/proc/{pid}/task").iterdir()))
        return descriptors, threads

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")


async def until(so: Any, patience: float) -> bool:
    """Waits until an asynchronous function says so; whether it did in time."""
    end = time.monotonic() + patience
    while not await so():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.01)
    return True


class PylaeFront(Front):
    """`pylae run FILE`."""

    name = "pylae"
    reloading, stopping, at_once = signal.SIGHUP, signal.SIGTERM, signal.SIGTERM

    @property
    def file(self) -> Path:
        """Its configuration."""
        return self.setup.folder / "pylae.yaml"

    def configuration(self) -> dict[str, Any]:
        """What is in the file."""
        setup = self.setup
        given = {name: value for name, value in setup.pylae.items() if name not in ("limits", "services")}
        routes: list[dict[str, Any]] = [
            {"name": "revision", "path": "/revision", "static_response": f"revision {self.revision}"},
            {"name": "app", "prefix": "/", "service": "app", "timeout": f"{setup.timeout}s", **setup.route},
            *map(dict, setup.routes),
        ]
        services = {"app": {"instances": [f"http://127.0.0.1:{port}" for port in setup.ports], **setup.service}}
        services |= setup.pylae.get("services", {})
        if setup.websockets:
            services["ws"] = {"instances": [f"http://127.0.0.1:{setup.websockets}"]}
            routes.append({"name": "ws", "prefix": "/ws", "service": "ws", "websocket": True})
        limits = {
            "drain_timeout": f"{setup.drain}s",
            "keep_alive": f"{setup.keep_alive}s",
            "max_connections": setup.connections,
            **setup.pylae.get("limits", {}),
        }
        if setup.key:
            name, limit, most = setup.key
            limited = {"limit": limit, "per": "1h", "key": f"header:{name}", "headers": False}
            routes.append({"name": "limited", "path": "/limited", "static_response": "ok", "rate_limit": limited})
            limits["max_keys"] = most
        config: dict[str, Any] = {
            "listeners": [{"address": f"127.0.0.1:{self.port}", "http2": True}],
            "workers": 2,
            "state": "state",
            "admin": {"address": f"127.0.0.1:{self.admin}", "token": TOKEN},
            "limits": limits,
            "services": services,
            "routes": [{"auth_required": False, **route} for route in routes],
        }
        if setup.access_log:
            config["policies"] = {"access_log": {"output": setup.access_log}}
        return {**config, **given}

    def write(self) -> None:
        """JSON is YAML."""
        beside = self.file.with_suffix(".part")
        beside.write_text(json.dumps(self.configuration(), indent=1))
        beside.replace(self.file)

    def command(self) -> list[str | Path]:
        """As a user starts it."""
        return [PEERS["pylae"].find(), "run", self.file]

    async def ready(self) -> bool:
        """The admin API as well, unless it is switched off."""
        try:
            async with Client(self.admin) as client:
                await client.connect()
        except OSError:
            return False
        return await super().ready()

    async def ask(
        self, target: str, *fields: str, method: str = "GET", body: bytes = b"", patience: float = PATIENCE
    ) -> Answer:
        """Asks its admin API, from an address of its own: the gateway may have used up the ports of others."""
        async with Client(self.admin, source="127.6.6.6") as client:
            authorization = f"Authorization: Bearer {TOKEN}"
            return await client.ask(target, authorization, *fields, method=method, body=body, patience=patience)

    async def put(self, config: Mapping[str, Any]) -> int:
        """Applies a configuration over the admin API; the status of the answer."""
        body = json.dumps(config).encode()
        return (await self.ask("/config", "If-Match: *", method="PUT", body=body)).status

    async def figure(self, pattern: str) -> float:
        """The sum of the samples of `/metrics` whose lines begin like that."""
        page = (await self.ask("/metrics")).body.decode()
        return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if re.match(pattern, line))

    async def blamed(self) -> int:
        """Instances and breakers that exchanges or checks have taken out of use."""
        states = r"(?!healthy|up|closed)[a-z_-]+"
        lines = rf'pylae_(instance|breaker)_state\{{.*state="{states}"'
        return int(await self.figure(lines))


_NGINX = """\
{user}worker_processes 2; daemon off; pid nginx.pid; error_log stderr error; worker_shutdown_timeout {drain}s;
events {{ worker_connections {connections}; }}
http {{
    access_log {access_log}; keepalive_timeout {keep_alive}s; keepalive_requests 1000000000;
    client_body_temp_path body; proxy_temp_path proxy; proxy_max_temp_file_size 0;
    upstream app {{ {servers} keepalive 64; }}
    map $http_upgrade $upgrading {{ default upgrade; "" ""; }}
    {zone}
    server {{
        listen 127.0.0.1:{port} backlog=4096; http2 on;
        proxy_http_version 1.1; proxy_set_header Connection $upgrading; proxy_set_header Upgrade $http_upgrade;
        proxy_read_timeout {timeout}ms; proxy_connect_timeout 2s; proxy_buffering off;
        proxy_next_upstream error timeout invalid_header http_502 http_503 http_504;
        location = /revision {{ return 200 "revision {revision}"; }}
        location /ws {{ proxy_pass http://127.0.0.1:{websockets}; proxy_read_timeout 60s; }}
        location = /limited {{ {limited} try_files /ok =404; root {folder}; }}
        location / {{ proxy_pass http://app; }}
    }}
}}
"""


class NginxFront(Front):
    """nginx with two workers."""

    name = "nginx"
    reloading, stopping, at_once = signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM

    def write(self) -> None:
        """One server."""
        setup, zone, limited = self.setup, "", ""
        (setup.folder / "ok").write_text("ok")
        if setup.key:
            name, limit, most = setup.key
            # 128 bytes for each key (ngx_http_limit_req_module); a rate of so many in an hour cannot be said.
            field_ = name.lower().replace("-", "_")
            zone = f"limit_req_zone $http_{field_} zone=keys:{max(1, most * 128 >> 20)}m rate=1r/m;"
            limited = f"limit_req zone=keys burst={limit - 1} nodelay; limit_req_status 429;"
        text = _NGINX.format(
            folder=setup.folder,
            connections=setup.connections,
            websockets=setup.websockets or 1,
            user="user root;\n" if os.geteuid() == 0 else "",
            port=self.port,
            revision=self.revision,
            access_log={"": "off", "stdout": "/dev/stdout"}.get(setup.access_log, setup.access_log),
            drain=int(setup.drain),
            keep_alive=int(setup.keep_alive),
            timeout=int(setup.timeout * 1000),
            servers="".join(f"server 127.0.0.1:{port} max_fails=3 fail_timeout=1s;" for port in setup.ports),
            zone=zone,
            limited=limited,
        )
        (setup.folder / "nginx.conf").write_text(text)

    def command(self) -> list[str | Path]:
        """In the foreground."""
        return [PEERS["nginx"].find(), "-p", self.setup.folder, "-c", self.setup.folder / "nginx.conf", "-e", "stderr"]


_HAPROXY = """\
global
    nbthread 2
    maxconn {connections}
    no strict-limits
    hard-stop-after {drain}s
{log}
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server {timeout}ms
    timeout tunnel 60s
    timeout http-keep-alive {keep_alive}s
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response junk-response response-timeout 502 503 504
    default-server inter 500ms rise 1 observe layer7 error-limit 3 on-error mark-down
{logged}
frontend all
    bind 127.0.0.1:{port} backlog 4096
    http-request return status 200 content-type text/plain string "revision {revision}" if {{ path /revision }}
    http-request disable-l7-retry if METH_POST
{limited}
    use_backend ws if {{ path_beg /ws }}
    default_backend app
backend app
{servers}
backend ws
    server echo 127.0.0.1:{websockets}
"""


class HAProxyFront(Front):
    """HAProxy with two threads, under its master process, which reloads."""

    name = "haproxy"
    reloading, stopping, at_once = signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM

    def write(self) -> None:
        """One frontend."""
        setup, limited = self.setup, ""
        if setup.key:
            name, limit, most = setup.key
            limited = (
                f"    stick-table type string len 32 size {most} expire 1h store http_req_rate(1h)\n"
                f"    http-request track-sc0 req.hdr({name}) if {{ path /limited }}\n"
                f"    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {limit} }}\n"
                "    http-request return status 200 content-type text/plain string ok if { path /limited }"
            )
        text = _HAPROXY.format(
            connections=setup.connections,
            websockets=setup.websockets or 1,
            port=self.port,
            revision=self.revision,
            drain=int(setup.drain),
            keep_alive=int(setup.keep_alive),
            timeout=int(setup.timeout * 1000),
            limited=limited,
            log="    log stdout format raw local0" if setup.access_log else "",
            logged="    log global\n    option httplog" if setup.access_log else "",
            servers="\n".join(f"    server s{port} 127.0.0.1:{port} check" for port in setup.ports),
        )
        (setup.folder / "haproxy.cfg").write_text(text)

    def command(self) -> list[str | Path]:
        """With a master, in the foreground."""
        return [PEERS["haproxy"].find(), "-W", "-db", "-f", self.setup.folder / "haproxy.cfg"]


FRONTS: Mapping[str, type[Front]] = {front.name: front for front in (PylaeFront, NginxFront, HAProxyFront)}


def find(name: str) -> type[Front]:
    """A kind of gateway, if it is installed. Raises ChaosError."""
    try:
        PEERS[name].find()
    except BenchError as error:
        raise ChaosError(str(error)) from error
    return FRONTS[name]
