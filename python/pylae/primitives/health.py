"""Health of instances: as a gateway sees it, or by a check of its own."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from pylae.config.models.instance import instance_url
from pylae.primitives.given import Clock, nanoseconds, now
from pylae.units import DurationLike

__all__ = ["HealthChecker"]

_MOST = 10_000
"""Most instances whose health is remembered."""
_LINE = 1024
"""Bytes within which a response must have its status."""


class Observed(Protocol):
    """The part of a running gateway that is used here."""

    def stats(self) -> dict[str, Any]:
        """Returns its statistics; `services` has the instances."""
        ...


class HealthChecker:
    """Tells whether an instance is healthy. An instance is a mapping with `host` and `port`, or with `url`.

    With a running `gateway`, it uses the gateway's health checks and passive health: an instance that is down, ejected,
    draining or unknown is not healthy.

    Without a gateway, `is_healthy` sends `GET path` itself and remembers the result for `interval` (for at most 10,000
    instances). A 200 within `timeout` is healthy. Durations are seconds, texts such as "30s", or `timedelta`. Raises
    ValueError.
    """

    def __init__(
        self,
        gateway: Observed | None = None,
        *,
        path: str = "/health",
        interval: DurationLike = 30,
        timeout: DurationLike = 5,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        if not path.startswith("/") or not path.isascii() or any(letter <= " " for letter in path):
            raise ValueError("the path of a check must start with `/` and contain no spaces")
        self._gateway, self._path, self._clock = gateway, path, clock
        self._interval, self._timeout = nanoseconds(interval), nanoseconds(timeout) / 1e9
        self._known: OrderedDict[str, tuple[int, bool]] = OrderedDict()
        self._lock = threading.Lock()

    def is_healthy(self, instance: Mapping[str, Any]) -> bool:
        """Returns true if the instance is healthy. Without a gateway it waits for the instance, so do not use it in a
        hook that runs on a worker.

        Raises ValueError for an invalid instance, and EngineError if the gateway is not running.
        """
        url = url_of(instance)
        if self._gateway is not None:
            return url in healthy_urls(self._gateway.stats()["services"], instance.get("service_name"))
        at = now(self._clock)
        with self._lock:
            known = self._known.get(url)
        if known is not None and 0 <= at - known[0] < self._interval:
            return known[1]
        healthy = self._check(url)
        with self._lock:
            self._known[url] = at, healthy
            self._known.move_to_end(url)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return healthy

    def _check(self, url: str) -> bool:
        deadline = time.monotonic() + self._timeout
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        ask = f"GET {self._path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\nUser-Agent: pylae\r\n\r\n"
        try:
            with socket.create_connection((host, port), self._timeout) as plain:
                secure = parts.scheme == "https"
                with ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain as to:
                    to.sendall(ask.encode("ascii"))
                    line = _status_line(to, deadline)
        except (OSError, UnicodeError):
            # On any error, even an invalid name, the instance cannot be reached.
            return False
        return line.startswith(b"HTTP/1.") and line.split(b" ", 2)[1:2] == [b"200"]


def _status_line(connection: socket.socket, deadline: float) -> bytes:
    """Returns the first line of a response. Raises TimeoutError after the deadline."""
    held = b""
    while b"\r\n" not in held and len(held) < _LINE:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(_LINE)
        if not piece:
            return b""
        held += piece
    return held.partition(b"\r\n")[0]


def url_of(instance: Mapping[str, Any]) -> str:
    """Returns the URL of an instance: its `url`, or `http://` with its `host` and `port`. Raises ValueError."""
    url = instance.get("url")
    if url is None:
        if "host" not in instance or "port" not in instance:
            raise ValueError("an instance must have `host` and `port`, or `url`")
        host = str(instance["host"])
        url = f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{instance['port']}"
    return instance_url(str(url))


def healthy_urls(services: list[dict[str, Any]], service: str | None = None) -> set[str]:
    """Returns the URLs of the healthy instances of a service, or of all, in the form of `Gateway.stats()`."""
    found = (one for one in services if service is None or one["name"] == service)
    return {instance["url"] for one in found for instance in one["instances"] if instance["state"] == "up"}
