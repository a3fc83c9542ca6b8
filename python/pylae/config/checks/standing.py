"""What a document that is applied over the admin API may take from the node: only what the node has there already.

Users of the admin API must not be able to read the node's environment and files, send its secrets elsewhere, or run
code of their choice. So references (`${…}`), marks of hidden secrets, names of files and names of code are accepted
only where the current configuration, or the node's own file, has them already. Places are compared by name. And they
are accepted only as long as their destination does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from pydantic import BaseModel

from pylae.config.checks.audience import ANY, At, Audience, Audiences, End, seen_by
from pylae.config.document.nodes import ALIASES
from pylae.config.document.reader import referred
from pylae.config.document.written import has_mark
from pylae.config.models.admin import Admin
from pylae.config.models.config import Config
from pylae.policies.access_log import NO_FILES
from pylae.registry.kinds import KINDS, installed

Kind = Literal["reference", "mark", "file", "code"]

FILES: tuple[At, ...] = (
    ("listeners", "*", "tls", "certificates", "*", "cert"),
    ("listeners", "*", "tls", "certificates", "*", "key"),
    ("listeners", "*", "tls", "client_auth", "ca"),
    ("auth", "introspection", "*", "ca"),
    ("auth", "forward_auth", "*", "ca"),
    ("cluster", "tls", "ca"),
    ("cluster", "tls", "cert"),
    ("cluster", "tls", "key"),
    ("store", "tls", "ca"),
    ("store", "tls", "cert"),
    ("store", "tls", "key"),
    ("auth", "oidc", "*", "ca"),
    ("services", "*", "tls", "ca"),
    ("services", "*", "tls", "cert"),
    ("services", "*", "tls", "key"),
    ("services", "*", "client_credentials", "ca"),
    *(("telemetry", signal, "ca") for signal in ("traces", "metrics", "logs")),
    ("errors", "*", "*"),
    ("routes", "*", "errors", "*", "*"),
    ("admin", "token_file"),
    ("admin", "tls", "certificates", "*", "cert"),
    ("admin", "tls", "certificates", "*", "key"),
    ("admin", "tls", "client_auth", "ca"),
    ("policies", "access_log", "output"),
    ("routes", "*", "access_log", "output"),
)
"""Settings that name a file, besides those of sources of instances (`SourceSettings.files`)."""
_WORDS: Mapping[Kind, str] = {
    "reference": "a reference is allowed only where the configuration has it already",
    "mark": "a mark is allowed only where it was read, and only as a whole value",
    "file": "a file is allowed only where the configuration names it already",
    "code": "code is allowed only if the configuration names it already",
}
_VOID: Mapping[Audience, str] = {
    "instances": "where it is sent (service, instances, path, Host, mirror, hooks)",
    "clients": "who can read it (listeners, authentication, access lists, hooks)",
    "plugin": "where the plugin sends it (its settings, routes and their services)",
    "asked": "which servers are asked (endpoint, issuer, url, token_url, ca)",
    "admin": "who can see it (address and `tls` of the admin API)",
    "store": "which store it is sent to (store, url, tls)",
    "collector": "which collector it is sent to (endpoint, ca)",
}


@dataclass(frozen=True, slots=True)
class Taking:
    """Something that a document takes from its node.

    Attributes:
        path: Its path in the document.
        place: The same path, with names in place of indices.
        text: The text at this place.
        names: The entries of `admin.references` or `admin.code` that would allow it.
    """

    kind: Kind
    path: At
    place: At
    text: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that a document may not take, and why."""

    path: At
    message: str
    hint: str


def takings(document: Any) -> Iterator[Taking]:
    """Yields the references and marks in a document as it was written, and the code that is imported to read it."""
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
            # Items without a name are distinguished by their destination.
            yield from _texts(item, (*path, index), (*place, *_name_of(item)))
    elif isinstance(value, str):
        yield path, place, value


def _name_of(item: Any) -> tuple[str, ...]:
    names = (item.get(key) for key in ("name", "url", "use")) if isinstance(item, Mapping) else ()
    # The brackets distinguish it from the key of a mapping.
    return next(((f"[{name}]",) for name in names if isinstance(name, str)), ())


def named(config: Config) -> Iterator[Taking]:
    """Yields the files and the code that a configuration names."""
    for row in FILES:
        for path, place, name in _settings(config, row, (), ()):
            if isinstance(name, str) and not (row[-1] == "output" and name in NO_FILES):
                yield Taking("file", path, place, name, (f"file:{name}",))
    for path, name in source_files(config):
        yield Taking("file", path, path, name, (f"file:{name}",))
    for index, hook in enumerate(config.hooks.use):
        yield Taking("code", ("hooks", "use", index), ("hooks",), hook.path, (hook.path,))
    for at, code in config.auth.named_code if config.auth else ():
        yield Taking("code", ("auth", *at), ("auth", *at), code, (code,))
    for name, service in config.services.items():
        if isinstance(service.app, str):
            path = ("services", name, "app")
            yield Taking("code", path, path, service.app, (service.app,))
    for index, plugin in enumerate(config.plugins):
        yield Taking("code", ("plugins", index, "use"), ("plugins",), plugin.use, (plugin.use,))


def file_settings(config: Config, row: At) -> Iterator[tuple[At, str]]:
    """Yields the settings of a row of `FILES`, with the files that they name."""
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
    """What the configurations of a node contain, and what its own file allows."""

    def __init__(self, own: Config | None = None, over: Callable[[Config], Config] = lambda config: config) -> None:
        """Starts with what the node's own file allows.

        Args:
            own: The configuration of the node's own file.
            over: Adds to a configuration what code has added.
        """
        admin = own.admin if own is not None and isinstance(own.admin, Admin) else Admin()
        self.references, self.code = frozenset(admin.references), frozenset(admin.code)
        self._store = own.store if own is not None else None
        self._ends: dict[tuple[Kind, At, str], list[frozenset[End]]] = {}
        self._names: set[str] = set()
        self._over = over

    def with_also(self, config: Config, *documents: Any) -> Standing:
        """Returns a copy that also contains a configuration and the documents that show it."""
        other = Standing(None, self._over)
        other.references, other.code, other._store = self.references, self.code, self._store
        other._ends = {key: list(ends) for key, ends in self._ends.items()}
        other._names = set(self._names)
        audiences = Audiences(self._over(config))
        for taking in (*chain.from_iterable(map(takings, documents)), *named(config)):
            other._ends.setdefault((taking.kind, taking.place, taking.text), []).append(audiences.of(taking.path))
            other._names.update(taking.names)
        return other

    def refusal(self, name: str) -> tuple[str, str] | None:
        """Returns why `${name}` is not allowed, or None. See `document.reader.Refusal`; what is refused is not looked
        up.
        """
        if name in self._names or self._is_listed(name):
            return None
        taking = Taking("reference", (), (), name, (name,))
        return _WORDS["reference"], self._hint(taking)

    def _is_listed(self, name: str) -> bool:
        return name in self.references or (not name.startswith("file:") and name.partition(":-")[0] in self.references)

    def strayed(self, found: Iterable[Taking]) -> Iterator[Refusal]:
        """Yields what the node does not have at the same place."""
        for taking in found:
            if not self._is_free(taking) and (taking.kind, taking.place, taking.text) not in self._ends:
                yield Refusal(taking.path, _WORDS[taking.kind], self._hint(taking))

    def void(self, found: Iterable[Taking], config: Config) -> Iterator[Refusal]:
        """Yields what the node has at the same place, but would be sent elsewhere in the new configuration."""
        audiences = Audiences(self._over(config))
        for taking in found:
            standing = self._ends.get((taking.kind, taking.place, taking.text))
            if standing is None or taking.kind == "code" or self._is_free(taking):
                continue
            ends = audiences.of(taking.path)
            if not any(all(self._is_known(end, before) for end in ends) for before in standing):
                why = next(words for audience, words in _VOID.items() if audience in seen_by(taking.path))
                message = f"not allowed together with a change of {why}"
                yield Refusal(taking.path, message, self._hint(taking))

    def _is_free(self, taking: Taking) -> bool:
        if taking.kind == "code":
            return taking.text in self.code
        return bool(taking.names) and all(self._is_listed(name) for name in taking.names)

    def _is_known(self, end: End, before: frozenset[End]) -> bool:
        """Returns true if a destination existed before, or is narrower than an open one that did."""
        if end in before or (*end[:-1], ANY) in before:
            return True
        return end[0] == "code" and end[1] in self.code

    def _hint(self, taking: Taking) -> str:
        if taking.kind == "mark":
            return "write the value itself, or make the change in the node's own file"
        setting = "code" if taking.kind == "code" else "references"
        names = ", ".join(name.partition(":-")[0] if not name.startswith("file:") else name for name in taking.names)
        way = f"`admin: {{{setting}: [{names}]}}` in the node's own file allows it anywhere"
        return f"write the value itself, or {way}" if taking.kind == "reference" else way

    def changed(self, config: Config) -> Iterator[Refusal]:
        """Yields the changes to `store`, `admin.references` and `admin.code`, which only the node's own file may
        make.
        """
        if "store" in config.model_fields_set and config.store != self._store:
            yield _of_this_node(("store",))
        if not isinstance(config.admin, Admin):
            return
        for name, own in (("references", self.references), ("code", self.code)):
            if name in config.admin.model_fields_set and set(getattr(config.admin, name)) != own:
                yield _of_this_node(("admin", name))


def _of_this_node(path: At) -> Refusal:
    message = "belongs to this node; only the node's own file can change it"
    return Refusal(path, message, "leave it out or unchanged")
