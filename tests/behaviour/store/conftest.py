"""Stores in all engines. Tests that take `engine` or `store` run with SQLite; with the others, `make test-long` runs
them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pylae.store.store import Store
from support.stores import SERVERS, Engine, engine_of


@pytest.fixture(params=["sqlite", *(pytest.param(name, marks=pytest.mark.long) for name in SERVERS)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return engine_of(request.param, request, tmp_path)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.long) for name in SERVERS])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """An engine that is a server."""
    return engine_of(request.param, request, tmp_path)


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    with engine.connect() as store:
        store.migrate()
        yield store
