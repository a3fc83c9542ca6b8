"""The engines by their names, and how a store is opened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pylae.errors import StoreError
from pylae.store.settings import StoreSettings, store_url
from pylae.store.store import Store


def connected(settings: StoreSettings, folder: Path, base: Path) -> Store:
    """Returns the store that the settings describe, whatever its schema is. Close it.

    Args:
        settings: The settings.
        folder: The state folder.
        base: The folder that names of files in the settings are relative to.
    """
    url = store_url(settings.url)
    # Each engine has libraries that the others do not need.
    if url.kind == "sqlite":
        from pylae.store.sqlite import SqliteStore

        return SqliteStore(folder, settings.timeout.total_seconds())
    if url.kind == "etcd":
        from pylae.store.etcd import EtcdStore

        return EtcdStore(settings, url, base)
    try:
        from pylae.store.postgresql import PostgresqlStore
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("psycopg", "psycopg_binary", ""):
            raise
        raise StoreError(
            f"PostgreSQL needs psycopg, which is not there: {error}", "pip install 'pylae[postgresql]'"
        ) from None
    return PostgresqlStore(settings, url, base)


@contextlib.contextmanager
def opened(settings: StoreSettings, folder: Path, base: Path) -> Iterator[Store]:
    """Opens the store, if this version of Pylae can use it as it is. Raises StoreError. The arguments are as above."""
    with connected(settings, folder, base) as store:
        store.check()
        yield store
