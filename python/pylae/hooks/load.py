"""Imports the hooks and plugins that a configuration names."""

from __future__ import annotations

import difflib
import importlib.util
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pylae.config.check import problems_of
from pylae.config.hooks import ON, HookSettings, PluginUse
from pylae.config.load import digest
from pylae.config.model import Config
from pylae.config.nodes import Step, show_path
from pylae.config.sources import Place, Sources
from pylae.errors import ConfigError, HookError, Problem
from pylae.hooks.hook import Hook, make, mark_of
from pylae.hooks.plugin import METHODS, Plugin, hooks_of

GROUP = "pylae.plugins"
"""The entry point group of plugins."""

_DIGEST = "__pylae_digest__"


@dataclass(frozen=True)
class _Below:
    """Settings below a path."""

    sources: Sources
    path: tuple[Step, ...]

    def locate(self, path: Sequence[Step], *, key: bool = False) -> Place:
        return self.sources.locate((*self.path, *path), key=key)


class _MissingError(Exception):
    """What a configuration names and nothing has. The hint is the second argument."""


def load(config: Config, sources: Sources) -> tuple[list[Hook], dict[Path, str | None]]:
    """The hooks of a configuration, in its order, and the files that they came from with hashes of what these held.

    Raises ConfigError with every problem; a module that raises is reported with the last line of its traceback.
    """
    hooks: list[Hook] = []
    problems: list[Problem] = []
    files: dict[Path, str | None] = {}
    for index, settings in enumerate(config.hooks):
        try:
            hooks.append(_hook(settings, ("hooks", index), files))
        except Exception as error:
            key = next(name for name in ON if getattr(settings, name))
            problems.append(_problem(error, sources, ("hooks", index, key)))
    for index, use in enumerate(config.plugins):
        path: tuple[Step, ...] = ("plugins", index)
        try:
            hooks += _plugin(use, path, files)
        except ValidationError as error:
            below = (*path, "settings")
            problems += problems_of(error, _Below(sources, below), _settings_of(use, {}))
        except Exception as error:
            problems.append(_problem(error, sources, (*path, "use")))
    if problems:
        raise ConfigError(problems, files)
    return hooks, files


def _hook(settings: HookSettings, source: tuple[Step, ...], files: dict[Path, str | None]) -> Hook:
    key = next(name for name in ON if getattr(settings, name))
    path = getattr(settings, key)
    function = find(path, files)
    mark = mark_of(function)
    options = settings.options
    if mark is not None:
        said = {name: getattr(options, name) for name in options.model_fields_set & settings.model_fields_set}
        options = mark.options.model_copy(update=said)
    return make(function, METHODS[key], options, settings.routes, source, path)


def _plugin(use: PluginUse, source: tuple[Step, ...], files: dict[Path, str | None]) -> Iterator[Hook]:
    kind = _plugin_class(use, files)
    plugin = kind(kind.Settings.model_validate(use.settings))
    found = list(hooks_of(plugin))
    if not found:
        raise HookError(f"the plugin has no hook; its methods may be called {', '.join(METHODS)}")
    for method, mark in found:
        name = f"{use.use}.{method.__name__}"
        yield make(method, mark.on, mark.options, use.routes, source, name)


def _settings_of(use: PluginUse, files: dict[Path, str | None]) -> Any:
    return _plugin_class(use, files).Settings


def _plugin_class(use: PluginUse, files: dict[Path, str | None]) -> type[Plugin]:
    path = use.use
    if ":" not in path:
        installed = {point.name: point.value for point in entry_points(group=GROUP)}
        if path not in installed:
            near = difflib.get_close_matches(path, installed, 1, 0.6)
            listed = f"installed are {', '.join(sorted(installed))}" if installed else "none is installed"
            hint = f"did you mean `{near[0]}`?" if near else "an import path `module:Class` will do too"
            raise _MissingError(f"there is no plugin `{path}`; {listed}", hint)
        path = installed[path]
    kind = find(path, files)
    if not (isinstance(kind, type) and issubclass(kind, Plugin)):
        raise HookError(f"`{path}` is not a class derived from pylae.hooks.Plugin")
    return kind


def find(path: str, files: dict[Path, str | None]) -> Any:
    """What is at `module:name`. A module that has changed since it was imported is imported anew."""
    name, _, attributes = path.partition(":")
    found: Any = module(name, files)
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            near = difflib.get_close_matches(attribute, dir(found), 1, 0.6)
            raise _MissingError(f"`{name}` has no `{attributes}`", f"did you mean `{near[0]}`?" if near else None)
        found = getattr(found, attribute)
    return found


def module(name: str, files: dict[Path, str | None]) -> types.ModuleType:
    """A module, executed anew if its file is not what it was. The old one stays what it is for those who hold it."""
    importlib.invalidate_caches()
    known = sys.modules.get(name)
    spec = known.__spec__ if known is not None and known.__spec__ else _spec(name)
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
        sys.modules.pop(spec.name)
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


def _problem(error: Exception, sources: Sources, path: tuple[Step, ...]) -> Problem:
    place = sources.locate(path)
    hint = None
    if isinstance(error, _MissingError):
        message, hint = error.args
    elif isinstance(error, HookError):
        message = str(error)
    else:
        message = f"cannot be imported: {traceback.format_exception_only(error)[-1].strip()}"
        frames = traceback.extract_tb(error.__traceback__)
        if frames and frames[-1].filename != __file__ and not frames[-1].filename.startswith("<frozen"):
            hint = f"raised at {frames[-1].filename}:{frames[-1].lineno}"
    return Problem(place.file, place.line, place.column, show_path(place.path), message, hint)


def importable(folder: Path) -> None:
    """Lets modules beside a configuration be imported, as Python does for a program that it runs."""
    text = str(folder.absolute())
    if text not in sys.path:
        sys.path.insert(0, text)


def unknown_routes(hooks: Sequence[Hook], names: Sequence[str], sources: Sources) -> list[Problem]:
    """Routes that hooks name and that do not exist."""
    problems = []
    for hook in hooks:
        for name in hook.routes or ():
            if name in names:
                continue
            place = sources.locate((*hook.source, "routes"))
            near = difflib.get_close_matches(name, names, 1, 0.6)
            hint = f"did you mean `{near[0]}`?" if near else None
            message = f"there is no route `{name}` for the hook {hook.name}"
            problems.append(Problem(place.file, place.line, place.column, show_path(place.path), message, hint))
    return problems
