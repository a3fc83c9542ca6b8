"""A share of a core, for gateways that a load generator on one core cannot keep busy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError

_PERIOD = 10_000
"""Microseconds in which a gateway has its share, and rests for what is left."""
_CONTROLLERS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Share:
    """Processes that together have a share of one core."""

    group: Path

    def command(self, words: Sequence[str | Path]) -> list[str | Path]:
        """The command that runs another with the share, and all that it starts."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', self.group / "cgroup.procs", *words]


@contextlib.contextmanager
def share(part: float) -> Iterator[Share]:
    """A share between 0 and 1. All that have it must have ended when the block is left.

    Raises:
        BenchError: this machine, or this user, cannot give shares.
    """
    quota = round(_PERIOD * part)
    old = _CONTROLLERS / "cpu"
    group = (old if old.is_dir() else _CONTROLLERS) / f"pylae-bench-{os.getpid()}"
    try:
        group.mkdir()
        if old.is_dir():
            (group / "cpu.cfs_period_us").write_text(f"{_PERIOD}")
            (group / "cpu.cfs_quota_us").write_text(f"{quota}")
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        raise BenchError(f"cannot give a share of a core, which takes root and the cpu controller: {error}") from error
    try:
        yield Share(group)
    finally:
        group.rmdir()
