"""Imports the hooks and plugins that a configuration names."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from pylae.config.checks.explain import problems_of
from pylae.config.document.nodes import Step, show_path
from pylae.config.document.sources import Below, Sources
from pylae.config.models.application import why_not_asgi
from pylae.config.models.auth import AuthConfig
from pylae.config.models.authenticators.function import AuthenticatorOptions, AuthenticatorUse
from pylae.config.models.authenticators.own import OwnAuthenticator
from pylae.config.models.config import Config
from pylae.config.models.hooks import ON, HookSettings, PluginUse
from pylae.errors import ConfigError, HookError, Problem
from pylae.hooks.authenticator import Authenticator
from pylae.hooks.hook import Hook, make, make_authenticator, mark_of
from pylae.hooks.installed import AUTHENTICATORS, PLUGINS, BrokenError, named
from pylae.hooks.modules import MissingError, Modules
from pylae.hooks.plugin import METHODS, Plugin, hooks_of
from pylae.identity.kinds import Implementation, made

_OWN = Path(__file__).parent

Implementations = dict[str, tuple[OwnAuthenticator, Implementation]]
"""Authenticators of Pylae's own by name, with the settings that they were made with."""


class _SettingsError(Exception):
    """A model refuses the settings at `below` of a plugin."""

    def __init__(self, error: ValidationError, model: type[BaseModel], below: tuple[Step, ...]) -> None:
        super().__init__(error)
        self.error, self.model, self.below = error, model, below


def load(config: Config, sources: Sources) -> tuple[list[Hook], dict[Path, str | None]]:
    """Returns the hooks of a configuration in its order, and the files that they came from, with the hashes of their
    content.

    The authenticators of plugins are among them: of each use there is one object.

    Raises ConfigError with every problem; a module that raises is reported with the last line of its traceback.
    """
    hooks: list[Hook] = []
    problems: list[Problem] = []
    modules = Modules()
    for index, settings in enumerate(config.hooks.use):
        try:
            hooks.append(_hook(settings, ("hooks", "use", index), modules))
        except (Exception, SystemExit) as error:
            key = next(name for name in ON if getattr(settings, name))
            problems.append(_problem(error, sources, ("hooks", "use", index, key)))
    for path, use in _uses(config):
        try:
            hooks += _plugin(use, path, modules) if isinstance(use, PluginUse) else [_asking(use, path, modules)]
        except _SettingsError as refused:
            problems += problems_of(refused.error, Below(sources, (*path, *refused.below)), refused.model)
        except (Exception, SystemExit) as error:
            problems.append(_problem(error, sources, (*path, "use")))
    if problems:
        raise ConfigError(problems, modules.files)
    return hooks, modules.files


def _uses(config: Config) -> Iterator[tuple[tuple[Step, ...], PluginUse | AuthenticatorUse]]:
    """The plugins that a configuration uses, and where it does."""
    yield from ((("plugins", index), use) for index, use in enumerate(config.plugins))
    if config.auth:
        yield from ((("auth", "plugins", name), use) for name, use in config.auth.plugins.items())


def applications(config: Config, sources: Sources) -> tuple[dict[str, Any], dict[Path, str | None]]:
    """Returns the ASGI applications of services by name, and the files that they came from, as `load` does.

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
    """Returns the functions of authenticators as hooks, and the files that they came from, as `load` does.

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


def own(
    auth: AuthConfig, implementations: Implementations, sources: Sources
) -> tuple[list[Hook], dict[Path, str | None]]:
    """Returns the authenticators of Pylae's own as hooks, and the files of what they call, as `load` does.

    Those in `implementations` that have the same settings stay, and what they know; the others are made anew.
    Raises ConfigError with every problem.
    """
    found: list[Hook] = []
    problems: list[Problem] = []
    modules = Modules()
    before = dict(implementations)
    implementations.clear()
    for name, at, written in auth.own:
        settings = written
        try:
            if written.code and isinstance(path := getattr(written, written.code), str):
                settings = written.model_copy(update={written.code: _callable(modules.find(path), path)})
        except (Exception, SystemExit) as error:
            problems.append(_problem(error, sources, ("auth", *at, str(written.code))))
            continue
        known = before.get(name)
        implementation = known[1] if known is not None and known[0] == settings else made(settings, name)
        implementations[name] = settings, implementation
        found.append(make_authenticator(implementation.authenticate, settings.options, name, ("auth", *at)))
    if problems:
        raise ConfigError(problems, modules.files)
    return found, modules.files


def _callable(found: Any, path: str) -> Any:
    if not callable(found):
        raise MissingError(f"`{path}` is no function", "name one: `(claims) -> User | None`")
    return found


def _application(path: str, modules: Modules) -> Any:
    found = modules.find(path)
    if (why := why_not_asgi(found)) is not None:
        message, hint = why
        raise MissingError(f"`{path}` {message}", hint)
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
    plugin = _made(named(use.use, PLUGINS, modules, Plugin), use)
    found = list(hooks_of(plugin))
    if not found:
        raise HookError(f"the plugin has no hooks; name its methods {', '.join(METHODS)}")
    for method, mark in found:
        name = f"{use.use}.{method.__name__}"
        yield make(method, mark.on, mark.options, use.routes, source, name)


def _asking(use: AuthenticatorUse, source: tuple[Step, ...], modules: Modules) -> Hook:
    kind = named(use.use, AUTHENTICATORS, modules, Authenticator)
    if kind.authenticate is Authenticator.authenticate:
        raise HookError(f"`{use.use}` has no method `authenticate(request)`")
    if not isinstance(kind.options, AuthenticatorOptions):
        raise HookError(f"`options` of `{use.use}` are not pylae.settings.AuthenticatorOptions")
    try:
        options = use.over(kind.options)
    except ValidationError as error:
        raise _SettingsError(error, AuthenticatorOptions, ()) from None
    return make_authenticator(_made(kind, use).authenticate, options, str(source[-1]), source)


def _made(kind: type[Any], use: PluginUse | AuthenticatorUse) -> Any:
    settings = _settings(kind, use)
    try:
        return kind(settings)
    except Exception as error:
        text = traceback.format_exception_only(error)[-1].strip()
        raise HookError(f"`{use.use}` cannot be made with these settings: {text}") from error


def _settings(kind: type[Any], use: PluginUse | AuthenticatorUse) -> BaseModel:
    model: Any = kind.Settings
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise HookError(f"`Settings` of `{use.use}` is not a Pydantic model")
    # By default Pydantic ignores unknown keys, so a misspelt one would have no effect. Forbid them.
    unknown: Literal["forbid"] | None = None if "extra" in model.model_config else "forbid"
    try:
        return model.model_validate(use.settings, extra=unknown)
    except ValidationError as error:
        raise _SettingsError(error, model, ("settings",)) from None


def _problem(error: BaseException, sources: Sources, path: tuple[Step, ...]) -> Problem:
    place = sources.locate(path)
    hint, whose = None, ""
    if isinstance(error, BrokenError) and error.__cause__ is not None:
        whose, error = f"{error} ", error.__cause__
    if isinstance(error, MissingError):
        message, hint = error.args
        message = f"{whose}cannot be imported: {message}" if whose else message
    elif isinstance(error, HookError):
        message = str(error)
    else:
        text = traceback.format_exception_only(error)[-1].strip()
        message = f"{whose}cannot be imported: {text}"
        if isinstance(error, SystemExit):
            message += "; a module must not end the process that imports it"
        frames = traceback.extract_tb(error.__traceback__)
        if isinstance(error, SyntaxError) and error.filename:
            parts = (error.filename, error.lineno, error.offset)
            hint = f"at {':'.join(str(part) for part in parts if part)}"
        elif frames and Path(frames[-1].filename).parent != _OWN and not frames[-1].filename.startswith("<frozen"):
            hint = f"raised at {frames[-1].filename}:{frames[-1].lineno}"
    return Problem(place.file, place.line, place.column, show_path(place.path), message, hint)


def unknown_routes(hooks: Sequence[Hook], names: Sequence[str], sources: Sources) -> list[Problem]:
    """Finds hooks for routes that do not exist."""
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
