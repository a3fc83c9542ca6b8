"""Memory of what is seldom and large, such as reading a configuration."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def without_collector() -> Iterator[None]:
    """Keeps Python from looking for cycles meanwhile.

    It would look again and again through what is read, in which there are none: a third of the time of reading.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def give_back() -> None:
    """Gives freed memory back to the system; some milliseconds, in which other Python code goes on.

    The C library would keep it for the next time: the peak of reading would stay for ever. Only glibc can be asked to.
    """
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    # Not every command that reads a configuration gives memory back.
    import ctypes

    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
