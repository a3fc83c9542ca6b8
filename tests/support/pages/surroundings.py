"""What the pages take for granted: variables of the environment, files, certificates, modules."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from support.tls import Authority

GIVEN = Path(__file__).parents[2] / "docs" / "given"
"""One folder for each page that takes files for granted."""
_REFERENCE = re.compile(r"\$\{(file:)?([^}:]+)\}")


def lay_out(page: Path, folder: Path) -> None:
    """Puts the files that a page takes for granted into a folder."""
    given = GIVEN / page.stem
    if given.is_dir():
        shutil.copytree(given, folder, dirs_exist_ok=True)


def provide(text: str, folder: Path, setenv: Callable[[str, str], None]) -> None:
    """What a configuration refers to: variables, and certificates where it names files that there are not."""
    for in_file, name in _REFERENCE.findall(text):
        if not in_file:
            setenv(name, "0" * 64)
    authority: list[Authority] = []

    def one() -> Authority:
        if not authority:
            (folder / "authority").mkdir(exist_ok=True)
            authority.append(Authority(folder / "authority"))
        return authority[0]

    def put(name: str, content: bytes) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)

    def certify(value: Any) -> None:
        if isinstance(value, dict) and {"cert", "key"} <= value.keys():
            issued = one().issue("issued", "gateway.test")
            for kind in ("cert", "key"):
                put(value[kind], Path(issued[kind]).read_bytes())
        if isinstance(value, dict) and "ca" in value:
            put(value["ca"], one().file.read_bytes())
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            certify(each)

    certify(yaml.safe_load(text))
