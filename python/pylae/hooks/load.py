"""Imports the hooks and plugins that a configuration names."""

from __future__ import annotations

import difflib
import importlib.util
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from pylae.config.checks.explain import problems_of
from pylae.config.document.load import digest
from pylae.config.document.nodes import Step, show_path
from pylae.config.document.sources import Below, Sources
from pylae.config.models.application import why_not_asgi
from pylae.config.models.config import Config
from pylae.config.models.hooks import ON, HookSettings, PluginUse
from pylae.errors import ConfigError, HookError, Problem
from pylae.hooks.hook import Hook, make, make_authenticator, mark_of
from pylae.hooks.plugin import METHODS, Plugin, hooks_of

GROUP = "pylae.plugins"
"""The entry point group of plugins."""

_DIGEST = "__pylae_digest__"


class _MissingError(Exception):
    """What a configuration names and nothing has, or something else is. The hint is the second argument."""


class _SettingsError(Exception):
    """Settings that a plugin's model refuses."""

    def __init__(self, error: ValidationError, model: type[BaseModel]) -> None:
        super().__init__(error)
        self.error, self.model = error, model


def load(config: Config, sources: Sources) -> tuple[list[Hook], dict[Path, str | None]]:
    """The hooks of a configuration, in its order, and the files that they came from with hashes of what these held.

    Raises ConfigError with every problem; a module that raises is reported with the last line of its traceback.
    """
    hooks: list[Hook] = []
    problems: list[Problem] = []
    modules = Modules()
    for index, settings in enumerate(config.hooks):
        try:
            hooks.append(_hook(settings, ("hooks", index), modules))
        except (Exception, SystemExit) as error:
            key = next(name for name in ON if getattr(settings, name))
            problems.append(_problem(error, sources, ("hooks", index, key)))
    for index, use in enumerate(config.plugins):
        path: tuple[Step, ...] = ("plugins", index)
        try:
            hooks += _plugin(use, path, modules)
        except _SettingsError as refused:
            problems += problems_of(refused.error, Below(sources, (*path, "settings")), refused.model)
        except (Exception, SystemExit) as error:
            problems.append(_problem(error, sources, (*path, "use")))
    if problems:
        raise ConfigError(problems, modules.files)
    return hooks, modules.files


def applications(config: Config, sources: Sources) -> tuple[dict[str, Any], dict[Path, str | None]]:
    """The ASGI applications of services by their names, and the files that they came from, as `load` has it.

    Raises ConfigError with every problem.
    """
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    modules = Modules()
    for name, service in config.services.items():
        if isinstance(service.app, str):
            try:
                found[name] = _application(service.app, modules)
            except (Exception, SystemExit) as error:
                problems.append(_problem(error, sources, ("services", name, "app")))
        elif service.app is not None:
            found[name] = service.app
    if problems:
        raise ConfigError(problems, modules.files)
    return found, modules.files


def authenticators(config: Config, sources: Sources) -> tuple[list[Hook], dict[Path, str | None]]:
    """The functions of authenticators as hooks, and the files that they came from, as `load` has it.

    Raises ConfigError with every problem.
    """
    found: list[Hook] = []
    problems: list[Problem] = []
    modules = Modules()
    for name, one in (config.auth.functions if config.auth else {}).items():
        source: tuple[Step, ...] = ("auth", "functions", name)
        try:
            function = modules.find(one.function) if isinstance(one.function, str) else one.function
            found.append(make_authenticator(function, one, name, source))
        except (Exception, SystemExit) as error:
            problems.append(_problem(error, sources, (*source, "function")))
    if problems:
        raise ConfigError(problems, modules.files)
    return found, modules.files


def _application(path: str, modules: Modules) -> Any:
    found = modules.find(path)
    if (why := why_not_asgi(found)) is not None:
        message, hint = why
        raise _MissingError(f"`{path}` {message}", hint)
    return found


def _hook(settings: HookSettings, source: tuple[Step, ...], modules: Modules) -> Hook:
    key = next(name for name in ON if getattr(settings, name))
    path = getattr(settings, key)
    function = modules.find(path)
    mark = mark_of(function)
    options = settings.options
    if mark is not None:
        said = {name: getattr(options, name) for name in options.model_fields_set}
        options = mark.options.model_copy(update=said)
    return make(function, METHODS[key], options, settings.routes, source, path)


def _plugin(use: PluginUse, source: tuple[Step, ...], modules: Modules) -> Iterator[Hook]:
    kind = _plugin_class(use.use, modules)
    plugin = kind(_settings(kind, use))
    found = list(hooks_of(plugin))
    if not found:
        raise HookError(f"the plugin has no hook; its methods may be called {', '.join(METHODS)}")
    for method, mark in found:
        name = f"{use.use}.{method.__name__}"
        yield make(method, mark.on, mark.options, use.routes, source, name)


def _settings(kind: type[Plugin], use: PluginUse) -> BaseModel:
    model: Any = kind.Settings
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise HookError(f"`Settings` of `{use.use}` is not a Pydantic model")
    # Pydantic ignores keys that a model does not know, unless it says what to do: a misspelt one would do nothing.
    unknown: Literal["forbid"] | None = None if "extra" in model.model_config else "forbid"
    try:
        return model.model_validate(use.settings, extra=unknown)
    except ValidationError as error:
        raise _SettingsError(error, model) from None


def _plugin_class(path: str, modules: Modules) -> type[Plugin]:
    if ":" not in path:
        installed = {point.name: point.value for point in entry_points(group=GROUP)}
        if path not in installed:
            near = difflib.get_close_matches(path, installed, 1, 0.6)
            listed = f"installed are {', '.join(sorted(installed))}" if installed else "none is installed"
            hint = f"did you mean `{near[0]}`?" if near else "an import path `module:Class` will do too"
            raise _MissingError(f"there is no plugin `{path}`; {listed}", hint)
        path = installed[path]
    kind = modules.find(path)
    if not (isinstance(kind, type) and issubclass(kind, Plugin)):
        raise HookError(f"`{path}` is not a class derived from pylae.hooks.Plugin")
    return kind


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
                raise _MissingError(f"`{name}` has no `{attributes}`", f"did you mean `{near[0]}`?" if near else None)
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


def _problem(error: BaseException, sources: Sources, path: tuple[Step, ...]) -> Problem:
    place = sources.locate(path)
    hint = None
    if isinstance(error, _MissingError):
        message, hint = error.args
    elif isinstance(error, HookError):
        message = str(error)
    else:
        text = traceback.format_exception_only(error)[-1].strip()
        message = f"cannot be imported: {text}"
        if isinstance(error, SystemExit):
            message += "; a module must not end the process that imports it"
        frames = traceback.extract_tb(error.__traceback__)
        if isinstance(error, SyntaxError) and error.filename:
            parts = (error.filename, error.lineno, error.offset)
            hint = f"at {':'.join(str(part) for part in parts if part)}"
        elif frames and frames[-1].filename != __file__ and not frames[-1].filename.startswith("<frozen"):
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
