"""What a document that is handed in may take from the node that it is for: what stands there already, in its place.

Whoever hands in a configuration must not be able to read the environment and the files of the node with it, to have
its secrets sent elsewhere, or to have code of their choice run. So a reference (`${…}`), the mark of a hidden secret,
the name of a file and the name of code count only where the configuration in force, or the node's own file, has them
already: places are compared by names. And they count only while nothing changes about where they are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from pydantic import BaseModel

from pylae.config.checks.audience import ANY, At, Audience, Audiences, End, seen_by
from pylae.config.document.load import referred
from pylae.config.document.nodes import ALIASES
from pylae.config.document.written import has_mark
from pylae.config.models.admin import Admin
from pylae.config.models.config import Config
from pylae.registry.kinds import KINDS, installed

Kind = Literal["reference", "mark", "file", "code"]

FILES: tuple[At, ...] = (
    ("listeners", "*", "tls", "certificates", "*", "cert"),
    ("listeners", "*", "tls", "certificates", "*", "key"),
    ("listeners", "*", "tls", "client_auth", "ca"),
    ("services", "*", "tls", "ca"),
    ("services", "*", "tls", "cert"),
    ("services", "*", "tls", "key"),
    ("errors", "*", "*"),
    ("routes", "*", "errors", "*", "*"),
    ("admin", "token_file"),
    ("policies", "access_log", "output"),
    ("routes", "*", "access_log", "output"),
)
"""Settings that name a file, besides those of sources of instances (`SourceSettings.files`)."""
_NO_FILES = ("stdout", "stderr")
_WORDS: Mapping[Kind, str] = {
    "reference": "a reference counts only where the configuration has it already",
    "mark": "a mark counts only where it was read, and as a whole",
    "file": "a file can be named only where it stands here already",
    "code": "code that the configuration does not name yet cannot be named here",
}
_VOID: Mapping[Audience, str] = {
    "instances": "it is void because where it is sent (service, instances, path, Host, mirror, hooks)",
    "clients": "it is void because who can read it (listeners, authentication, access lists)",
    "plugin": "it is void because what the plugin does with it (its settings, routes and their services)",
    "admin": "it is void because who could listen (address of the admin API)",
}


@dataclass(frozen=True, slots=True)
class Taking:
    """Something that a document takes from its node.

    `path` is where it stands, `place` the same by names, `text` what stands there, and `names` what of it can be listed
    under `admin.references` or `admin.code`.
    """

    kind: Kind
    path: At
    place: At
    text: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What cannot be taken, and why."""

    path: At
    message: str
    hint: str


def takings(document: Any) -> Iterator[Taking]:
    """The references and marks in a document as it was written, and the code that is imported to read it."""
    for path, name in _installed_sources(document):
        yield Taking("code", path, path, name, (name,))
    for path, place, text in _texts(document, (), ()):
        if names := tuple(referred(text)):
            yield Taking("reference", path, place, text, names)
        if has_mark(text):
            yield Taking("mark", path, place, text, ())


def _installed_sources(document: Any) -> Iterator[tuple[At, str]]:
    """Where a document names sources of instances that distributions have: reading their settings imports them."""
    services = document.get("services") if isinstance(document, Mapping) else None
    for name, service in services.items() if isinstance(services, Mapping) else ():
        found = service.get("discovery") if isinstance(service, Mapping) else None
        for kind in found if isinstance(found, Mapping) else ():
            if kind not in KINDS and kind in installed():
                yield ("services", name, "discovery", kind), kind


def _texts(value: Any, path: At, place: At) -> Iterator[tuple[At, At, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*path, key), (*place, ALIASES.get(str(key), str(key))))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            # An item without a name is told from others by where it is sent.
            yield from _texts(item, (*path, index), (*place, *_name_of(item)))
    elif isinstance(value, str):
        yield path, place, value


def _name_of(item: Any) -> tuple[str, ...]:
    names = (item.get(key) for key in ("name", "url", "use")) if isinstance(item, Mapping) else ()
    # Not to be taken for the key of a mapping.
    return next(((f"[{name}]",) for name in names if isinstance(name, str)), ())


def named(config: Config) -> Iterator[Taking]:
    """The files and the code that the settings of a configuration name."""
    for row in FILES:
        for path, place, name in _settings(config, row, (), ()):
            if isinstance(name, str) and not (row[-1] == "output" and name in _NO_FILES):
                yield Taking("file", path, place, name, (f"file:{name}",))
    for path, name in source_files(config):
        yield Taking("file", path, path, name, (f"file:{name}",))
    for index, hook in enumerate(config.hooks):
        yield Taking("code", ("hooks", index), ("hooks",), hook.path, (hook.path,))
    for _, at, one in config.auth.asked if config.auth else ():
        if isinstance(code := getattr(one, one.code), str):
            path = ("auth", *at, one.code)
            yield Taking("code", path, path, code, (code,))
    for name, service in config.services.items():
        if isinstance(service.app, str):
            path = ("services", name, "app")
            yield Taking("code", path, path, service.app, (service.app,))
    for index, plugin in enumerate(config.plugins):
        yield Taking("code", ("plugins", index, "use"), ("plugins",), plugin.use, (plugin.use,))


def file_settings(config: Config, row: At) -> Iterator[tuple[At, str]]:
    """Where the settings of a row of `FILES` stand, and the files that they name."""
    for path, _, name in _settings(config, row, (), ()):
        if isinstance(name, str):
            yield path, name


def source_files(config: Config) -> Iterator[tuple[At, str]]:
    """Where the settings of sources of instances name a file, and which."""
    for name, service in config.services.items():
        discovery = service.discovery
        for field in discovery.settings.files if discovery else ():
            file = getattr(discovery.settings, field) if discovery else None
            if discovery and isinstance(file, str):
                yield ("services", name, "discovery", discovery.kind, field), file


def _settings(value: Any, row: At, path: At, place: At) -> Iterator[tuple[At, At, Any]]:
    if not row:
        yield path, place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _settings(item, row[1:], (*path, key), (*place, key))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _settings(item, row[1:], (*path, index), (*place, *_name_of(vars(item))))
    elif isinstance(value, BaseModel):
        yield from _settings(getattr(value, str(row[0])), row[1:], (*path, row[0]), (*place, row[0]))


class Standing:
    """What stands in the configurations of a node, and what its own file allows to everybody."""

    def __init__(self, own: Config | None = None, over: Callable[[Config], Config] = lambda config: config) -> None:
        """`own` is the configuration of the node's own file, and `over` adds to one what code has added."""
        admin = own.admin if own is not None and isinstance(own.admin, Admin) else Admin()
        self.references, self.code = frozenset(admin.references), frozenset(admin.code)
        self._ends: dict[tuple[Kind, At, str], list[frozenset[End]]] = {}
        self._names: set[str] = set()
        self._over = over

    def with_also(self, config: Config, *documents: Any) -> Standing:
        """The same with what stands in a configuration, and in the documents that show it."""
        other = Standing(None, self._over)
        other.references, other.code = self.references, self.code
        other._ends = {key: list(ends) for key, ends in self._ends.items()}
        other._names = set(self._names)
        audiences = Audiences(self._over(config))
        for taking in (*chain.from_iterable(map(takings, documents)), *named(config)):
            other._ends.setdefault((taking.kind, taking.place, taking.text), []).append(audiences.of(taking.path))
            other._names.update(taking.names)
        return other

    def refusal(self, name: str) -> tuple[str, str] | None:
        """Why something may stand in no `${…}`, as `document.load.Refusal`: it is not even looked up then."""
        if name in self._names or self._is_listed(name):
            return None
        taking = Taking("reference", (), (), name, (name,))
        return _WORDS["reference"], self._hint(taking)

    def _is_listed(self, name: str) -> bool:
        return name in self.references or (not name.startswith("file:") and name.partition(":-")[0] in self.references)

    def strayed(self, found: Iterable[Taking]) -> Iterator[Refusal]:
        """What does not stand in its place."""
        for taking in found:
            if not self._is_free(taking) and (taking.kind, taking.place, taking.text) not in self._ends:
                yield Refusal(taking.path, _WORDS[taking.kind], self._hint(taking))

    def void(self, found: Iterable[Taking], config: Config) -> Iterator[Refusal]:
        """What stands in its place and would be sent elsewhere in a new configuration."""
        audiences = Audiences(self._over(config))
        for taking in found:
            standing = self._ends.get((taking.kind, taking.place, taking.text))
            if standing is None or taking.kind == "code" or self._is_free(taking):
                continue
            ends = audiences.of(taking.path)
            if not any(all(self._is_known(end, before) for end in ends) for before in standing):
                why = next(words for audience, words in _VOID.items() if audience in seen_by(taking.path))
                yield Refusal(taking.path, f"{why} changes in the same document", self._hint(taking))

    def _is_free(self, taking: Taking) -> bool:
        if taking.kind == "code":
            return taking.text in self.code
        return bool(taking.names) and all(self._is_listed(name) for name in taking.names)

    def _is_known(self, end: End, before: frozenset[End]) -> bool:
        """Whether a destination is one of those before; for anybody, or any Host, there may be fewer now."""
        if end in before or (*end[:-1], ANY) in before:
            return True
        return end[0] == "code" and end[1] in self.code

    def _hint(self, taking: Taking) -> str:
        if taking.kind == "mark":
            return "write the value itself, or make the change in the node's own file"
        setting = "code" if taking.kind == "code" else "references"
        names = ", ".join(name.partition(":-")[0] if not name.startswith("file:") else name for name in taking.names)
        way = f"`admin: {{{setting}: [{names}]}}` in the node's own file allows it everywhere"
        return f"write the value itself, or {way}" if taking.kind == "reference" else way

    def changed(self, config: Config) -> Iterator[Refusal]:
        """What a configuration says about the lists of the node, which only the node's own file can change."""
        if not isinstance(config.admin, Admin):
            return
        for name, own in (("references", self.references), ("code", self.code)):
            if name in config.admin.model_fields_set and set(getattr(config.admin, name)) != own:
                message = "is of this node alone and is changed in its own file only"
                yield Refusal(("admin", name), message, "leave it out, or as it is")
