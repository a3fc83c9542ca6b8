"""Becomes another program, one that ends when the process that started it ends, in whichever way.

`python -I -S tied.py PARENT PROGRAM [ARGUMENT]…`, where PARENT is the process that has started this. It imports nothing
of Pylae, so it costs a few milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def become(parent: int, *command: str) -> None:
    """Becomes the program. The kernel kills it once the thread of the parent that has started this is gone."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # Whoever ended before the call sends no signal.
    if os.getppid() == parent:
        os.execv(command[0], command)  # noqa: S606 (the command of our parent)


if __name__ == "__main__":
    become(int(sys.argv[1]), *sys.argv[2:])
