from __future__ import annotations

import os
from pathlib import Path

import pytest

from pylae.config.document.files import digest
from pylae.config.watch import Watch


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pylae.yaml"
    path.write_text("one")
    return path


def watch(*files: Path) -> Watch:
    return Watch({file: digest(file.read_bytes()) for file in files})


def looks(watch: Watch, count: int = 3) -> list[bool]:
    return [watch.changed() for _ in range(count)]


def test_nothing_changed(file: Path) -> None:
    assert looks(watch(file)) == [False, False, False]


def test_a_change_is_seen_at_the_second_look(file: Path) -> None:
    watching = watch(file)
    file.write_text("two")
    assert looks(watching) == [False, True, True]
    watching.follow({file: digest(b"two")})
    assert looks(watching) == [False, False, False]


def test_what_cannot_be_read_any_more_is_no_change_until_it_is_another_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root has read it, and then become a user who cannot."""
    watching = watch(file)

    def refused(_: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert looks(watching) == [False, False, False]
    (file.parent / "other").write_text("one")
    (file.parent / "other").replace(file)
    assert looks(watching) == [False, True, True]
    watching.follow({file: None})
    assert looks(watching) == [False, False, False]
    monkeypatch.undo()
    assert looks(watching) == [False, True, True]


def test_a_change_before_the_first_look_is_seen(file: Path) -> None:
    assert looks(Watch({file: digest(b"what was read")})) == [False, True, True]


def test_a_file_in_the_middle_of_being_written(file: Path) -> None:
    watching = watch(file)
    found = []
    for text in ("t", "tw", "two"):
        file.write_text(text)
        found.append(watching.changed())
    assert [*found, watching.changed()] == [False, False, False, True]


def test_same_size_and_same_time(file: Path) -> None:
    watching = watch(file)
    before = file.stat()
    watching.changed()
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert looks(watching, 2) == [False, True]


def test_an_old_file_is_not_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(file, (1, 1))
    watching = watch(file)
    watching.changed()
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read again"))
    assert looks(watching) == [False, False, False]


def test_atomic_rename(file: Path) -> None:
    watching = watch(file)
    watching.changed()
    other = file.with_suffix(".tmp")
    other.write_text("two")
    other.rename(file)
    assert looks(watching, 2) == [False, True]


def test_an_equal_file_is_no_change(file: Path) -> None:
    watching = watch(file)
    other = file.with_suffix(".tmp")
    other.write_text("one")
    other.rename(file)
    assert looks(watching) == [False, False, False]


def test_a_file_that_goes_and_comes(file: Path) -> None:
    watching = watch(file)
    file.unlink()
    assert looks(watching, 2) == [False, True]
    watching.follow({file: None})
    assert looks(watching, 2) == [False, False]
    file.write_text("one")
    assert looks(watching, 2) == [False, True]


def test_any_of_several(file: Path) -> None:
    secret = file.with_name("secret")
    secret.write_text("a")
    watching = watch(file, secret)
    secret.write_text("b")
    assert looks(watching, 2) == [False, True]
