"""Fleets whose store is in etcd or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fleet import Shop, shop
from support.stores import Engine, engine_of


@pytest.fixture(params=["etcd", pytest.param("postgresql", marks=pytest.mark.long)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """A store with a schema."""
    found = engine_of(request.param, request, tmp_path)
    with found.connect() as store:
        store.migrate()
    return found


@pytest.fixture(scope="module")
def services() -> Iterator[Shop]:
    with shop() as running:
        yield running
