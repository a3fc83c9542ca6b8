"""The base of plugins."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import BaseModel

from pylae.config.models.base import Settings
from pylae.config.models.hooks import HookOptions
from pylae.hooks.hook import Function, Mark, On, mark_of

METHODS: dict[str, On] = {
    "on_request": "request",
    "on_response": "response",
    "on_response_body": "chunks",
    "on_response_events": "events",
    "middleware": "middleware",
}
"""Names of methods that are hooks."""


class NoSettings(Settings):
    """The settings of plugins without settings."""


class Plugin:
    """The base class of plugins. An entry point in the group `pylae.plugins` names the derived class.

    These methods are hooks, in the order of their definition: those called `on_request`, `on_response`,
    `on_response_body`, `on_response_events` and `middleware`, and those marked with the decorators of `pylae.hooks`.
    Each use in a configuration creates one object, and a reload creates a new one.
    """

    Settings: ClassVar[type[BaseModel]] = NoSettings
    """The model of the plugin's settings. They are validated with the rest of the configuration."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings


def hooks_of(plugin: Plugin) -> Iterator[tuple[Function, Mark]]:
    """Returns the hook methods of a plugin."""
    found: dict[str, tuple[Function, Mark]] = {}
    for kind in reversed(type(plugin).__mro__):
        for name, value in vars(kind).items():
            function = inspect.unwrap(value) if callable(value) else value
            mark = mark_of(value) or mark_of(function)
            if mark is None and kind is not Plugin and name in METHODS:
                mark = Mark(METHODS[name], HookOptions())
            if mark is not None:
                found[name] = (getattr(plugin, name), mark)
    yield from found.values()
