"""Writes THIRD-PARTY-LICENSES, the licences of the crates that the native module links: `python release/licenses.py`.

It is part of the wheel, since these licences want their text to go with the program. A text that several crates share
is there once.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILE = ROOT / "THIRD-PARTY-LICENSES"
TARGETS = [f"{machine}-unknown-linux-{libc}" for machine in ("x86_64", "aarch64") for libc in ("gnu", "musl")]
"""The platforms that wheels are built for."""
_TEXT = re.compile(r"(?:un)?licen[cs]e|copying|copyright|notice", re.IGNORECASE)
_ABOUT = """\
The native module of Pylae links the crates below, and the standard library of Rust (MIT OR Apache-2.0, The Rust Project
Contributors). Each is under the licence that stands beside it. Written by `make licenses`.
"""


def linked() -> dict[str, dict[str, Any]]:
    """The crates that are linked, by `name version`, as cargo describes them. Crates that only build others are not."""
    words = ["--package", "pylae-python", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]
    targets = [word for target in TARGETS for word in ("--target", target)]
    named = {" ".join(line.split()[:2]).replace(" v", " ") for line in _cargo("tree", *words, *targets).splitlines()}
    described = {f"{each['name']} {each['version']}": each for each in json.loads(_cargo("metadata"))["packages"]}
    return {name: described[name] for name in sorted(named & described.keys()) if described[name]["source"]}


def _cargo(verb: str, *words: str) -> str:
    more = ("--format-version", "1") if verb == "metadata" else ()
    return subprocess.run(
        ["cargo", verb, "--locked", *more, *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def text() -> str:
    """What the file has to say."""
    crates = linked()
    users: dict[str, list[str]] = defaultdict(list)
    for name, crate in crates.items():
        for licence in sorted(_texts(Path(crate["manifest_path"]).parent, crate["license"])):
            users[licence].append(name)
    lines = [_ABOUT, *(f"{name}: {crate['license']}" for name, crate in crates.items())]
    for licence, names in users.items():
        lines += ["", "-" * 120, ", ".join(names), "-" * 120, "", licence]
    return "\n".join(lines) + "\n"


def _texts(folder: Path, licence: str) -> set[str]:
    """The licences in the folder of a crate, and in those of the libraries in C that it brings.

    Where one may choose between Apache-2.0 and a shorter one, it is the shorter one.
    """
    found = (file for depth in ("*", "*/*") for file in folder.glob(depth) if _TEXT.match(file.name) and file.is_file())
    files = [file for file in found if file.suffix not in (".rs", ".py")]
    if "AND" not in licence:
        files = [file for file in files if "apache" not in file.name.lower()] or files
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    return {"\n".join(line.rstrip() for line in each.strip().splitlines()) for each in texts}


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
