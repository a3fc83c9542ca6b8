from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pylae import state

WRITER = """
import sys, time
from pathlib import Path
from pylae import state
with state.replacing(Path(sys.argv[1]), b"a secret that is under way"):
    print("under way", flush=True)
    time.sleep(600)
"""


def writing(file: Path) -> subprocess.Popen[str]:
    """A process that has a file under way and goes no further."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "under way\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_what_a_killed_process_had_under_way_is_swept(tmp_path: Path) -> None:
    killed, living = writing(tmp_path / "applied.json"), writing(tmp_path / "applied.json")
    try:
        assert len(names(tmp_path)) == 2
        end(killed)
        state.sweep(tmp_path, "applied.json", "other.json")
        (left,) = names(tmp_path)
        assert left.startswith(".applied.json.")
        state.sweep(tmp_path, "applied.json")
        assert names(tmp_path) == {left}, "it belongs to a process that lives"
    finally:
        end(living)
    state.sweep(tmp_path, "applied.json")
    assert names(tmp_path) == set()


def test_nothing_else_is_swept(tmp_path: Path) -> None:
    kept = {
        "applied.json",
        ".applied.json",
        ".applied.json.0123456789abcde",
        ".applied.json.0123456789abcdef.bak",
        ".applied.json.0123456789ABCDEF",
        ".mine.0123456789abcdef",
        "applied.json.0123456789abcdef",
    }
    for name in kept:
        (tmp_path / name).touch()
    outside = tmp_path / "outside"
    outside.touch()
    (tmp_path / ".applied.json.aaaaaaaaaaaaaaaa").symlink_to(outside)
    (tmp_path / ".applied.json.bbbbbbbbbbbbbbbb").mkdir()
    os.mkfifo(tmp_path / ".applied.json.cccccccccccccccc")
    (tmp_path / ".applied.json.dddddddddddddddd").touch()
    before = names(tmp_path)
    state.sweep(tmp_path, "applied.json")
    assert before - names(tmp_path) == {".applied.json.dddddddddddddddd"}
    assert outside.exists()
    state.sweep(tmp_path / "missing", "applied.json")


def test_files_are_replaced_and_secrets_kept_without_a_trace(tmp_path: Path) -> None:
    with state.replacing(tmp_path / "file", b"content") as replace:
        (beside,) = names(tmp_path)
        state.sweep(tmp_path, "file")
        assert names(tmp_path) == {beside}
        replace()
    assert names(tmp_path) == {"file"}
    assert (tmp_path / "file").read_bytes() == b"content"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert state.keep_secret(tmp_path / "secret", "one", "it") == "one"
    assert state.keep_secret(tmp_path / "secret", "two", "it") == "one"
    assert names(tmp_path) == {"file", "secret"}
    with pytest.raises(RuntimeError), state.replacing(tmp_path / "file", b"other"):
        raise RuntimeError
    assert names(tmp_path) == {"file", "secret"}
