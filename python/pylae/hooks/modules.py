"""Imports modules that a configuration names, and imports them anew when they have changed."""

from __future__ import annotations

import difflib
import importlib.util
import sys
import types
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

from pylae.config.document.files import digest

_DIGEST = "__pylae_digest__"


class MissingError(Exception):
    """What a configuration names and nothing has, or something else is. The hint is the second argument."""


class Modules:
    """The modules that one configuration names: each is executed once at most, also where it fails."""

    def __init__(self) -> None:
        self.files: dict[Path, str | None] = {}
        """Their files, with hashes of what these held."""
        self._found: dict[str, types.ModuleType | BaseException] = {}

    def find(self, path: str) -> Any:
        """What is at `module:name`. A module that has changed since it was imported is imported anew."""
        name, _, attributes = path.partition(":")
        found: Any = self._module(name)
        for attribute in attributes.split("."):
            if not hasattr(found, attribute):
                near = difflib.get_close_matches(attribute, dir(found), 1, 0.6)
                raise MissingError(f"`{name}` has no `{attributes}`", f"did you mean `{near[0]}`?" if near else None)
            found = getattr(found, attribute)
        return found

    def _module(self, name: str) -> types.ModuleType:
        found = self._found.get(name)
        if found is None:
            try:
                found = _imported(name, self.files)
            except (Exception, SystemExit) as error:
                found = error
            self._found[name] = found
        if isinstance(found, BaseException):
            raise found
        return found


def _imported(name: str, files: dict[Path, str | None]) -> types.ModuleType:
    """A module, executed anew if its file is not what it was. The old one stays what it is for those who hold it."""
    importlib.invalidate_caches()
    known = sys.modules.get(name)
    spec = known.__spec__ if known is not None and known.__spec__ else _spec(name)
    # Looking for a module in a package imports the package, which may have imported the module.
    known = sys.modules.get(name)
    path = Path(spec.origin) if isinstance(spec.loader, SourceFileLoader) and spec.origin else None
    if path is None:
        return importlib.import_module(name)
    try:
        source = path.read_bytes()
    except OSError:
        files[path] = None
        raise
    files[path] = digest(source)
    if known is not None and getattr(known, _DIGEST, files[path]) == files[path]:
        setattr(known, _DIGEST, files[path])
        return known
    return _execute(spec, path, source, files[path])


def _execute(spec: ModuleSpec, path: Path, source: bytes, hash_: str | None) -> types.ModuleType:
    fresh = importlib.util.module_from_spec(spec)
    before = sys.modules.get(spec.name)
    sys.modules[spec.name] = fresh
    try:
        # Not by its loader: cached bytecode is compared by time and size, and an edit may leave both as they were.
        exec(compile(source, str(path), "exec"), fresh.__dict__)  # noqa: S102 (the user's own module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        if before is not None:
            sys.modules[spec.name] = before
        raise
    setattr(fresh, _DIGEST, hash_)
    parent, _, child = spec.name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, fresh)
    return fresh


def _spec(name: str) -> ModuleSpec:
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return spec


def importable(folder: Path) -> None:
    """Lets modules beside a configuration be imported, as Python does for a program that it runs."""
    text = str(folder.absolute())
    if text not in sys.path:
        sys.path.insert(0, text)
