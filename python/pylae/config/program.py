"""Reads a configuration that is a Python program: its module-level `gateway`."""

from __future__ import annotations

import sys
import traceback
import types
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pylae.config.checks.explain import problems_of
from pylae.config.document.files import MAX_BYTES, read_bytes, reason
from pylae.config.document.sources import CallSources, shown
from pylae.config.models.config import Config
from pylae.config.models.route import Route
from pylae.config.models.service import Service
from pylae.errors import ConfigError, Problem, PylaeError

G = TypeVar("G")

_loading: ContextVar[bool] = ContextVar("pylae_loading", default=False)
_MODELS = {model.__name__: model for model in (Config, Route, Service)}


def loading() -> bool:
    """True while a program is being read. Its `gateway.run()` must not start anything then."""
    return _loading.get()


def load(path: Path, kind: type[G]) -> tuple[G, Mapping[Path, str | None]]:
    """The `gateway` of a program, which must be of this kind, and the program's hash for a watcher.

    Raises ConfigError, also for any exception of the program.
    """
    files: dict[Path, str | None] = {}
    try:
        module = executed(path, "pylae_program", files)
    except ConfigError as error:
        raise ConfigError(error.problems, {**error.files, **files}) from None
    except (Exception, SystemExit) as error:
        raise ConfigError(_problems(error, str(path)), files) from error
    gateway = getattr(module, "gateway", None)
    if not isinstance(gateway, kind):
        found = "there is none" if gateway is None else f"this one is {shown(gateway, hidden=False)}"
        message = f"the program needs a module-level `gateway` that is a Gateway; {found}"
        raise ConfigError([Problem(str(path), None, None, "", message, "gateway = Gateway()")], files)
    return gateway, files


def executed(path: Path, name: str, files: dict[Path, str | None] | None = None) -> types.ModuleType:
    """A program as the module of that name. Its `gateway.run()` starts nothing. Notes its hash in `files`.

    Raises ConfigError if it cannot be read, and what it raises.
    """
    files = {} if files is None else files
    files[path] = None
    try:
        source = read_bytes(path, MAX_BYTES, files)
    except OSError as error:
        raise ConfigError([Problem(str(path), None, None, "", f"cannot be read: {reason(error)}")], files) from None
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    folder = str(path.parent.absolute())
    if folder not in sys.path:
        # As Python does when it runs a program, so that it can import the modules in its folder.
        sys.path.insert(0, folder)
    token = _loading.set(True)
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 (the user's own program)
    finally:
        _loading.reset(token)
    return module


def _problems(error: BaseException, file: str) -> list[Problem]:
    """Returns what a program raised, with the line in the program."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return [Problem(file, error.lineno, error.offset, "", f"not Python: {error.msg}")]
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = lines[-1] if lines else None
    if isinstance(error, ValidationError) and error.title in _MODELS:
        sources = CallSources({(): (file, line)} if line is not None else {})
        return problems_of(error, sources, _MODELS[error.title])
    if isinstance(error, PylaeError):
        return [Problem(file, line, None, "", str(error))]
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return [Problem(file, line, None, "", f"the program raised {text}")]
