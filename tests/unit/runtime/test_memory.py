"""What is asked of the C library."""

from __future__ import annotations

import platform

import pytest

from pylae.runtime import memory

GLIBC = platform.libc_ver()[0] == "glibc"


def test_glibc_takes_it() -> None:
    assert memory.keep_apart() is GLIBC
    memory.give_back()


def test_another_library_is_asked_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    memory._library.cache_clear()
    try:
        assert not memory.keep_apart()
        memory.give_back()
    finally:
        memory._library.cache_clear()
