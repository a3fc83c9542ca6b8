from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pylae.errors import StoreError, StoreUnavailableError
from pylae.settings import StoreSettings
from pylae.store.kept import Kept
from pylae.store.store import Store


def kept_in(folder: Path) -> Kept:
    return Kept(StoreSettings(), folder, folder)


def test_sqlite_is_made_when_it_is_needed(tmp_path: Path) -> None:
    kept = kept_in(tmp_path / "state")
    assert not kept.shared
    assert not kept.is_open
    assert not (tmp_path / "state").exists()
    kept.opened().put("key", b"value")
    assert kept.is_open
    assert kept.opened() is kept.opened()
    kept.close()
    again = kept_in(tmp_path / "state")
    found = again.opened().get("key")
    assert found is not None
    assert found.value == b"value"
    again.close()


def test_threads_open_it_once(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    ready = threading.Barrier(8)
    found: list[Store] = []

    def use() -> None:
        ready.wait()
        found.append(kept.opened())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
    kept.close()


def test_it_is_closed_for_good(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    kept.opened()
    kept.close()
    kept.close()
    with pytest.raises(StoreError, match="has stopped"):
        kept.opened()


def test_a_failure_is_not_for_ever(tmp_path: Path) -> None:
    (tmp_path / "store.db").mkdir()
    kept = kept_in(tmp_path)
    with pytest.raises(StoreError, match="is not a file"):
        kept.opened()
    (tmp_path / "store.db").rmdir()
    assert kept.opened().get("key") is None
    kept.close()


def test_a_shared_store_is_not_migrated(tmp_path: Path) -> None:
    kept = Kept(StoreSettings(url="etcd://127.0.0.1:1"), tmp_path, tmp_path)
    assert kept.shared
    with pytest.raises(StoreUnavailableError):
        kept.opened()
    kept.close()


def test_a_child_cannot_use_it(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    kept.opened()
    child = os.fork()
    if not child:
        code = 1
        try:
            kept.close()
            kept.opened()
        except StoreError as error:
            code = 0 if "forked" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    kept.opened().put("key", b"value")
    kept.close()
