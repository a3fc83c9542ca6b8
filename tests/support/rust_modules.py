"""The modules of the Rust crates, and which of them name items of which others.

An edge is an item that one module defines and another names, in a `use` or in a path; a re-export counts as the
definition that it leads to. Tests are left out. Names are resolved by reading the text: methods, which nobody names by
a path, make no edge.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

Parts = tuple[str, ...]

_COMMENT_OR_LITERAL = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(\#+)".*?"\1|b?r"[^"]*"|b?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^'\\])'""", re.DOTALL
)
_TEST_ITEM = re.compile(r"#\[cfg\(test\)\]")
_MODULE = re.compile(r"\bmod\s+(\w+)\s*(?:;|::)")
"""A table declares the file of a row by `mod file::Type`."""
_USE = re.compile(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);")
_ITEM = re.compile(r"\b(?:struct|enum|union|trait|fn|const|static|type|macro_rules!)\s+(?:mut\s+)?([A-Za-z_]\w*)")
_TYPE = re.compile(r"(\bpub(?:\([^)]*\))?\s+)?\b(?:struct|enum|union|trait|type)\s+([A-Z]\w*)")
_PATH = re.compile(r"(?<![\w:.])((?:\w+::)+\w+)")


@dataclass(eq=False)
class Module:
    """A file of a crate."""

    crate: str
    path: Parts
    file: Path
    text: str
    """Without comments, literals and tests."""
    children: dict[str, Module] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "::".join((self.crate, *self.path))

    @cached_property
    def top_level(self) -> str:
        """What stands outside of all braces."""
        depth, kept = 0, []
        for char in self.text:
            depth += (char == "{") - (char == "}")
            if depth == 0:
                kept.append(char)
        return "".join(kept)

    @cached_property
    def items(self) -> set[str]:
        """Names of the items that it defines."""
        return set(_ITEM.findall(self.top_level))

    @cached_property
    def types(self) -> dict[str, bool]:
        """Names of the types that it defines, and whether they are visible elsewhere."""
        return {name: bool(visible) for visible, name in _TYPE.findall(self.top_level)}

    @cached_property
    def uses(self) -> list[tuple[Parts, str, bool]]:
        """Path, name here, and whether it is passed on, of all that it imports. A glob is called `*`."""
        found = []
        for visible, tree in _USE.findall(self.text):
            found += [(parts, name, bool(visible)) for parts, name in _leaves(tree)]
        return found

    @cached_property
    def imported(self) -> dict[str, Parts]:
        return {name: parts for parts, name, _ in self.uses if name not in ("*", "_")}

    @cached_property
    def globs(self) -> list[Parts]:
        return [parts for parts, name, _ in self.uses if name == "*"]


class Crates:
    """All modules below a folder of crates."""

    def __init__(self, folder: Path) -> None:
        self.modules: dict[Parts, Module] = {}
        for crate in sorted(folder.glob("*/src/lib.rs")):
            self._read("pylae_" + crate.parent.parent.name, (), crate, crate.parent)

    def _read(self, crate: str, path: Parts, file: Path, source: Path) -> Module:
        module = Module(crate, path, file, _without_tests(_blank(file.read_text())))
        self.modules[(crate, *path)] = module
        folder = source.joinpath(*path)
        for name in _MODULE.findall(module.text):
            module.children[name] = self._read(crate, (*path, name), folder / f"{name}.rs", source)
        return module

    def edges(self) -> dict[str, dict[str, set[str]]]:
        """Names of modules, those whose items each names, and these items."""
        found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for module in self.modules.values():
            for parts in self._named(module):
                target = self._definer(module, parts)
                if target is not None and target is not module:
                    found[module.name][target.name].add(parts[-1])
        return found

    def _named(self, module: Module) -> Iterator[Parts]:
        """Paths of what the module names. What it only passes on counts where it is used."""
        body = _USE.sub(" ", module.text)
        yield from (parts for parts, name, visible in module.uses if name != "*" and not visible)
        yield from (tuple(path.split("::")) for path in _PATH.findall(body))
        words = set(re.findall(r"(?<![\w:.])\w+", body))
        yield from (parts for name, parts in module.imported.items() if name in words)
        for parts in module.globs:
            target = self._definer(module, parts)
            if target is not None and target is not module:
                yield from ((*parts, name) for name in words & (target.items | target.imported.keys()))

    def _definer(self, module: Module, parts: Parts, seen: frozenset[object] = frozenset()) -> Module | None:
        """The module that defines what a path names; None where that is no crate of ours."""
        if (module, parts) in seen:
            return None
        seen |= {(module, parts)}
        head, rest = parts[0], parts[1:]
        if head == "crate":
            return self._within(self.modules[(module.crate,)], rest, seen)
        if head == "self":
            return self._within(module, rest, seen)
        if head == "super":
            return self._definer(self.modules[(module.crate, *module.path[:-1])], ("self", *rest), seen)
        if (head,) in self.modules:
            return self._within(self.modules[(head,)], rest, seen)
        return self._within(module, parts, seen, local=True)

    def _within(self, module: Module, parts: Parts, seen: frozenset[object], *, local: bool = False) -> Module | None:
        if not parts:
            return module
        head, rest = parts[0], parts[1:]
        if head == "super":
            return self._definer(module, parts, seen)
        if head in module.children:
            return self._within(module.children[head], rest, seen)
        if head in module.items:
            return module
        if (path := module.imported.get(head)) is not None:
            found = self._definer(module, path, seen)
            is_module = found is not None and (found.path or (found.crate,))[-1] == path[-1]
            return self._within(found, rest, seen) if found is not None and rest and is_module else found
        for glob in module.globs:
            base = self._definer(module, glob, seen)
            if base is not None and base is not module and (found := self._within(base, parts, seen, local=True)):
                return found
        return None if local else module


def cycles(edges: Mapping[str, Mapping[str, object]]) -> list[list[str]]:
    """Groups of nodes each of which leads to all others of its group (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, {}):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in edges:
        if node not in index:
            visit(node)
    return found


def _blank(text: str) -> str:
    return _COMMENT_OR_LITERAL.sub(lambda found: '""' if '"' in found.group() else " ", text)


def _without_tests(text: str) -> str:
    kept, at = [], 0
    for found in _TEST_ITEM.finditer(text):
        if found.start() < at:
            continue
        kept.append(text[at : found.start()])
        depth, at = 0, found.end()
        while at < len(text):
            depth += (text[at] == "{") - (text[at] == "}")
            at += 1
            if depth == 0 and text[at - 1] in "};":
                break
    return "".join((*kept, text[at:]))


def _leaves(tree: str, prefix: Parts = ()) -> Iterator[tuple[Parts, str]]:
    """Path and name of all that a `use` brings."""
    group = re.fullmatch(r"\s*((?:\w+\s*::\s*)*)\{(.*)\}\s*", tree, re.DOTALL)
    if group is None:
        path, _, alias = tree.partition(" as ")
        parts = prefix + tuple(part.strip() for part in path.split("::"))
        parts, last = (parts[:-1], parts[-1]) if parts[-1] in ("self", "*") else (parts, parts[-1])
        yield parts, alias.strip() or ("*" if last == "*" else parts[-1])
        return
    prefix += tuple(part.strip() for part in group[1].split("::") if part.strip())
    depth, start = 0, 0
    inner = group[2] + ","
    for at, char in enumerate(inner):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            if inner[start:at].strip():
                yield from _leaves(inner[start:at], prefix)
            start = at + 1
