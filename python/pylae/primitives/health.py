"""Whether instances are healthy: as a gateway sees them, or by a check of its own."""

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
"""Instances whose health is remembered."""
_LINE = 1024
"""Bytes within which an answer has its status."""


class Observed(Protocol):
    """A running gateway, as far as it is asked here."""

    def stats(self) -> dict[str, Any]:
        """What it has counted, `services` with their instances among it."""
        ...


class HealthChecker:
    """Says whether an instance is healthy: a mapping of `host` and `port`, or of `url`.

    With a running `gateway` the health is what the gateway knows of it, by its checks and by what exchanges have seen:
    an instance that is down, ejected, draining or none of its instances is not healthy. Without one `is_healthy` makes
    a check of its own, `GET path`, and remembers the outcome for `interval` (10,000 instances at most): 200 within
    `timeout` is healthy. Spans are seconds, texts such as "30s", or `timedelta`. Raises ValueError.
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
            raise ValueError("the path of a check starts with `/` and has no spaces")
        self._gateway, self._path, self._clock = gateway, path, clock
        self._interval, self._timeout = nanoseconds(interval), nanoseconds(timeout) / 1e9
        self._known: OrderedDict[str, tuple[int, bool]] = OrderedDict()
        self._lock = threading.Lock()

    def is_healthy(self, instance: Mapping[str, Any]) -> bool:
        """Whether it is. A check of its own waits for the instance: not in a hook that keeps a worker.

        Raises ValueError for what names no instance, and EngineError if the gateway is not running.
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
            # Whatever it is, a name that is none included: nothing can be asked of the instance.
            return False
        return line.startswith(b"HTTP/1.") and line.split(b" ", 2)[1:2] == [b"200"]


def _status_line(connection: socket.socket, deadline: float) -> bytes:
    """The first line of an answer. Raises TimeoutError when the deadline has passed."""
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
    """Where an instance is: its `url`, or `http://` with its `host` and `port`. Raises ValueError."""
    url = instance.get("url")
    if url is None:
        if "host" not in instance or "port" not in instance:
            raise ValueError("an instance has `host` and `port`, or `url`")
        host = str(instance["host"])
        url = f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{instance['port']}"
    return instance_url(str(url))


def healthy_urls(services: list[dict[str, Any]], service: str | None = None) -> set[str]:
    """The instances that are up, of one service or of all, as `Gateway.stats()` has them."""
    found = (one for one in services if service is None or one["name"] == service)
    return {instance["url"] for one in found for instance in one["instances"] if instance["state"] == "up"}
