"""What a gateway is made of, and the plan that is made of it."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr, TypeAdapter, ValidationError

from pylae import engine
from pylae.auth import default_auth
from pylae.config.added import Caller, route_of, service_of, with_breakers
from pylae.config.additions import Additions
from pylae.config.checks.check import check_config, parse_document
from pylae.config.checks.crosscheck import bypassed_hooks, overridden_early, weaknesses
from pylae.config.checks.explain import in_order, problems_of
from pylae.config.checks.local import KEYS, misplaced
from pylae.config.checks.pieces import Known
from pylae.config.checks.rights import changeable, readable
from pylae.config.collector import without_collector
from pylae.config.document.include import read_whole
from pylae.config.document.load import Document
from pylae.config.document.nodes import Finding, Step
from pylae.config.document.sources import CallSources, Divided, DocumentSources, Place, Sources, calling
from pylae.config.models.config import Config, has_authenticator, requires_users
from pylae.config.models.hooks import HookOptions
from pylae.config.models.service import ServiceName
from pylae.config.models.tls import Texts
from pylae.config.origin import origin_of
from pylae.config.plan import compiled, json_of, route_names
from pylae.config.routes import Call, CompiledRoutes
from pylae.errors import ConfigError, Problem
from pylae.hooks import load
from pylae.hooks.authenticator import authenticator_of
from pylae.hooks.cors import cors_twice
from pylae.hooks.hook import Function, Hook, lenient, make, misannotated, options_of, route_names_of
from pylae.hooks.modules import importable
from pylae.hooks.usable import refuse_unusable
from pylae.identity.cookie_secret import cookie_secret
from pylae.runtime import privileges

if TYPE_CHECKING:
    from pylae.identity.surroundings import Surroundings

F = TypeVar("F", bound=Function)

_earlier: ContextVar[ConfigBuilder | None] = ContextVar("pylae_earlier", default=None)
"""What is being read again. Whoever reads the same file takes over what has not changed."""


class ConfigBuilder:
    """A configuration from a file, a document or keywords, and what code adds to it.

    It compiles the plan, finds mistakes, and knows the place of each setting. It opens no socket and starts nothing.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Raises ConfigError for wrong settings, with the place of the call."""
        caller = calling()
        self._program = Path(caller[0])
        self.path: Path | None = None
        """The file that the configuration is read from, YAML or a program."""
        self.document: Document | None = None
        """The document that the configuration was read from, if it was."""
        self.read_files: Mapping[Path, str | None] = {}
        """The files that the configuration was read from, with the hashes of their contents."""
        self._checked: Config | None = None
        """The configuration that was checked when its document was read."""
        self.own: ConfigBuilder | None = None
        """What the node's own file or program has, if the rest is from a store that nodes share."""
        self._is_bare = False
        self._named: Mapping[Path, str | None] = {}
        self.compiled = CompiledRoutes()
        """The routes of the latest plan."""
        self._calls: Mapping[tuple[Step, ...], Caller] = {(): caller}
        self._loaded: list[Hook] | None = None
        self._implementations: load.Implementations = {}
        self._given = Additions()
        """What the program at `path` added, and adds again when it is read again."""
        self._added = Additions()
        """What code added since."""
        self._aside = Additions()
        """What code added to the configuration of `path`, while another configuration stands in its place."""
        try:
            written = Config.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(problems_of(error, CallSources(self._calls), Config)) from None
        routes = with_breakers(written.routes, written.model_copy(update={"routes": ()}))
        self.written = written.model_copy(update={"routes": routes}) if routes else written
        """The configuration without what code added."""
        self._keywords: tuple[Config, Mapping[tuple[Step, ...], Caller]] = self.written, self._calls
        """The configuration of a program without a file, and its calls."""

    @without_collector()
    def read(self, path: Path) -> None:
        """Reads a YAML file in the place of the configuration. Raises ConfigError with every problem."""
        earlier = _earlier.get()
        known = Known()
        if earlier is not None and earlier.path == path and earlier.document and earlier.written is earlier._checked:
            document = read_whole(path, earlier=earlier.document)
            known = Known(earlier.document.root.plain(), earlier.written)
            self.compiled = earlier.compiled
        else:
            document = read_whole(path)
        self.written = self._checked = parse_document(document, known)
        self._calls, self.document, self.read_files = {}, document, document.files
        self._import_named(path.parent)
        self.path = path

    def read_from_program(self, path: Path, files: Mapping[Path, str | None]) -> None:
        """Notes that the program at `path` has built this, and that `files` are to be read again with it."""
        self._given, self._added = self._additions, Additions()
        self.read_files = {**self.read_files, **files}
        self.path = path

    def read_again(self, read: Callable[[Path], ConfigBuilder]) -> ConfigBuilder:
        """What the file holds now, read by `read`, with what code added to what it held before. Raises ConfigError."""
        path = self.origin
        before = Additions() + self._given, Additions() + self._added
        other: ConfigBuilder | None = None
        token = _earlier.set(self)
        try:
            other = read(path)
        finally:
            _earlier.reset(token)
            grown = len(self._given + self._added) != sum(map(len, before))
            if other is self or (other is None and grown):
                self._given, self._added = before
        if other is self and grown:
            message = "the program adds to a gateway of a module that is not executed again, and has done so before"
            hint = "make the gateway in the program itself, or start it again to have its changes applied"
            raise ConfigError([Problem(str(path), None, None, "", message, hint)], other.read_files)
        if other is not self:
            other._added = self._aside + self._added
        return other

    def take(self, other: ConfigBuilder) -> None:
        """Makes this the same as `other`, without putting it in force."""
        for name in _MADE_OF:
            value = getattr(other, name)
            # What is added to one of them later is not added to both.
            setattr(self, name, value + Additions() if isinstance(value, Additions) else value)

    def become(self, other: ConfigBuilder) -> None:
        """As `take`. If `other` has no file, a reload brings back this one's file and what code added to it."""
        path, aside = self.path, self._aside + self._added
        self.take(other)
        if self.path is None and path is not None:
            self._given, self._added = self._additions, Additions()
            self.path, self._aside = path, aside

    def with_document(self, document: Document, config: Config) -> ConfigBuilder:
        """The same with the configuration of a document, which was checked with it. What code added stays."""
        other = self._with(config)
        other._checked = config
        other._calls, other.document, other.read_files = {}, document, document.files
        return other

    def beneath(self, document: Document, config: Config) -> ConfigBuilder:
        """The settings of this node, and what code added, with the rest from a document that all nodes have."""
        own = self.own or copy.copy(self)
        other = self._with(config.model_copy(update={key: getattr(own.written, key) for key in KEYS}))
        other.own, other.document, other._is_bare = own, document, False
        other._calls, other.read_files = {}, {**own.read_files, **document.files}
        return other

    def bare(self) -> ConfigBuilder:
        """The settings of this node alone, without what code added: that is only laid over what all nodes have."""
        own = self.own or self
        other = self._with(own.written)
        other.own, other.document, other._is_bare = None, own.document, True
        other._calls, other.read_files = own._calls, own.read_files
        return other

    def with_config(self, config: Config) -> ConfigBuilder:
        """The same with another configuration, which includes what code added, except for its hooks."""
        other = self._with(config)
        other._calls = self.sources.calls
        other._given, other._added = Additions(hooks=self._additions.hooks), Additions()
        other._keywords = config, other._calls
        return other

    def as_built(self) -> ConfigBuilder:
        """The same without the document that was put in the place of the program's own configuration."""
        config, calls = self._keywords
        other = self._with(config)
        other._calls, other.document, other.read_files, other.own = calls, None, {}, None
        return other

    def _with(self, written: Config) -> ConfigBuilder:
        other = copy.copy(self)
        other.written, other._loaded = written, None
        other._implementations = dict(self._implementations)
        return other

    @property
    def config(self) -> Config:
        """The configuration as it stands now."""
        return self._additions.over(self.written)

    def over(self, written: Config) -> Config:
        """Another configuration with what code added."""
        return self._additions.over(written)

    @property
    def _additions(self) -> Additions:
        return Additions() if self._is_bare else self._given + self._added

    @property
    def added(self) -> list[str]:
        """What code adds, for people."""
        return self._additions.names

    @property
    def origin(self) -> Path:
        """The file or program that the configuration comes from."""
        return self.path or self._program

    @property
    def written_in(self) -> Sequence[Path]:
        """The file or program that the configuration comes from, and the document that such a program has read.

        What the document includes is among them, and the patterns of the names of what it includes.
        """
        document = [Path(self.document.file), *self.document.included] if self.document else []
        return list(dict.fromkeys([self.origin, *document]))

    @property
    def followed(self) -> Mapping[Path, str | None]:
        """The files that the configuration was read from and those that it names, with the hashes of their contents."""
        return {**self.read_files, **self._named}

    def add_route(self, route: object, fields: Mapping[str, Any]) -> None:
        """Adds a route after those that are there. Raises ConfigError."""
        caller = calling()
        self._added.routes.append((route_of(route, fields, caller), caller))

    def add_service(self, name: str, service: object, fields: Mapping[str, Any]) -> None:
        """Adds a service. Raises ConfigError, also if the name is taken or not a name."""
        caller = calling()
        try:
            name = TypeAdapter(ServiceName).validate_python(name)
        except ValidationError as error:
            raise ConfigError(problems_of(error, CallSources({(): caller}), Config)) from None
        if name in self.written.services or self._given.has_service(name) or self._added.has_service(name):
            raise ConfigError([Problem(*caller, None, f"services.{name}", "a service of this name is there already")])
        self._added.services.append((name, service_of(name, service, fields, caller), caller))

    def add_authenticator(self, name: str, options: Mapping[str, Any]) -> Callable[[F], F]:
        """A decorator that adds a function as an authenticator. Raises HookError if it cannot be one."""
        caller = calling()

        def add(function: F) -> F:
            self._added.authenticators.append((name, authenticator_of(name, function, options), caller))
            return function

        return add

    def add_hook(self, on: Any, function: Any, routes: Sequence[str] | str | None, settings: Mapping[str, Any]) -> Any:
        """Adds a function as a hook, or returns a decorator that does. Raises HookError if it cannot be one."""
        caller = calling()
        if function is not None:
            # Before its options, which may be those of what it is mistaken for.
            refuse_unusable(function, on)
        names = route_names_of(routes)
        options = options_of(settings, HookOptions, further=("routes",))

        def add(function: F) -> F:
            self._added.hooks.append((make(function, on, options, names), caller))
            return function

        return add if function is None else add(function)

    def _import_named(self, folder: Path) -> None:
        """Imports what the configuration names, and notes the files of that."""
        named = any(isinstance(service.app, str) for service in self.written.services.values())
        asked = self.written.auth is not None and any(self.written.auth.named_code)
        if not (self.written.hooks.use or self.written.plugins or named or asked):
            return
        importable(folder)
        files = self.read_files
        try:
            _ = self.hooks, self.applications
        except ConfigError as error:
            raise ConfigError(error.problems, {**files, **error.files}) from None

    @property
    def hooks(self) -> list[Hook]:
        """The hooks in the order of the plan's numbers.

        First those that the configuration names, then those that code added, then the functions of authenticators.
        Raises ConfigError.
        """
        written = self.written
        if self._loaded is None and (written.hooks.use or written.plugins or (written.auth and written.auth.plugins)):
            self._loaded, files = load.load(written, self.sources)
            self.read_files = {**self.read_files, **files}
        return [*(self._loaded or ()), *self._additions.hooks_over(self.written), *self._authenticators()]

    @property
    def added_hooks(self) -> list[Hook]:
        """The hooks that code added."""
        return [hook for hook, _ in self._additions.hooks]

    def _authenticators(self) -> list[Hook]:
        config = self.config
        if config.auth is None:
            return []
        found: list[Hook] = []
        if config.auth.functions:
            found, files = load.authenticators(config, self.sources)
            self.read_files = {**self.read_files, **files}
        own, files = load.own(config.auth, self._implementations, self.sources)
        self.read_files = {**self.read_files, **files}
        return [*found, *own]

    def attach(self, surroundings: Surroundings) -> None:
        """Gives the authenticators of Pylae's own the gateway that they run in."""
        surroundings = replace(surroundings, configuration=self.path.parent if self.path else Path())
        for _settings, implementation in self._implementations.values():
            implementation.attach(surroundings)

    @property
    def functions(self) -> list[Function]:
        """The callables that the plan refers to by their numbers. Raises ConfigError."""
        return [hook.called for hook in self.hooks]

    @property
    def applications(self) -> Mapping[str, Any]:
        """The ASGI applications that services run, by the names of the services. Raises ConfigError."""
        config = self.config
        if all(service.app is None for service in config.services.values()):
            return {}
        found, files = load.applications(config, self.sources)
        self.read_files = {**self.read_files, **files}
        return found

    @without_collector()
    def plan(self, *, create: bool = False) -> dict[str, Any]:
        """The plan: the configuration as the native side is given it. Raises ConfigError with every problem.

        `create` allows it to generate secrets and certificates that last, where there are none yet. The routes are a
        sequence that keeps them as JSON (`CompiledRoutes`).
        """
        try:
            return self._compile(create=create)
        except ConfigError as error:
            # Whoever watches the files waits for another content than the one that was refused.
            raise ConfigError(error.problems, {**self.followed, **error.files}) from None

    def _compile(self, *, create: bool) -> dict[str, Any]:
        config = self.config
        self.refuse_misplaced()
        if config is not self._checked:
            check_config(config, self.sources, self._additions.clashes(self.written, self._sources_of(Additions())))
        if isinstance(account := privileges.account(config), Finding):
            raise ConfigError([self.problem_at(account)])
        texts = Texts(self.path.parent if self.path else None, create=create)
        calls = self._calls_of(self.hooks, config)
        _ = self.applications
        routes = CompiledRoutes(self.compiled)
        plan = compiled(_with_auth(config, create=create), texts, calls, routes)
        self.compiled = routes
        self._named = texts.files
        if texts.findings or texts.problems:
            raise ConfigError([*map(self.problem_at, texts.findings), *texts.problems])
        return plan

    def refuse_misplaced(self) -> None:
        """Raises ConfigError if the node has more than its own settings, and the rest is to come from a store."""
        own = self.own or self
        if found := list(misplaced(own.written)):
            raise ConfigError(in_order([own.problem_at(finding) for finding in found]), own.read_files)

    def _calls_of(self, hooks: Sequence[Hook], config: Config) -> list[Call]:
        """Hooks as the plan has them. Raises ConfigError where they name routes that do not exist."""
        if not hooks:
            return []
        if problems := load.unknown_routes(hooks, route_names(config), self.sources):
            raise ConfigError(problems)
        calls = enumerate(hooks)
        return [
            Call(hook.routes, hook.early, hook.call(index), hook.authenticator, hook.options) for index, hook in calls
        ]

    def check(self, plan: Mapping[str, Any] | None = None) -> list[Problem]:
        """Warnings about the configuration, such as routes that can never match. Opens no socket.

        `plan` is its plan, if it has been compiled already. Raises ConfigError with every problem.
        """
        plan = self.plan() if plan is None else plan
        answer = engine.check(json_of(plan))
        if answer["problems"]:
            raise ConfigError(self.placed(plan, answer["problems"]), self.followed)
        return [*self.warnings(plan), *self.placed(plan, answer["warnings"])]

    def warnings(self, plan: Mapping[str, Any]) -> list[Problem]:
        """The warnings about a configuration without problems that do not come from the native side."""
        weak = [*self.document.warnings] if self.document else []
        weak += [self.problem_at(finding) for finding in (*weaknesses(self.config), *self._doubtful_hooks())]
        weak += self._weak_rights()
        # It looks at all routes of the plan.
        found = bypassed_hooks(plan) if self.hooks else ()
        bypassed = [{"path": path, "message": message} for path, message in found]
        return [*weak, *self.placed(plan, bypassed)]

    def placed(self, plan: Mapping[str, Any], native: Iterable[Mapping[str, str]]) -> list[Problem]:
        """What the native side says about a plan, at the places where it is written."""
        return [self._native_problem(plan, item) for item in native]

    def _weak_rights(self) -> Iterator[Problem]:
        account = privileges.account(self.config)
        own = account.ids.groups if isinstance(account, privileges.Account) else [os.getegid(), *os.getgroups()]
        folder = self.path.parent if self.path else Path()
        yield from changeable(self.followed)
        documents = [one.document for one in (self, self.own) if one is not None and one.document is not None]
        yield from map(self.problem_at, readable(self.config, self.sources, documents, folder, own))

    def _doubtful_hooks(self) -> Iterator[Finding]:
        if hooks := self.hooks:
            yield from misannotated(hooks)
            yield from lenient(hooks)
            yield from cors_twice(hooks, self.config)
            if any(hook.early for hook in hooks):
                yield from overridden_early(self.config)

    def problem_at(self, finding: Finding) -> Problem:
        """The problem with the place where the setting is written."""
        return self.sources.locate(finding.path).problem(finding.message, finding.hint)

    def _native_problem(self, plan: Mapping[str, Any], item: Mapping[str, str]) -> Problem:
        place = self.locate(plan, item["path"])
        message = item["message"]
        if place.node is not None and place.node.interpolated:
            message = message.replace(str(place.node.value), "(not shown)")
        return place.problem(message)

    def locate(self, plan: Mapping[str, Any], path: str, *, key: bool = False) -> Place:
        """Where the setting was written that the plan has at `path`, or what it is a part or default of.

        `key` asks for the place of its key instead of its value.
        """
        return self.sources.locate(origin_of(plan, path), key=key)

    @property
    def sources(self) -> CallSources:
        """Where each setting was written, or added."""
        return self._sources_of(self._additions)

    def _sources_of(self, additions: Additions) -> CallSources:
        calls = {**self._calls, **additions.calls_over(self.written)}
        document: Sources | None = DocumentSources(self.document) if self.document else None
        if self.own is not None and document is not None:
            document = Divided(KEYS, self.own.sources, document)
        return CallSources(calls, document)


def _with_auth(config: Config, *, create: bool) -> Config:
    """The same with authenticators, if routes need some: a program may leave out `auth`, a document may not.

    And with the secret for cookies, if none is configured.
    """
    if config.auth and any(one.cookie_secret is None for one in config.auth.oidc):
        secret = cookie_secret(create=create)
        sealed = {"cookie_secret": (SecretStr(secret),)} if secret else {}
        logins = tuple(one if one.cookie_secret else one.model_copy(update=sealed) for one in config.auth.oidc)
        config = config.model_copy(update={"auth": config.auth.model_copy(update={"oidc": logins})})
    if has_authenticator(config) or not requires_users(config):
        return config
    found = default_auth(create=create)
    settings = config.auth.model_copy(update={"jwt": found.jwt}) if config.auth else found
    return config.model_copy(update={"auth": settings})


_MADE_OF = (
    *("path", "document", "read_files", "written"),
    *("_named", "_calls", "_loaded", "_implementations", "_keywords", "_given", "_added", "_aside", "own", "_is_bare"),
    *("_checked", "compiled"),
)
"""What makes one builder the same as another."""
