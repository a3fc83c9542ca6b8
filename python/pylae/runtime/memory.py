"""Gives freed memory back to the system. The C library would keep it for the next time. Only glibc can be asked to."""

from __future__ import annotations

import ctypes
import gc
from functools import cache
from typing import Any

LARGE = 256 * 1024
"""Bytes from which a piece of memory is given back as soon as it is freed."""
_M_MMAP_THRESHOLD = -3
"""The parameter of glibc's mallopt(3) for that."""


def give_back() -> None:
    """Gives back what is free now; some milliseconds, in which other Python code goes on.

    For what is seldom and takes much, such as reading a configuration: its peak would else stay for ever.
    """
    if (library := _library()) is not None:
        library.malloc_trim(0)


def keep_apart() -> bool:
    """Keeps `LARGE` pieces apart from the others, from now on, so that each can be given back. Returns whether it does.

    By default glibc does so only until the first is freed. Then a plan of some megabytes lies among what lasts, and
    with each reload there are more gaps that nothing fills.
    """
    library = _library()
    return library is not None and bool(library.mallopt(_M_MMAP_THRESHOLD, LARGE))


def settle() -> None:
    """Takes what there is by now for what lasts. It is freed as ever, but Python looks no longer for cycles in it.

    With ten thousand routes that would take the tenth part of a second each time, in which no hook goes on. For a
    process that is a gateway and nothing else: the cycles that there are stay for ever.
    """
    gc.freeze()


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL(None)
        _ = library.malloc_trim, library.mallopt
    except (OSError, AttributeError):
        return None
    return library
