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
"""Approximate number of descriptors that a gateway itself has open."""
_LITTLE = 64 * 1024 * 1024
"""Bytes of memory that a gateway needs in addition to its cache."""
_TIME_ERROR = 5
"""Returned by `adjtimex` if nothing synchronises the clock (adjtimex(2))."""
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SYNCHRONISED = "/run/systemd/timesync/synchronized"


def results(config: Config) -> Iterator[Result]:
    """Checks the machine for a gateway with this configuration."""
    yield _descriptors(config)
    yield _memory(config)
    yield _processors(config)
    yield from _clock()


def facts() -> dict[str, str]:
    """Returns the limits of the machine as figures."""
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
        return ok(name, f"{_count(hard)} allowed, enough for {limits.max_connections} connections")
    text = f"{hard} allowed, too few for limits.max_connections {limits.max_connections}: fewer will be admitted"
    hint = f"raise the limit to {needed} (`ulimit -n`, LimitNOFILE), or lower `limits.max_connections`"
    return warning(name, text, hint)


def _memory(config: Config) -> Result:
    name = "memory"
    there = [bytes_ for bytes_ in (_available(), memory_limit()) if bytes_ is not None]
    needed = _LITTLE + config.limits.cache_size
    if not there:
        return warning(name, "the amount of free memory is not known")
    if min(there) < needed:
        text = f"{amount(min(there))} available, but a gateway with this limits.cache_size may need {amount(needed)}"
        return warning(name, text, "lower `limits.cache_size`, or provide more memory")
    return ok(name, f"{amount(min(there))} available")


def _processors(config: Config) -> Result:
    name, cores = "processors", available_cores()
    workers = config.workers or cores
    if workers > cores:
        text = f"{workers} workers share {counted(cores, 'processors')}"
        return warning(name, text, "lower `workers`, or leave it out")
    return ok(name, f"{cores} for {counted(workers, 'workers')}")


def _clock() -> Iterator[Result]:
    name, now = "clock", time.time()
    shown = datetime.now(UTC).isoformat(timespec="seconds")
    latest = max(_changed(Path(__file__)), _changed(Path(os.__file__)))
    if now < latest - 86_400:
        text = f"the time is {shown}, which is before Pylae or Python were installed"
        yield failure(name, text, "set the clock: it decides whether tokens (`exp`, `nbf`) and certificates are valid")
        return
    synchronised = _is_synchronised()
    if synchronised:
        yield ok(name, f"{shown}, synchronised")
    elif synchronised is None:
        yield ok(name, f"{shown}; whether it is synchronised is not known")
    else:
        text = f"{shown}, not synchronised according to the kernel"
        hint = (
            "run an NTP client (chrony, systemd-timesyncd): the clock decides whether tokens are valid (`exp`, `nbf`)"
        )
        yield warning(name, text, hint)


def _is_synchronised() -> bool | None:
    """Returns whether the kernel calls the clock synchronised; None if it cannot be asked."""
    if Path(_SYNCHRONISED).exists():
        return True
    try:
        # The structure is all zero, `modes` too, so this only reads the clock. It has 208 bytes at most.
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def memory_limit() -> int | None:
    """Returns the limit of the control group in bytes, if there is one."""
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
