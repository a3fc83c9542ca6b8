"""What a wheel must contain: the licences of the crates that it links, and nothing but the package."""

from __future__ import annotations

import re
import runpy
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LICENSES = runpy.run_path(str(ROOT / "release" / "licenses.py"))
CHECK = runpy.run_path(str(ROOT / "release" / "check_wheel.py"))
TRY = runpy.run_path(str(ROOT / "release" / "try_wheel.py"))

METADATA = """\
Metadata-Version: 2.4
Name: pylae
License-Expression: Apache-2.0
Requires-Python: >=3.11
Description-Content-Type: text/markdown; charset=UTF-8
"""
INFO = "pylae-0.1.0.dist-info"
FILES = {
    "pylae/__init__.py": "",
    "pylae/_native.abi3.so": "",
    "pylae/_native.pyi": "",
    "pylae/py.typed": "",
    "pylae/cli/starters/plugin_test.txt": "",
    "pylae/store/migrations/env.py": "",
    "pylae/store/migrations/versions/0001_first.py": "",
    "pylae/demo/pylae.yaml": "",
    f"{INFO}/METADATA": METADATA,
    f"{INFO}/licenses/LICENSE": "",
    f"{INFO}/licenses/THIRD-PARTY-LICENSES": "",
    f"{INFO}/sboms/pylae-python.cyclonedx.json": "",
}


def wheel(folder: Path, files: dict[str, str | None], name: str = "pylae-0.1.0-cp311-abi3-linux_x86_64") -> Path:
    """A wheel with these files; those that are None are left out."""
    with zipfile.ZipFile(folder / f"{name}.whl", "w") as archive:
        for file, content in files.items():
            if content is not None:
                archive.writestr(file, content)
    return folder / f"{name}.whl"


def test_the_licences_are_those_of_the_crates_that_are_linked() -> None:
    assert LICENSES["FILE"].read_text(encoding="utf-8") == LICENSES["text"](), "run `make licenses`"


def test_a_good_wheel(tmp_path: Path) -> None:
    assert CHECK["mistakes"](wheel(tmp_path, {**FILES})) == []


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ({"pylae/py.typed": None}, "lacks the mark of a typed package"),
        ({"pylae/store/migrations/versions/0001_first.py": None}, "lacks the migrations of a store"),
        ({f"{INFO}/licenses/THIRD-PARTY-LICENSES": None}, "lacks the licences of what is linked"),
        ({"pylae/_native.abi3.so": None, "pylae/_native.cpython-311.so": ""}, "lacks the native module"),
        ({"tests/test_routes.py": ""}, "has tests/test_routes.py"),
        ({"pylae/target/debug/_native.so": ""}, "has pylae/target/debug/_native.so"),
        ({f"{INFO}/METADATA": METADATA.replace("3.11", "3.9")}, "says Requires-Python: >=3.9"),
        ({f"{INFO}/METADATA": METADATA.replace("License", "X")}, "says License-Expression: nothing"),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, change: dict[str, str | None], mistake: str) -> None:
    found = CHECK["mistakes"](wheel(tmp_path, {**FILES, **change}))
    assert any(mistake in each for each in found), found


@pytest.mark.parametrize(("module", "mistakes"), [("\0libgcc_s.so.1\0libc.so.6\0", 0), ("\0libc.so.6\0", 1)])
def test_an_unwinder_of_its_own_is_a_mistake(tmp_path: Path, module: str, mistakes: int) -> None:
    files = {**FILES, "pylae/_native.abi3.so": module}
    found = CHECK["mistakes"](wheel(tmp_path, files, "pylae-0.1.0-cp311-abi3-manylinux2014_x86_64"))
    assert [each for each in found if "unwinder" in each] == found
    assert len(found) == mistakes


def test_a_wheel_for_one_python_alone_is_a_mistake(tmp_path: Path) -> None:
    (found,) = CHECK["mistakes"](wheel(tmp_path, {**FILES}, "pylae-0.1.0-cp313-cp313-linux_x86_64"))
    assert "is not for every Python" in found


def test_a_large_wheel_is_a_mistake(tmp_path: Path) -> None:
    (found,) = CHECK["mistakes"](wheel(tmp_path, {**FILES, "pylae/large.txt": "x" * CHECK["LIMIT"]}))
    assert re.fullmatch(r"has 15,7\d\d,\d{3} bytes, more than 15,728,640", found)


def test_a_wheel_is_not_asked_for_tests_of_the_sources() -> None:
    """Those that read sources of Rust cannot run beside a wheel, and are listed with what they look at."""
    files = [file.relative_to(ROOT).as_posix() for file in (ROOT / "tests").rglob("test_*.py")]
    reading = [file for file in files if re.search(r'/ "crates["/]', (ROOT / file).read_text())]
    assert set(reading) <= TRY["ABOUT_THE_TREE"].keys() <= set(files)


def test_one_version() -> None:
    """A release is cut from one tag, so crates and package have one version."""
    versions = {
        file: re.findall(r'^version = "(.*)"$', (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)[0]
        for file in ("Cargo.toml", "pyproject.toml")
    }
    assert len(set(versions.values())) == 1, versions
