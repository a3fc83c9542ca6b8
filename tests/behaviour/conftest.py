"""Servers of stores. A process of the tests starts each at most once, when a test needs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.stores import Etcd, Postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    with Postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def etcd() -> Iterator[Etcd]:
    with Etcd() as server:
        yield server
