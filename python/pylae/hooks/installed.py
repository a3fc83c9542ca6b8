"""What installed distributions offer by entry points: it is imported only when a configuration names it."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from pylae.errors import HookError
from pylae.hooks.modules import MissingError, Modules


class Offer(NamedTuple):
    """A group of entry points."""

    group: str
    called: str
    """What one of them is called."""
    used: str
    """Where a configuration uses it."""


PLUGINS = Offer("pylae.plugins", "plugin", "plugins")
AUTHENTICATORS = Offer("pylae.authenticators", "authenticator", "auth.plugins")
_OFFERS = (PLUGINS, AUTHENTICATORS)


class BrokenError(Exception):
    """What a distribution offers cannot be imported. The cause is the error; the argument says whose it is."""


def named(path: str, offer: Offer, modules: Modules, base: type) -> Any:
    """The class derived from `base` that a configuration names: by its entry point, or as `module:Class`.

    Raises HookError, MissingError, BrokenError, or whatever the module at an import path raises.
    """
    found = modules.find(path) if ":" in path else _installed(path, offer, modules)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise HookError(f"`{path}` is not a class derived from pylae.hooks.{base.__name__}")
    return found


def _installed(name: str, offer: Offer, modules: Modules) -> Any:
    points = entry_points(group=offer.group)
    known = sorted(points.names)
    found = list(points.select(name=name))
    if not found:
        listed = f"installed are {', '.join(known)}" if known else "none is installed"
        raise MissingError(f"there is no {offer.called} `{name}`; {listed}", _hint(name, offer, known))
    if len(found) > 1:
        which = " and ".join(sorted(map(_owner, found)))
        hint = f"uninstall all but one of them, or write the import path, such as `{found[0].value}`"
        raise MissingError(f"several distributions have the {offer.called} `{name}`: {which}", hint)
    (point,) = found
    try:
        return modules.find(f"{point.module}:{point.attr}")
    except (Exception, SystemExit) as error:
        raise BrokenError(f"`{name}` of {_owner(point)}") from error


def _hint(name: str, offer: Offer, known: list[str]) -> str:
    if near := difflib.get_close_matches(name, known, 1, 0.6):
        return f"did you mean `{near[0]}`?"
    for other in _OFFERS:
        if other is not offer and entry_points(group=other.group, name=name):
            return f"it is a {other.called}, which is used under `{other.used}`"
    return "you can also give an import path `module:Class`"


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
