"""Where each setting of the running configuration was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from fastapi import APIRouter, Query

from pylae.access.scopes import READ
from pylae.admin.body import Body
from pylae.admin.configuration import TAG, shown
from pylae.admin.endpoint import needs, topic_router
from pylae.config.checks.local import KEYS
from pylae.config.document.nodes import Step, show_path

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

__all__ = ["TAG", "router"]


APPLIED = "the admin API"
"""The place of what was applied over this API."""


class Setting(Body):
    """A setting that was written in a file or a program."""

    path: str
    """Path of the setting, such as `routes[2].rate_limit.limits[0].limit`."""
    name: str | None
    """Name of the item of a list that it belongs to, such as the route; null without one."""
    value: Any
    """Its value. Secrets are marks, as in `GET /config`."""
    file: str | None
    """The file or the program; null if it is in neither, because it was applied over this API."""
    line: int | None
    """Line in the file, from 1."""
    column: int | None
    """Column in the file, from 1; null in a program."""


class Settings(Body):
    """Settings of the running configuration, in its order."""

    revision: str
    """Revision of the configuration."""
    settings: list[Setting]
    """The settings."""
    more: bool
    """Whether there are more than were asked for."""


class _Leaf(NamedTuple):
    path: tuple[Step, ...]
    name: str | None
    value: Any


_PLACES = frozenset({"place", "from", "services"})
"""Keys of what has places, as `file:line`."""


def openable(runtime: Runtime, told: Any, *, is_place: bool = False) -> Any:
    """Returns an answer with the places that people can open: of a document that was applied over this API, they have
    no file with its lines.
    """
    document = runtime.builder.document
    if document is None or not _is_handed_in(runtime):
        return told
    if isinstance(told, dict):
        return {key: openable(runtime, one, is_place=is_place or key in _PLACES) for key, one in told.items()}
    if isinstance(told, list):
        return [openable(runtime, one, is_place=is_place) for one in told]
    known = is_place and isinstance(told, str) and told.rpartition(":")[0] == document.file
    return APPLIED if known else told


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/config")

    @topic.get("/settings")
    @needs(READ)
    def list_settings(
        search: Annotated[
            str, Query(description="Only those with this text in path, name or value.", max_length=200)
        ] = "",
        below: Annotated[
            str, Query(description="Only those whose path begins with this, such as `routes[2]`.", max_length=1000)
        ] = "",
        most: Annotated[int, Query(ge=1, le=1000, description="Most settings to list.")] = 100,
    ) -> Settings:
        """Lists settings of the running configuration, and where each was written: file, line and column.

        What a program added in code is among them; defaults are not. The case of letters does not matter in `search`.
        """
        wanted = search.casefold()
        # The configuration and its places must be from the same apply.
        with runtime.changing:
            revision, locate = runtime.revision, _places(runtime)
            found: list[Setting] = []
            for leaf in _leaves(shown(runtime.builder, added=True)):
                path = show_path(leaf.path)
                if not _is_below(path, below) or not _has(wanted, path, leaf):
                    continue
                if len(found) == most:
                    return Settings(revision=revision, settings=found, more=True)
                file, line, column = locate(leaf.path)
                found.append(Setting(path=path, name=leaf.name, value=leaf.value, file=file, line=line, column=column))
        return Settings(revision=revision, settings=found, more=False)

    return topic


def _is_handed_in(runtime: Runtime) -> bool:
    """Whether the configuration in force came over this API."""
    return runtime.override.in_force or runtime.kept.shared


def _places(runtime: Runtime) -> Callable[[tuple[Step, ...]], tuple[str | None, int | None, int | None]]:
    """Returns what says where a setting was written."""
    builder = runtime.builder
    sources = builder.sources
    handed_in = _is_handed_in(runtime)

    def locate(path: tuple[Step, ...]) -> tuple[str | None, int | None, int | None]:
        place = sources.locate(path, key=True)
        is_own = builder.own is not None and path[0] in KEYS
        # A document that was handed in is counted in lines that nobody can open.
        if handed_in and place.node is not None and not is_own:
            return None, None, None
        return place.file, place.line, place.column

    return locate


def _leaves(value: Any, path: tuple[Step, ...] = (), name: str | None = None) -> Iterator[_Leaf]:
    """Yields what has no parts, and what is empty."""
    if isinstance(value, dict) and value:
        own = value.get("name") if path and isinstance(path[-1], int) else None
        for key, item in value.items():
            yield from _leaves(item, (*path, key), own if isinstance(own, str) else name)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index), name)
    else:
        yield _Leaf(path, name, value)


def _is_below(path: str, above: str) -> bool:
    return path.startswith(above) and (path == above or not above or path[len(above)] in ".[")


def _has(wanted: str, path: str, leaf: _Leaf) -> bool:
    return any(wanted in text.casefold() for text in (path, leaf.name or "", str(leaf.value)))
