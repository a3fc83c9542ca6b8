"""What a process loads to have the hooks of a configuration."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, TypedDict

from pylae.config.builder import ConfigBuilder
from pylae.config.document.sources import CallSources
from pylae.config.models.config import Config
from pylae.config.models.hooks import HookOptions
from pylae.config.program import executed
from pylae.errors import ConfigError, EngineError, HookError
from pylae.hooks import load
from pylae.hooks.hook import Hook, make
from pylae.hooks.modules import importable

MAIN = "__pylae_main__"
"""The program that a gateway runs in, where it is loaded again."""


class Address(TypedDict):
    """Where to find a hook that code has added."""

    index: int
    """Its place among the callables of the plan."""
    name: str
    module: str
    path: str | None
    """Its qualified name, if it is a plain function; None if only its gateway knows it."""
    on: str


class Recipe(TypedDict):
    """What a process loads to have the hooks of a configuration. It has a form in JSON."""

    search: list[str]
    """Where modules are looked for."""
    arguments: list[str]
    folder: str | None
    """The folder of the configuration."""
    config: dict[str, Any]
    """The part of the configuration that names hooks."""
    named: list[tuple[int, str]]
    """The hooks of that part: their places among the callables of the plan, and their names."""
    added: list[Address]
    """Those that code has added."""
    programs: dict[str, str]
    """The files of programs that are modules, by the names that they have as such."""
    names: dict[str, Any]
    """The names that hooks see: routes with their services, and services."""
    levels: dict[str, int]
    """The levels of loggers."""
    user: tuple[int, int, list[int]] | None
    """Whom the process becomes: user, group and groups."""


def hosted(builder: ConfigBuilder) -> list[Hook]:
    """The hooks of a configuration that run in hook hosts; none if the gateway itself runs them."""
    return [hook for hook in builder.hooks if hook.authenticator is None] if builder.config.hooks.processes else []


def refused(builder: ConfigBuilder, error: EngineError) -> ConfigError:
    """Says where a configuration asks for hook hosts that cannot be had."""
    place = builder.sources.locate(("hooks", "processes"))
    return ConfigError([place.problem(str(error))], builder.followed)


def recipe_of(builder: ConfigBuilder, plan: Mapping[str, Any], user: tuple[int, int, list[int]] | None) -> Recipe:
    """The recipe for the hooks of a configuration, but for its authenticators."""
    written = builder.written
    config = written.model_dump(
        mode="json", include={"hooks": {"use"}, "plugins": True}, exclude_unset=True, exclude_defaults=True
    )
    hooks = [(index, hook) for index, hook in enumerate(builder.hooks) if hook.authenticator is None]
    added = {id(hook.function) for hook in builder.added_hooks}
    return {
        "search": list(sys.path),
        "arguments": list(sys.argv),
        "folder": str(builder.path.parent.absolute()) if builder.path else None,
        "config": config,
        "named": [(index, hook.name) for index, hook in hooks if id(hook.function) not in added],
        "added": [_address(index, hook) for index, hook in hooks if id(hook.function) in added],
        "programs": dict(_programs()),
        "names": {
            "routes": [(route["name"], route["service"]) for route in plan["routes"]],
            "services": [service["name"] for service in plan["services"]],
            "traces": bool((plan.get("telemetry") or {}).get("traces")),
        },
        "levels": dict(_levels()),
        "user": user,
    }


def _address(index: int, hook: Hook) -> Address:
    function = hook.function
    module = getattr(function, "__module__", None) or type(function).__module__
    plain = inspect.isfunction(function) and "<" not in function.__qualname__
    return {
        "index": index,
        "name": hook.name.removeprefix(f"{module}."),
        "module": MAIN if module == "__main__" else module,
        "path": function.__qualname__ if plain else None,
        "on": hook.on,
    }


def _programs() -> Iterable[tuple[str, str]]:
    for name, known in (("pylae_program", "pylae_program"), ("__main__", MAIN)):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            yield known, str(Path(file).absolute())


def _levels() -> Iterable[tuple[str, int]]:
    yield "", logging.getLogger().level
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET:
            yield name, logger.level


def loaded(recipe: Recipe) -> list[Callable[..., Any] | None]:
    """The callables of the plan by their places; None are those that a host does not call.

    Raises ConfigError, HookError, or what a program raises.
    """
    if recipe["folder"] is not None:
        importable(Path(recipe["folder"]))
    found, _ = load.load(Config.model_validate(recipe["config"]), CallSources({}))
    named = recipe["named"]
    if [hook.name for hook in found] != [name for _, name in named]:
        raise HookError("the modules of the hooks have changed since the configuration was read")
    called = {index: hook.called for (index, _), hook in zip(named, found, strict=True)}
    modules = _Modules(recipe["programs"])
    called |= {address["index"]: modules.hook(address).called for address in recipe["added"]}
    return [called.get(index) for index in range(max(called, default=-1) + 1)]


class _Modules:
    """Modules whose code has added hooks, and the gateways in them."""

    def __init__(self, programs: Mapping[str, str]) -> None:
        self._programs = programs
        self._modules: dict[str, types.ModuleType] = {}
        self._added: dict[str, dict[str, list[Hook]]] = {}

    def hook(self, address: Address) -> Hook:
        """The hook at an address. Raises HookError."""
        module = self._module(address["module"])
        if (added := self._added_hook(address["module"], address["name"])) is not None:
            return added
        try:
            if address["path"] is not None:
                function = reduce(getattr, address["path"].split("."), module)
                return make(function, address["on"], HookOptions())  # type: ignore[arg-type]
        except AttributeError:
            pass
        for program in self._programs:
            # A function that another module has made, such as one in a decorator there.
            self._module(program)
            if (added := self._added_hook(program, f"{address['module']}.{address['name']}")) is not None:
                return added
        raise HookError(
            f"{address['module']}.{address['name']} cannot be found by a hook host: it is made when the program runs; "
            "define it at the top level of a module, or have `gateway` there"
        )

    def _added_hook(self, module: str, name: str) -> Hook | None:
        """The next hook of that name that the code of a module has added; the last one stays."""
        same = self._added[module].get(name)
        return None if not same else same.pop(0) if len(same) > 1 else same[0]

    def _module(self, name: str) -> types.ModuleType:
        if name not in self._modules:
            file = self._programs.get(name)
            module = executed(Path(file), name) if file else importlib.import_module(name)
            self._modules[name] = module
            added: dict[str, list[Hook]] = defaultdict(list)
            for hook in _added_in(module):
                added[hook.name.removeprefix(f"{name}.")].append(hook)
            self._added[name] = added
        return self._modules[name]


def _added_in(module: types.ModuleType) -> Iterable[Hook]:
    builders = {id(one): one for one in map(_builder_of, list(vars(module).values())) if one is not None}
    for builder in builders.values():
        yield from builder.added_hooks


def _builder_of(value: Any) -> ConfigBuilder | None:
    found = vars(value).get("builder") if hasattr(value, "__dict__") and not isinstance(value, type) else None
    return found if isinstance(found, ConfigBuilder) else None
