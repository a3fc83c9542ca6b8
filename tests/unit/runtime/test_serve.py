from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pylae.config.document.include import held
from pylae.config.watch import Watch
from pylae.errors import EngineError
from pylae.runtime import serve


class Refusing:
    """Stands in for a running gateway that cannot put its file in force."""

    def __init__(self, file: Path, error: Exception) -> None:
        self.builder: Any = self
        self.followed = {file: held(file)}
        self._error = error

    def read_again(self) -> None:
        raise self._error


@pytest.mark.parametrize("error", [EngineError("`workers` needs a restart"), MemoryError()])
def test_what_cannot_be_put_in_force_is_not_tried_again_until_it_changes(tmp_path: Path, error: Exception) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text("workers: 1\n")
    runtime: Any = Refusing(file, error)
    watch = Watch(runtime.followed)
    for text in ("workers: 2\n", "workers: 3\n"):
        file.write_text(text)
        assert [watch.changed(), watch.changed()] == [False, True]
        serve._try(runtime, watch, runtime.read_again)
        assert [watch.changed(), watch.changed()] == [False, False]
