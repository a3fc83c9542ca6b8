"""Checks what a wheel contains: `python release/check_wheel.py WHEEL …`. It prints every mistake and exits with 1."""

from __future__ import annotations

import email
import re
import sys
import zipfile
from pathlib import Path

LIMIT = 15 * 1024 * 1024
"""Bytes that a wheel may have. It is downloaded by every build of every container image."""
NEEDED = {
    "the native module": r"pylae/_native\.abi3\.so",
    "its types": r"pylae/_native\.pyi",
    "the mark of a typed package": r"pylae/py\.typed",
    "the licence": r"[^/]+\.dist-info/licenses/LICENSE",
    "the licences of what is linked": r"[^/]+\.dist-info/licenses/THIRD-PARTY-LICENSES",
    "the list of crates that are linked": r"[^/]+\.dist-info/sboms/[^/]+\.json",
    "what migrates a store": r"pylae/store/migrations/env\.py",
    "the migrations of a store": r"pylae/store/migrations/versions/\d{4}_\w+\.py",
    "the file that configures the demo": r"pylae/demo/[^/]+\.yaml",
}
"""What must be there, and the names that it may have."""
ALLOWED = re.compile(
    r"pylae/(_native\.abi3\.so|_native\.pyi|py\.typed|([^/]+/)*[^/]+\.(py|txt|yaml))|[^/]+\.dist-info/.+"
)
"""What may be there: no tests, no sources in Rust, nothing beside the package."""
METADATA = {
    "Name": r"pylae",
    "License-Expression": r"Apache-2\.0",
    "Requires-Python": r">=3\.11",
    "Description-Content-Type": r"text/markdown\b.*",
}


def mistakes(wheel: Path) -> list[str]:
    """What is wrong with a wheel."""
    found = []
    size = wheel.stat().st_size
    if size > LIMIT:
        found.append(f"has {size:,} bytes, more than {LIMIT:,}")
    if not re.fullmatch(r"pylae-[^-]+-cp311-abi3-\w+(\.\w+)*\.whl", wheel.name):
        found.append("is not for every Python from 3.11 on, says its name")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        for what, pattern in NEEDED.items():
            if not any(re.fullmatch(pattern, name) for name in names):
                found.append(f"lacks {what} ({pattern})")
        if "manylinux" in wheel.name and not _shares_unwinder(archive):
            found.append("has an unwinder of its own, not libgcc_s: the end of a thread can crash the process")
        found += [f"has {name}, which does not belong there" for name in names if not ALLOWED.fullmatch(name)]
        (metadata,) = (name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        told = email.message_from_bytes(archive.read(metadata))
    for field, pattern in METADATA.items():
        value = told.get(field, "")
        if not re.fullmatch(pattern, value):
            found.append(f"says {field}: {value or 'nothing'}, not {pattern}")
    return found


def _shares_unwinder(archive: zipfile.ZipFile) -> bool:
    """Whether the native module is linked to the unwinder of the system, which ends threads of the interpreter."""
    modules = [name for name in archive.namelist() if name.endswith(".so")]
    return all(b"libgcc_s.so.1\0" in archive.read(name) for name in modules)


def main() -> int:
    """The command."""
    wrong = False
    for wheel in map(Path, sys.argv[1:]):
        for mistake in mistakes(wheel):
            print(f"{wheel.name} {mistake}", file=sys.stderr)
            wrong = True
        if not wrong:
            print(f"{wheel.name}: {wheel.stat().st_size / 1024 / 1024:.1f} MiB, everything there and nothing else")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
