"""Limits of the process and the machine, and the clock."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pylae.config.models.config import Config, available_cores
from pylae.doctor.result import Result, amount, failure, ok, warning
from pylae.units import counted

_BELOW_OVERLOAD = 0.85
"""Share of the descriptors at which overload begins (`crates/core`)."""
_OWN_DESCRIPTORS = 64
"""About what a gateway has open by itself."""
_LITTLE = 64 * 1024 * 1024
"""Bytes of memory that a gateway needs besides its cache."""
_TIME_ERROR = 5
"""What `adjtimex` returns where nobody keeps the clock right (adjtimex(2))."""
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SYNCHRONISED = "/run/systemd/timesync/synchronized"


def results(config: Config) -> Iterator[Result]:
    """What there is for a gateway with this configuration."""
    yield _descriptors(config)
    yield _memory(config)
    yield _processors(config)
    yield from _clock()


def facts() -> dict[str, str]:
    """The same in figures."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = memory_limit()
    return {
        "file descriptors": f"{_count(soft)} (at most {_count(hard)})",
        "processors": f"{available_cores()} of {os.cpu_count()}",
        "memory": f"{_shown(_available())} free{f', limit {amount(limit)}' if limit else ''}",
        "local ports": _line("/proc/sys/net/ipv4/ip_local_port_range").replace("\t", "-"),
        "queue of a listener": _line("/proc/sys/net/core/somaxconn"),
        "user": "root" if os.geteuid() == 0 else "not root",
        "clock": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _descriptors(config: Config) -> Result:
    name = "descriptors"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = config.limits
    both = limits.max_connections + min(limits.max_connections, limits.max_requests)
    needed = math.ceil((both + _OWN_DESCRIPTORS) / _BELOW_OVERLOAD)
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return ok(name, f"{_count(hard)} may be open, enough for {limits.max_connections} connections")
    text = f"{hard} may be open: fewer than limits.max_connections {limits.max_connections} will be admitted"
    hint = f"a limit of {needed} would do (`ulimit -n`, LimitNOFILE), or lower `limits.max_connections`"
    return warning(name, text, hint)


def _memory(config: Config) -> Result:
    name = "memory"
    there = [bytes_ for bytes_ in (_available(), memory_limit()) if bytes_ is not None]
    needed = _LITTLE + config.limits.cache_size
    if not there:
        return warning(name, "how much is free cannot be told")
    if min(there) < needed:
        text = f"{amount(min(there))} can be used, and with limits.cache_size a gateway may take {amount(needed)}"
        return warning(name, text, "lower `limits.cache_size`, or give it more")
    return ok(name, f"{amount(min(there))} can be used")


def _processors(config: Config) -> Result:
    name, cores = "processors", available_cores()
    workers = config.workers or cores
    if workers > cores:
        text = f"{workers} workers share {counted(cores, 'processors')}"
        return warning(name, text, "leave out `workers`, or lower it")
    return ok(name, f"{cores} for {counted(workers, 'workers')}")


def _clock() -> Iterator[Result]:
    name, now = "clock", time.time()
    shown = datetime.now(UTC).isoformat(timespec="seconds")
    latest = max(_changed(Path(__file__)), _changed(Path(os.__file__)))
    if now < latest - 86_400:
        text = f"it is {shown} here, which is before Pylae or Python were installed"
        yield failure(name, text, "set the clock: tokens are judged by it (`exp`, `nbf`), and certificates")
        return
    synchronised = _is_synchronised()
    if synchronised:
        yield ok(name, f"{shown}, kept right by the system")
    elif synchronised is None:
        yield ok(name, f"{shown}; whether somebody keeps it right cannot be told")
    else:
        text = f"{shown}, and nobody keeps it right, as far as the kernel knows"
        hint = "run an NTP client (chrony, systemd-timesyncd): tokens are judged by the clock (`exp`, `nbf`)"
        yield warning(name, text, hint)


def _is_synchronised() -> bool | None:
    """What the kernel says; None where it is not to be asked."""
    if Path(_SYNCHRONISED).exists():
        return True
    try:
        # Only asked, with all of the structure zero (`modes`, too): nothing is adjusted. It has 208 bytes at most.
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def memory_limit() -> int | None:
    """Bytes that the control group allows, if it has a bound."""
    for file in _MEMORY_LIMITS:
        text = _line(file)
        if text.isdigit() and int(text) < 2**60:
            return int(text)
    return None


def _available() -> int | None:
    for line in _text("/proc/meminfo").splitlines():
        key, _, rest = line.partition(":")
        if key == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return None


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _line(file: str) -> str:
    return _text(file).strip()


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _count(limit: int) -> str:
    return "any number" if limit == resource.RLIM_INFINITY else str(limit)


def _shown(bytes_: int | None) -> str:
    return "unknown" if bytes_ is None else amount(bytes_)
