"""The house keeps its shape: no cycle of modules, no folder or file too full, no name defined twice, no line too long.

The rules are in `docs/layout.md`. Functions are bounded by clippy (`clippy.toml`), lines of Python by ruff.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from tests.support.rust_modules import Crates, cycles

ROOT = Path(__file__).parents[2]
WIDTH = 120
MOST_FILES = 15
MOST_LINES = 400

TABLES = {
    "crates/core/src/service/balance": "a file per balancer",
    "crates/policies/src": "a file per policy",
    "python/pylae/admin": "a file per topic",
    "python/pylae/cli": "a file per verb",
    "python/pylae/policies": "a file per policy",
    "python/pylae/registry/sources": "a file per kind",
}
"""Folders that are a table: they may have more files."""

EVERYWHERE = {"Config", "Error"}
"""Types that each module may have: what the plan says about a policy, and what goes wrong in a parser."""


@pytest.fixture(scope="module")
def crates() -> Crates:
    return Crates(ROOT / "crates")


def test_no_rust_module_is_in_a_cycle(crates: Crates) -> None:
    edges = crates.edges()
    named = [
        f"{module} -> {other}: {', '.join(sorted(edges[module][other]))}"
        for group in cycles(edges)
        for module in group
        for other in sorted(set(edges[module]) & set(group))
    ]
    assert named == []


def test_a_folder_of_the_data_plane_knows_only_those_below_it(crates: Crates) -> None:
    library = crates.modules[("pylae_proxy",)]
    order = list(library.children)
    upward = [
        f"{module} -> {other}: {', '.join(sorted(items))}"
        for module, others in crates.edges().items()
        for other, items in others.items()
        if module.startswith("pylae_proxy::") and other.startswith("pylae_proxy::")
        if order.index(module.split("::")[1]) > order.index(other.split("::")[1])
    ]
    assert upward == []


def test_no_python_module_is_in_a_cycle() -> None:
    """Imports for type checkers count. Two modules do not: they name what others define, for whom they are written."""
    graph = grimp.build_graph("pylae", cache_dir=None)
    modules = graph.modules - {
        "pylae",  # public names, each from its home
        "pylae.settings.fields",  # generated from all models, whose keywords it types
    }
    edges = {
        module: dict.fromkeys(other for other in graph.find_modules_directly_imported_by(module) if other in modules)
        for module in sorted(modules)
    }
    assert cycles(edges) == []


def test_no_type_name_is_defined_twice(crates: Crates) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module in crates.modules.values():
        for name, visible in module.types.items():
            # The state of a module's own is nobody else's.
            if name not in EVERYWHERE and (visible or name != "State"):
                places[name].append(module.name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def _sources() -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    yield from (Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file())


def _is_test(file: Path) -> bool:
    return file.stem == "tests" or "tests" in file.parts


def test_no_folder_is_too_full() -> None:
    files = Counter(
        str(file.parent)
        for file in _sources()
        if file.suffix in (".rs", ".py") and file.name not in ("__init__.py", "lib.rs")
        if file.parts[0] in ("crates", "python") and not _is_test(file)
    )
    assert {folder: count for folder, count in files.items() if count > MOST_FILES and folder not in TABLES} == {}


def test_no_file_is_too_long() -> None:
    long = {}
    for file in _sources():
        if file.suffix == ".rs" and file.parts[0] == "crates" and not _is_test(file):
            lines = re.split(r"(?m)^#\[cfg\(test\)\]$", (ROOT / file).read_text())[0].count("\n")
            if lines > MOST_LINES:
                long[str(file)] = lines
    assert long == {}


def test_no_line_is_too_long() -> None:
    long = []
    for file in _sources():
        if file.parts[0] in ("bench", "chaos", "conformance") and file.parts[1] == "results":
            continue  # written by programs
        if file.suffix == ".rs":
            lines = _comments((ROOT / file).read_text())
        elif file.suffix == ".md":
            lines = _prose((ROOT / file).read_text())
        else:
            continue
        long += [f"{file}:{number}" for number, line in lines if len(line) > WIDTH and " " in line.strip()]
    assert long == []


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments of Rust that stand in lines of their own: rustfmt breaks code, and leaves texts as they are."""
    yield from ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.lstrip().startswith("//"))


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """Lines of Markdown that can be broken: not those of code and tables. The address of a link does not count."""
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and not line.lstrip().startswith("|"):
            yield number, re.sub(r"\]\([^)]*\)", "]()", line)


def _crate(folder: Path, **files: str) -> Crates:
    for name, text in files.items():
        file = folder / "a/src" / (name.replace("__", "/") + ".rs")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Crates(folder)


@pytest.mark.parametrize(
    ("files", "cyclic"),
    [
        ({"lib": "mod a; mod b;", "a": "use crate::b::B; struct A;", "b": "use crate::a::A; struct B;"}, True),
        ({"lib": "mod a; mod b;", "a": "use crate::b::B; struct A;", "b": "struct B(A);"}, False),
        ({"lib": "mod a; mod b;", "a": "fn f() { crate::b::g() }", "b": "fn g() { super::a::f() }"}, True),
        # Parent and child count, a re-export is its definition, and a glob is what is named by it.
        ({"lib": "mod a;", "a": "mod b; use b::B; struct A;", "a__b": "use super::A; struct B;"}, True),
        ({"lib": "mod a;", "a": "mod b; pub use b::B; struct A;", "a__b": "use super::A; struct B;"}, False),
        (
            {"lib": "mod a; mod b; pub use b::B;", "a": "use crate::B; struct A;", "b": "use crate::a::A; struct B;"},
            True,
        ),
        ({"lib": "mod a;", "a": "mod b; fn f(_: b::B) {} struct A;", "a__b": "use super::*; struct B(A);"}, True),
        # A table declares modules too.
        ({"lib": "mod a;", "a": "table! { one: mod b::B; } struct A;", "a__b": "use super::A; struct B;"}, True),
        # Neither comments nor tests nor texts.
        ({"lib": "mod a; mod b;", "a": "use crate::b::B; struct A;", "b": "// crate::a::A\nstruct B;"}, False),
        (
            {
                "lib": "mod a; mod b;",
                "a": "use crate::b::B; struct A;",
                "b": "struct B; #[cfg(test)] mod tests { use crate::a::A; }",
            },
            False,
        ),
    ],
)
def test_a_cycle_is_found(tmp_path: Path, files: dict[str, str], cyclic: bool) -> None:
    assert bool(cycles(_crate(tmp_path, **files).edges())) is cyclic


def test_types_are_found(tmp_path: Path) -> None:
    crates = _crate(
        tmp_path, lib="pub struct A<'a> { b: B }\nenum C { D }\nimpl E for F { type G = u8; }\npub(crate) type H = u8;"
    )
    assert crates.modules[("pylae_a",)].types == {"A": True, "C": False, "H": True}


def test_the_crates_of_the_development_build_are_those_that_cargo_test_builds() -> None:
    """Were a feature of one crate another, cargo would build it twice, and all that use it: minutes for everybody."""
    features = re.findall(r"^LIKE_TESTS := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[0]
    module = _resolved("--edges=normal,build", "--package=pylae-python", *features.split())
    other = module - _resolved("--edges=normal,build,dev", "--workspace")
    assert [line for line in sorted(other) if not line.startswith("pylae-python ")] == []


def _resolved(*selection: str) -> set[str]:
    """The crates of a selection, each with its version and the features that cargo resolves for it."""
    command = ["cargo", "tree", "--quiet", "--locked", "--prefix=none", "--no-dedupe", "--format={p} {f}", *selection]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())
