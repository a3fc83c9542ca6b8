"""Gives freed memory back to the system. The C library would keep it for the next time."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Does it; some milliseconds, in which other Python code goes on. Only glibc can be asked to.

    For what is seldom and takes much, such as reading a configuration: its peak would else stay for ever.
    """
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
