"""`pylae store` and what it does: check, migrate, backup, restore."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pylae.cli import main
from pylae.errors import StoreError
from pylae.settings import StoreSettings
from pylae.store.backup import back_up, restore
from pylae.store.engines import connected
from pylae.store.store import RESTORING, Put, Store
from support.stores import Engine


def pylae(engine: Engine, *words: object, code: int = 0) -> Result:
    """Calls `pylae store` for a store."""
    settings = engine.settings
    secret = settings.password.get_secret_value() if settings.password else None
    variables = {"PYLAE_STORE_USER": settings.user, "PYLAE_STORE_PASSWORD": secret}
    said = ["store", *map(str, words), "--store", settings.url, "--state", str(engine.folder)]
    result = CliRunner().invoke(main, said, env=variables)
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("as_json", [False, True])
def test_verbs(engine: Engine, tmp_path: Path, as_json: bool) -> None:
    flag = ["--json"] * as_json

    def said(*words: object, code: int = 0) -> str | dict[str, object]:
        result = pylae(engine, *words, *flag, code=code)
        return json.loads(result.stdout) if as_json else result.output

    hint = "make it: pylae store migrate"
    empty = said("check", code=3)
    assert isinstance(empty, str) or (empty["ok"], empty["hint"]) == (False, hint)
    assert isinstance(empty, dict) or ("has no schema" in empty and f"hint: {hint}" in empty)
    made = said("migrate")
    assert isinstance(made, str) or (made["before"], made["after"]) == (None, "0001")
    assert isinstance(made, dict) or "has schema 0001 now" in made
    again = said("migrate")
    assert isinstance(again, dict) or "has schema 0001 already" in again
    with engine.connect() as store:
        store.put("a/b", b"1")
    good = said("check")
    assert isinstance(good, str) or (good["ok"], good["schema"]) == (True, "0001")
    assert isinstance(good, dict) or ("schema 0001" in good and "1 key" in good)
    file = tmp_path / "kept.backup"
    written = said("backup", file)
    assert isinstance(written, str) or (written["keys"], written["file"]) == (1, str(file))
    assert isinstance(written, dict) or "1 key of the store" in written
    refused = said("restore", file, code=3)
    assert isinstance(refused, dict) or "is not empty" in refused
    restored = said("restore", file, "--replace")
    assert isinstance(restored, dict) or "1 key of" in restored
    if engine.settings.password:
        shown = [empty, made, again, good, written, refused, restored]
        assert engine.settings.password.get_secret_value() not in str(shown)


def test_a_backup_of_one_engine_is_restored_into_another(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "kept.backup"
    with connected(StoreSettings(), tmp_path / "other", tmp_path) as other:
        other.migrate()
        expected = {}
        for number in range(200):
            expected[f"a/{number}"] = bytes([number]) * (number * 100)
        for batch in range(0, 200, 50):
            other.txn([], [Put(key, value) for key, value in list(expected.items())[batch : batch + 50]])
        other.put("node", b"", lease=other.grant(60))
        assert back_up(other, file).keys == 200
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with engine.connect() as store:
        store.migrate()
        store.put("a/0", b"another")
        store.put("b", b"")
        revision = store.range("").revision
        assert restore(store, file, replace=True).keys == 200
        assert {one.key: one.value for one in store.range("").pairs} == expected
        with store.watch("", revision) as watch:
            first = watch.wait(10)
        assert first[0].key == RESTORING
        again = tmp_path / "again.backup"
        back_up(store, again)
        assert again.read_bytes().splitlines()[1:-1] == file.read_bytes().splitlines()[1:-1]


def test_what_comes_later_is_not_in_a_backup(engine: Engine, tmp_path: Path) -> None:
    with engine.connect() as store:
        store.migrate()
        assert back_up(store, tmp_path / "empty").keys == 0
        store.put("a", b"")
        assert restore(store, tmp_path / "empty", replace=True).keys == 0
        assert store.range("").pairs == ()


class CutShortError(Exception):
    """The restore is over, wherever it was."""


@pytest.mark.parametrize("after", [1, 2, 4, 7])
def test_a_restore_that_was_interrupted_is_noticed_and_repeated(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    file = tmp_path / "kept.backup"
    with engine.connect() as store:
        store.migrate()
        for batch in range(6):
            numbers = range(50 * batch, 50 * (batch + 1))
            store.txn([], [Put(f"a/{number:03}", str(number).encode()) for number in numbers])
        back_up(store, file)
        store.put("a/000", b"changed")
        calls = 0
        commit = store._commit

        def interrupted(*arguments: object) -> int | None:
            nonlocal calls
            calls += 1
            if calls > after:
                raise CutShortError
            return commit(*arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(store, "_commit", interrupted)
            with pytest.raises(CutShortError):
                restore(store, file, replace=True)
        with pytest.raises(StoreError, match="is half restored") as caught:
            store.check()
        assert "--replace" in (caught.value.hint or "")
        assert restore(store, file, replace=True).keys == 300
        store.check()
        assert [one.value for one in store.range("").pairs] == [str(number).encode() for number in range(300)]


def test_two_restores_do_not_mix(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kept.backup"
    with engine.connect() as store, engine.connect() as other:
        store.migrate()
        store.put("a", b"1")
        back_up(store, file)
        commit = store._commit
        calls = 0

        def overtaken(*arguments: object) -> int | None:
            nonlocal calls
            calls += 1
            if calls == 2:
                restore(other, file, replace=True)
            return commit(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "_commit", overtaken)
        with pytest.raises(StoreError, match="another restore"):
            restore(store, file, replace=True)
        other.check()
        assert [one.key for one in other.range("").pairs] == ["a"]


def _lines(store: Store, folder: Path) -> list[bytes]:
    store.migrate()
    store.txn([], [Put("a", b"1"), Put("b", b"2")])
    back_up(store, folder / "good")
    return (folder / "good").read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: [], "is not whole"),
        (lambda lines: lines[:-1], "is not whole"),
        (lambda lines: [lines[0], *lines[2:]], "is not whole"),
        (lambda lines: [*lines, b"{}\n"], "has a line that is not a key"),
        (lambda lines: [*lines[:1], lines[1].replace(b"MQ", b"Mg"), *lines[2:]], "is not whole"),
        (lambda lines: [b"{}\n", *lines[1:]], "is not a backup"),
        (lambda lines: [lines[0].replace(b": 1,", b": 2,"), *lines[1:]], "is not a backup"),
        (lambda _: [b"\xff" * 5000], "is not whole"),
        (lambda _: [b"x" * 3_000_000], "too long"),
        (lambda lines: [lines[0], b'{"key": "/", "value": ""}\n', lines[-1]], "has a line that is not a key"),
        (lambda lines: [lines[0], b'{"key": "a", "value": "?"}\n', lines[-1]], "has a line that is not a key"),
    ],
)
def test_a_file_that_is_no_backup_changes_nothing(tmp_path: Path, change: object, message: str) -> None:
    with connected(StoreSettings(), tmp_path, tmp_path) as store:
        lines = _lines(store, tmp_path)
        bad = tmp_path / "bad"
        bad.write_bytes(b"".join(change(lines)))  # type: ignore[operator]
        with pytest.raises(StoreError, match=message) as caught:
            restore(store, bad, replace=True)
        assert caught.value.hint == "use another backup; nothing was changed"
        assert len(store.range("").pairs) == 2
        store.check()


def test_the_store_is_that_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    alone = run(main, ["store"])
    assert (alone.exit_code, "Make the schema, or bring it up to date." in alone.output) == (2, True)
    nothing = run(main, ["store", "check"])
    assert (nothing.exit_code, "neither pylae.yaml nor gateway.py" in nothing.output) == (2, True)
    Path("pylae.yaml").write_text("state: kept\n")
    assert run(main, ["store", "migrate"]).exit_code == 0
    assert Path("kept/store.db").exists()
    assert run(main, ["store", "check", "-c", "pylae.yaml"]).exit_code == 0
    assert run(main, ["store", "check", "--state", "kept", "--store", "sqlite"]).exit_code == 0
    assert run(main, ["store", "check", "--state", "none"]).exit_code == 3
    Path("pylae.yaml").write_text("state: kept\nstore: etcd//a\n")
    wrong = run(main, ["store", "check"])
    assert (wrong.exit_code, "is not the URL of a store" in wrong.output) == (1, True)
    assert wrong.output.startswith("pylae.yaml:2:8: store")
    given = run(main, ["store", "check", "--store", "etcd://me:secret@a"])
    assert (given.exit_code, "must not contain a user or a password" in given.output) == (2, True)
    assert "secret" not in given.output
    missing = run(main, ["store", "restore", "none", "--state", "kept", "--store", "sqlite"])
    assert (missing.exit_code, "none: No such file" in missing.output) == (3, True)
