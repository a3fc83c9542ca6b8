from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pylae.registry import SourceContext
from pylae.registry.sources.file import FileDiscovery, FileSource


def look(source: FileSource, now: float = 0) -> bool:
    return asyncio.run(source.look(now))


def urls(source: FileSource) -> list[str]:
    return [instance.url for instance in source.instances]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "instances.yaml"


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    return FileSource(FileDiscovery(path="instances.yaml"), SourceContext("users", tmp_path, False))


def replace(file: Path, text: str) -> None:
    beside = file.with_suffix(".part")
    beside.write_text(text)
    beside.replace(file)


def test_a_file_that_is_replaced_is_taken_at_once(source: FileSource, file: Path) -> None:
    replace(file, "users: ['http://192.0.2.1', {url: 'http://192.0.2.2', weight: 3}]\nothers: ['http://192.0.2.9']")
    assert look(source, 5)
    assert [(one.url, one.weight) for one in source.instances] == [
        ("http://192.0.2.1:80", 1),
        ("http://192.0.2.2:80", 3),
    ]
    assert source.due == 6
    assert not look(source)
    replace(file, '{"users": ["http://192.0.2.1"]}')
    assert look(source)
    assert urls(source) == ["http://192.0.2.1:80"]
    replace(file, '{"others": []}')
    assert look(source)
    assert urls(source) == []


def test_a_file_that_is_written_into_is_taken_when_it_rests(source: FileSource, file: Path) -> None:
    file.write_text("users: ['http://192.0.2.1']")
    assert look(source)
    with file.open("w") as opened:
        opened.write("users:\n- http://192.0.2.1\n")
        opened.flush()
        assert not look(source)
        opened.write("- http://192.0.2.2\n")
        opened.flush()
        assert not look(source)
    assert look(source)
    assert len(source.instances) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        "users: ['http://192.0.2.7', 'ftp://x']",
        "users: 5",
        "- a",
        "users: [",
        "users: ['${HOME}']",
        "users: ['https://192.0.2.1']",
        "users: [" + ", ".join(f"'http://192.0.2.1:{port}'" for port in range(1, 4099)) + "]",
    ],
)
def test_what_is_wrong_leaves_all_as_it_was(
    source: FileSource, file: Path, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    replace(file, "users: ['http://192.0.2.1']")
    assert look(source)
    replace(file, wrong)
    assert not look(source)
    assert not look(source)
    assert urls(source) == ["http://192.0.2.1:80"]
    assert caplog.text.count("its instances stay as they are") == 1
    file.unlink()
    assert not look(source)
    assert urls(source) == ["http://192.0.2.1:80"]
    replace(file, "users: ['http://192.0.2.3']")
    assert look(source) or look(source), "the new file may have got the number of the old one"
    assert "are known again" in caplog.text
