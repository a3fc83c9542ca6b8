"""What only SQLite does: a file for its owner alone, copies before migrations, a clock that may be set back."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pylae.errors import LeaseExpiredError, StoreError, StoreUnavailableError
from pylae.settings import StoreSettings
from pylae.store import sql
from pylae.store.engines import connected, opened
from pylae.store.sql import MIGRATIONS, SqlStore
from pylae.store.sqlite import FILE, SqliteStore
from pylae.store.store import Put, Store
from support.programs import run_python

SECOND = '''
"""Another column, and all rows anew, longer than the file is before."""
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("pair", sa.Column("note", sa.Text))
    op.execute("update pair set note = key || key")
    op.execute("create table notes as select key, note, zeroblob(4 * length(value)) as value from pair")
'''


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with connected(StoreSettings(), tmp_path, tmp_path) as store:
        store.migrate()
        return store


@pytest.fixture
def later(store: Store, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A later version of Pylae, with a second migration. Returns the folder of its migrations."""
    assert store.schema() == sql.NEWEST
    folder = tmp_path_factory.mktemp("later") / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    (folder / "versions/0002_second.py").write_text(SECOND)
    monkeypatch.setattr(sql, "MIGRATIONS", folder)
    monkeypatch.setattr(SqlStore, "newest", "0002")
    return folder


def test_the_newest_migration_is_the_one_that_the_code_expects() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [sql.NEWEST]


@pytest.mark.usefixtures("store")
def test_migrations_make_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine

    from pylae.store.tables import METADATA

    engine = create_engine(f"sqlite:///{tmp_path / FILE}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_only_its_owner_can_read_the_file(store: Store, tmp_path: Path) -> None:
    store.put("a", b"")
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    store.close()
    (tmp_path / FILE).chmod(0o640)
    with pytest.raises(StoreError, match="other users can read or change") as caught:
        store.get("a")
    assert caught.value.hint == f"chmod 600 {tmp_path / FILE}"


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with connected(StoreSettings(), tmp_path / "a/state", tmp_path) as store:
        assert store.schema() is None
        assert not (tmp_path / "a").exists()
        with pytest.raises(StoreError, match="there is no store"):
            store.get("a")
        store.migrate()
    assert stat.S_IMODE((tmp_path / "a/state").stat().st_mode) == 0o700


def test_a_link_is_not_followed(store: Store, tmp_path: Path) -> None:
    store.close()
    other = tmp_path / "other"
    other.mkdir()
    (other / FILE).symlink_to(tmp_path / FILE)
    with connected(StoreSettings(), other, other) as linked, pytest.raises(StoreError, match="is not a file"):
        linked.migrate()


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_bytes(b"no database" * 1000)
    file.chmod(0o600)
    with connected(StoreSettings(), tmp_path, tmp_path) as store, pytest.raises(StoreError, match="is damaged"):
        store.check()


def test_a_database_that_is_no_store(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        other.execute("create table a (b)")
    (tmp_path / FILE).chmod(0o600)
    with (
        connected(StoreSettings(), tmp_path, tmp_path) as store,
        pytest.raises(StoreError, match="not in the mode WAL"),
    ):
        store.check()


@pytest.mark.usefixtures("store")
def test_who_waits_for_a_lock_waits_for_the_time_out_only(tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other,
        connected(StoreSettings(timeout="100ms"), tmp_path, tmp_path) as waiting,
    ):
        other.execute("begin immediate")
        with pytest.raises(StoreUnavailableError, match="locked") as caught:
            waiting.put("a", b"")
        assert caught.value.hint == "another process has it locked"
        assert waiting.get("a") is None
        other.execute("rollback")
        assert waiting.put("a", b"")


def test_connections_are_bounded(tmp_path: Path) -> None:
    with connected(StoreSettings(timeout="100ms"), tmp_path, tmp_path) as store:
        store.migrate()
        snapshots = [store.snapshot() for _ in range(sql.CONNECTIONS)]
        for one in snapshots:
            one.__enter__()
        with pytest.raises(StoreUnavailableError, match="all 4 connections are in use"):
            store.get("a")
        for one in snapshots:
            one.__exit__(None, None, None)
        assert store.get("a") is None


def test_leases_end_by_the_clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr("pylae.store.sqlite.time.time", lambda: now)
    short, long = store.grant(2), store.grant(60)
    begin = store.txn([], [Put("a/short", b"", short), Put("a/long", b"", long)])
    assert begin
    now += 1.9
    assert store.keep_alive(short)
    now += 1.9
    assert store.get("a/short")
    now += 0.2
    assert store.get("a/short") is None
    assert [one.key for one in store.range("").pairs] == ["a/long"]
    assert not store.keep_alive(short)
    with pytest.raises(LeaseExpiredError):
        store.put("a/short", b"", lease=short)
    with store.watch("", begin) as watch:
        assert [(one.key, one.value) for one in watch.wait(10)] == [("a/short", None)]
    # It was set back: nobody can tell how long the lease would still last.
    now -= 3600
    assert not store.keep_alive(long)
    assert store.range("").pairs == ()


@pytest.mark.usefixtures("later")
def test_a_newer_schema_is_left_alone(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("a", b"1")
    with pytest.raises(StoreError, match="is older than this version of Pylae: 0001, not 0002") as caught:
        store.check()
    assert caught.value.hint == "bring it up to date: pylae store migrate"
    done = store.migrate()
    assert (done.before, done.after) == ("0001", "0002")
    store.check()
    monkeypatch.setattr(SqlStore, "newest", "0001")
    with pytest.raises(StoreError, match="is newer than this version of Pylae: 0002, not 0001"):
        store.check()
    assert store.migrate().after == "0002"
    with pytest.raises(StoreError, match="is newer"), opened(StoreSettings(), tmp_path, tmp_path):
        pass


@pytest.mark.usefixtures("later")
def test_a_copy_is_made_before_a_migration(store: Store) -> None:
    store.put("a", b"1")
    done = store.migrate()
    assert done.backup
    assert store.migrate().backup is None
    copy = Path(done.backup)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as found:
        assert found.execute("select key, value from pair").fetchall() == [("a", b"1")]
        assert found.execute("select version_num from alembic_version").fetchall() == [("0001",)]


@pytest.mark.usefixtures("later")
def test_few_copies_are_kept(store: Store, tmp_path: Path) -> None:
    for day in range(1, 6):
        copy = tmp_path / f"{FILE}.0001-2026010{day}T000000Z"
        copy.write_bytes(b"")
        os.utime(copy, (day, day))
    new = store.migrate().backup
    assert new
    names = sorted(file.name for file in tmp_path.glob(f"{FILE}.*Z"))
    assert names == [f"{FILE}.0001-20260104T000000Z", f"{FILE}.0001-20260105T000000Z", Path(new).name]


def test_a_migration_that_fails_changes_nothing(store: Store, later: Path) -> None:
    store.put("a", b"1")
    script = later / "versions/0002_second.py"
    script.write_text(SECOND + '    op.execute("select * from nothing")\n')
    with pytest.raises(StoreError):
        store.migrate()
    assert store.schema() == "0001"
    script.write_text(SECOND)
    assert store.migrate().after == "0002"


KILLED = """
import json, os, resource, signal, sys
from pathlib import Path

import alembic.command
import pylae.store.sqlite
from pylae.settings import StoreSettings
from pylae.store import sql
from pylae.store.engines import connected
from pylae.store.sql import SqlStore

folder = Path(sys.argv[1])
sql.MIGRATIONS, SqlStore.newest = Path(sys.argv[2]), "0002"
for word in sys.argv[3:]:
    if child := os.fork():
        print(json.dumps([word, os.WIFSIGNALED(os.waitpid(child, 0)[1])]))
        continue
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(word), int(word)))
    try:
        connected(StoreSettings(), folder / word, folder).migrate()
    finally:
        os._exit(0)
"""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_migration_is_killed_in_each_write(store: Store, later: Path, tmp_path: Path) -> None:
    """Of the copy, and of the migration itself."""
    for number in range(60):
        store.put(f"a/{number}", bytes(2000))
    store.close()
    length = (tmp_path / FILE).stat().st_size
    cuts = [str(one) for one in range(1, 5 * length, length // 12)]
    for cut in cuts:
        (tmp_path / cut).mkdir()
        shutil.copy(tmp_path / FILE, tmp_path / cut)
    told = run_python(KILLED, str(tmp_path), str(later), *cuts)
    killed = [json.loads(line)[1] for line in told.stdout.splitlines()]
    assert (killed[0], killed[-1]) == (True, False)
    # The copy is as long as the file.
    assert sum(killed) > 2 * 12
    for cut in cuts:
        with connected(StoreSettings(), tmp_path / cut, tmp_path) as found:
            assert found.schema() in ("0001", "0002")
            assert len(found.range("").pairs) == 60
            found.migrate()
            found.check()
            assert len(found.range("").pairs) == 60
        for copy in (tmp_path / cut).glob(f"{FILE}.*Z"):
            with closing(sqlite3.connect(copy)) as whole:
                assert whole.execute("select count(*) from pair").fetchone() == (60,)


def test_several_processes_make_the_store_at_once(tmp_path: Path) -> None:
    source = (
        "import sys; from pathlib import Path; from pylae.settings import StoreSettings;"
        "from pylae.store.engines import connected; folder = Path(sys.argv[1]);"
        "store = connected(StoreSettings(), folder, folder); print(store.migrate().before); store.check();"
        "print(store.put('a', b'', revision=0))"
    )
    command = [sys.executable, "-c", source, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate()[0].split() for process in processes]
    assert sorted(before for before, _ in told) == ["0001", "0001", "None"]
    assert sorted(put for _, put in told) == ["1", "None", "None"]
    assert isinstance(connected(StoreSettings(), tmp_path, tmp_path), SqliteStore)


def test_stores_of_a_process_are_made_at_the_same_time(tmp_path: Path) -> None:
    """Alembic has one context for a process: its steps would run over the connection of whoever began last."""
    folders = [tmp_path / str(number) for number in range(8)]
    together = threading.Barrier(len(folders))

    def make(folder: Path) -> str | None:
        folder.mkdir()
        with connected(StoreSettings(), folder, folder) as store:
            together.wait()
            store.migrate()
            return store.schema()

    with ThreadPoolExecutor(len(folders)) as threads:
        assert list(threads.map(make, folders)) == [SqlStore.newest] * len(folders)
