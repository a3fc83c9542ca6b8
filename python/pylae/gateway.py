"""The gateway as a Python object: built, started, changed and stopped from here."""

from __future__ import annotations

import copy
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack, overload

from pydantic import TypeAdapter, ValidationError

from pylae.auth import VARIABLES, default_auth, secret_file
from pylae.config import program
from pylae.config.added import route_of, service_of, with_breakers
from pylae.config.additions import Additions, Caller
from pylae.config.checks.check import check_config, parse_document
from pylae.config.checks.crosscheck import bypassed_hooks, overridden_early, weaknesses
from pylae.config.checks.explain import problems_of
from pylae.config.checks.rights import changeable, readable
from pylae.config.document.include import read_whole
from pylae.config.document.load import Document
from pylae.config.document.nodes import Finding, Step
from pylae.config.document.sources import CallSources, DocumentSources, Place, calling, shown
from pylae.config.models.config import Config, has_authenticator, requires_users
from pylae.config.models.hooks import HookOptions
from pylae.config.models.route import Route
from pylae.config.models.service import Instance, ServiceName
from pylae.config.models.tls import Texts
from pylae.config.plan import Call, compile_plan, route_names, source_path
from pylae.errors import ConfigError, EngineError, HookError, Problem, PylaeError
from pylae.runtime import privileges
from pylae.runtime.records import LOGGERS, waiting
from pylae.runtime.serve import serve, signals
from pylae.state import owner
from pylae.state.local_tls import authority_file
from pylae.units import DurationLike, parse_duration

if TYPE_CHECKING:
    from pylae.admin.server import Server
    from pylae.engine import Engine, NativeSignals
    from pylae.hooks.hook import Function, Hook
    from pylae.hooks.shapes import Around, Authenticating, Middleware, OnBody, OnEvents, OnRequest, OnResponse
    from pylae.monitoring import Health
    from pylae.registry import ServiceRegistry
    from pylae.runtime.control import Control
    from pylae.settings.fields import (
        AuthenticatorOptionsFields,
        ConfigFields,
        HookOptionsFields,
        InstanceLike,
        RouteFields,
        ServiceFields,
        ServiceLike,
    )

F = TypeVar("F", bound="Function")

log = logging.getLogger("pylae")

_BY_KEYWORDS: Final[RouteFields] = {}
"""In the place of a route that is said by keywords."""
_SERVICE_BY_KEYWORDS: Final[ServiceFields] = {}
"""The same of a service."""


class Gateway:
    """An API gateway. `with gateway:` and `async with gateway:` start it, and stop it as `stop` does.

    Its keywords are the fields of `pylae.settings.Config`, as models or as plain values; wrong ones raise ConfigError.
    A change of a running gateway takes effect with `apply()`.
    """

    def __init__(self, **settings: Unpack[ConfigFields]) -> None:
        caller = calling()
        self._program = Path(caller[0])
        self.local_socket = True
        """Whether `pylae status` and the other verbs find it while it runs, by a socket in its state folder."""
        self._engine: Engine | None = None
        self._control: Control | None = None
        self._events: NativeSignals | None = None
        """What `run` waits for."""
        # What it is made of (`_MADE_OF`): a file, document or keywords, and what code added, which is laid over them.
        self._path: Path | None = None
        self._calls: Mapping[tuple[Step, ...], Caller] = {(): caller}
        self._document: Document | None = None
        self._files: Mapping[Path, str | None] = {}
        self._named: Mapping[Path, str | None] = {}
        self._loaded: list[Hook] | None = None
        self._given = Additions()
        """What the program at `_path` added, and adds again when it is read again."""
        self._added = Additions()
        """What was added since."""
        self._aside = Additions()
        """What was added to what `_path` has, while another gateway stands in its place."""
        try:
            written = Config.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(problems_of(error, CallSources(self._calls), Config)) from None
        routes = with_breakers(written.routes, written.model_copy(update={"routes": ()}))
        self._written = written.model_copy(update={"routes": routes}) if routes else written
        self._keywords: tuple[Config, Mapping[tuple[Step, ...], Caller]] = self._written, self._calls
        """What a program without a file has said, and where."""

    def take(self, other: Gateway) -> None:
        """Is made of the same as `other` from now on, without putting it in force."""
        for name in _MADE_OF:
            value = getattr(other, name)
            # What is added to one of them later is not added to both.
            setattr(self, name, value + Additions() if isinstance(value, Additions) else value)

    def become(self, other: Gateway) -> None:
        """The same, but if `other` has no file, the one of this gateway and what was added to it return by a reload."""
        path, aside = self._path, self._aside + self._added
        self.take(other)
        if self._path is None and path is not None:
            self._given, self._added = self._additions, Additions()
            self._path, self._aside = path, aside

    def with_document(self, document: Document, config: Config) -> Gateway:
        """The same gateway with the configuration of a document, not in force. What code added stays."""
        other = self._with(config)
        other._calls, other._document, other._files = {}, document, document.files
        return other

    def with_config(self, config: Config) -> Gateway:
        """The same gateway with another configuration, what code added included, except for its hooks."""
        other = self._with(config)
        other._calls = self.sources.calls
        other._given, other._added = Additions(hooks=self._additions.hooks), Additions()
        other._keywords = config, other._calls
        return other

    def _with(self, written: Config) -> Gateway:
        other = copy.copy(self)
        other._written, other._loaded = written, None
        return other

    @classmethod
    def from_file(cls, path: str | Path) -> Gateway:
        """The gateway that a file describes: YAML, or a Python program with a module-level `gateway`.

        Raises ConfigError with every problem.
        """
        path = Path(path)
        if path.suffix == ".py":
            gateway, files = program.load(path, cls)
            gateway._given, gateway._added = gateway._additions, Additions()
            gateway._files = {**gateway._files, **files}
        else:
            document = read_whole(path)
            gateway = cls()
            gateway._written = parse_document(document)
            gateway._calls, gateway._document = {}, document
            gateway._import_hooks(path.parent, document.files)
        gateway._path = path
        return gateway

    def _import_hooks(self, folder: Path, files: Mapping[Path, str | None]) -> None:
        """Imports what the configuration names, and notes its files beside `files`."""
        self._files = files
        named = any(isinstance(service.app, str) for service in self._written.services.values())
        asked = self._written.auth is not None and bool(self._written.auth.functions)
        if not (self._written.hooks or self._written.plugins or named or asked):
            return
        from pylae.hooks.load import importable

        importable(folder)
        try:
            self._all_hooks()
            self._applications(self._written)
        except ConfigError as error:
            raise ConfigError(error.problems, {**files, **error.files}) from None

    @property
    def config(self) -> Config:
        """The configuration as it stands now."""
        return self._additions.over(self._written)

    @property
    def written(self) -> Config:
        """The configuration without what code added."""
        return self._written

    def over(self, written: Config) -> Config:
        """Another configuration with what code added."""
        return self._additions.over(written)

    @property
    def _additions(self) -> Additions:
        return self._given + self._added

    @property
    def document(self) -> Document | None:
        """The document that the configuration was read from, if it was."""
        return self._document

    @property
    def origin(self) -> Path:
        """The file or program that the configuration comes from."""
        return self._path or self._program

    @property
    def written_in(self) -> Sequence[Path]:
        """The file or program that the configuration comes from, and the document that such a program has read.

        What the document includes is among them, and the patterns of the names of what it includes.
        """
        document = [Path(self._document.file), *self._document.included] if self._document else []
        return list(dict.fromkeys([self.origin, *document]))

    @property
    def read_files(self) -> Mapping[Path, str | None]:
        """The files that the configuration was read from, with the hashes of what they held."""
        return self._files

    @property
    def admin(self) -> Server | None:
        """The running admin API with its address and token, if there is one."""
        return self._control.admin if self._control else None

    def add_route(self, route: Route | RouteFields = _BY_KEYWORDS, **fields: Unpack[RouteFields]) -> None:
        """Adds a route behind those that are there: a Route, or its fields as keywords or as a mapping.

        It stays when the file of the configuration is read again. Raises ConfigError.
        """
        caller = calling()
        self._added.routes.append((route_of(route, fields, caller), caller))

    def add_service(
        self,
        name: str,
        service: ServiceLike | str | Instance | Sequence[InstanceLike] = _SERVICE_BY_KEYWORDS,
        **fields: Unpack[ServiceFields],
    ) -> None:
        """Adds a service, which stays as a route does.

        It is a Service, its instances (`["http://…"]` or one URL), or its fields as keywords or as a mapping. Raises
        ConfigError, also if the name is taken or not a name.
        """
        caller = calling()
        try:
            name = TypeAdapter(ServiceName).validate_python(name)
        except ValidationError as error:
            raise ConfigError(problems_of(error, CallSources({(): caller}), Config)) from None
        if name in self._written.services or self._given.has_service(name) or self._added.has_service(name):
            raise ConfigError([Problem(*caller, None, f"services.{name}", "a service of this name is there already")])
        self._added.services.append((name, service_of(name, service, fields, caller), caller))

    @overload
    def on_request(self, function: OnRequest, /) -> OnRequest: ...
    @overload
    def on_request(
        self, *, routes: Sequence[str] | str | None = None, **options: Unpack[HookOptionsFields]
    ) -> Callable[[OnRequest], OnRequest]: ...
    def on_request(self, function: Any = None, *, routes: Sequence[str] | str | None = None, **options: Any) -> Any:
        """Has a function called before requests are forwarded: `@gateway.on_request`, or with `routes=[…]` behind it.

        It is called as `function(request)`; a Response that it returns is the answer. `options` are the fields of
        `pylae.settings.HookOptions`. Raises HookError if the function cannot be a hook.
        """
        return self._hooking("request", function, routes, options, calling())

    @overload
    def on_response(self, function: OnResponse, /) -> OnResponse: ...
    @overload
    def on_response(
        self, *, routes: Sequence[str] | str | None = None, **options: Unpack[HookOptionsFields]
    ) -> Callable[[OnResponse], OnResponse]: ...
    def on_response(self, function: Any = None, *, routes: Sequence[str] | str | None = None, **options: Any) -> Any:
        """Has a function called before responses are sent, as `function(request, response)`; see `on_request`.

        It runs for every answer to a request that came as far as the hooks; a Response that it returns is sent instead.
        If its first parameter is called `response`, it is called as `function(response, request)`.
        """
        return self._hooking("response", function, routes, options, calling())

    @overload
    def on_response_body(self, function: OnBody, /) -> OnBody: ...
    @overload
    def on_response_body(self, *, routes: Sequence[str] | str | None = None) -> Callable[[OnBody], OnBody]: ...
    def on_response_body(
        self, function: Any = None, *, routes: Sequence[str] | str | None = None, **options: Any
    ) -> Any:
        """Has bodies of services' responses pass an async generator function, `function(request, response, chunks)`.

        It gets the pieces as they come, and what it yields is sent, no faster than the client reads. See `on_request`;
        there are no options besides `routes`.
        """
        return self._hooking("chunks", function, routes, options, calling())

    @overload
    def on_response_events(self, function: OnEvents, /) -> OnEvents: ...
    @overload
    def on_response_events(self, *, routes: Sequence[str] | str | None = None) -> Callable[[OnEvents], OnEvents]: ...
    def on_response_events(
        self, function: Any = None, *, routes: Sequence[str] | str | None = None, **options: Any
    ) -> Any:
        """The same by server-sent events (`pylae.hooks.Event`), where a response is `text/event-stream`."""
        return self._hooking("events", function, routes, options, calling())

    @overload
    def middleware(self, function: Around, /) -> Around: ...
    @overload
    def middleware(
        self, *, routes: Sequence[str] | str | None = None, **options: Unpack[HookOptionsFields]
    ) -> Callable[[Around], Around]: ...
    def middleware(self, function: Any = None, *, routes: Sequence[str] | str | None = None, **options: Any) -> Any:
        """Has a function called around exchanges: `@gateway.middleware`, or with `routes=[…]` behind it.

        It is called as `function(request)`, which is `on_request` in other words, or `function(request, call_next)`. If
        its first parameter is called `response`, it is called as `function(response, request)`: `on_response`.
        """
        return self._hooking("middleware", function, routes, options, calling())

    def add_middleware(
        self,
        function: Middleware,
        *,
        routes: Sequence[str] | str | None = None,
        **options: Unpack[HookOptionsFields],
    ) -> None:
        """The same as `middleware`, for a function that is there already. Raises HookError."""
        if function is None:
            raise HookError("add_middleware takes a function; found None")
        self._hooking("middleware", function, routes, options, calling())

    def authenticator(
        self, name: str, **options: Unpack[AuthenticatorOptionsFields]
    ) -> Callable[[Authenticating], Authenticating]:
        """Has a function say who the client is, as the authenticators under `auth` do: `@gateway.authenticator("…")`.

        It is called as `function(request)` and returns a User, None if it knows nobody, or a Response, which is the
        answer. Routes choose it by its name (`auth=`). `options` are the fields of
        `pylae.settings.AuthenticatorOptions`. Raises HookError if the function cannot be one.
        """
        from pylae.hooks.authenticator import authenticator_of

        caller = calling()

        def add(function: F) -> F:
            self._added.authenticators.append((name, authenticator_of(name, function, options), caller))
            return function

        return add

    def _hooking(
        self,
        on: Any,
        function: Any,
        routes: Sequence[str] | str | None,
        settings: Mapping[str, Any],
        caller: tuple[str, int],
    ) -> Any:
        from pylae.hooks.hook import make, options_of, route_names_of
        from pylae.hooks.usable import refuse_unusable

        if function is not None:
            # Before its options, which may be those of what it is mistaken for.
            refuse_unusable(function, on)
        names = route_names_of(routes)
        options = options_of(settings, HookOptions, further=("routes",))

        def add(function: F) -> F:
            self._added.hooks.append((make(function, on, options, names), caller))
            return function

        return add if function is None else add(function)

    def _all_hooks(self) -> list[Hook]:
        """Those that the configuration names, those that were added here, and the functions of authenticators.

        Raises ConfigError.
        """
        if self._loaded is None and (self._written.hooks or self._written.plugins):
            from pylae.hooks.load import load

            self._loaded, files = load(self._written, self.sources)
            self._files = {**self._files, **files}
        return [*(self._loaded or ()), *self._additions.hooks_over(self._written), *self._authenticators()]

    def _authenticators(self) -> list[Hook]:
        config = self.config
        if config.auth is None or not config.auth.functions:
            return []
        from pylae.hooks.load import authenticators

        found, files = authenticators(config, self.sources)
        self._files = {**self._files, **files}
        return found

    @property
    def applications(self) -> Mapping[str, Any]:
        """The ASGI applications that services run, by the names of these. Raises ConfigError."""
        return self._applications(self.config)

    def _applications(self, config: Config) -> Mapping[str, Any]:
        if all(service.app is None for service in config.services.values()):
            return {}
        from pylae.hooks.load import applications

        found, files = applications(config, self.sources)
        self._files = {**self._files, **files}
        return found

    def plan(self) -> dict[str, Any]:
        """The configuration as the native side is given it. Raises ConfigError."""
        return self._plan(create=False)

    def _plan(self, *, create: bool) -> dict[str, Any]:
        """The plan; `create` says whether a secret may be generated that lasts."""
        try:
            return self._compiled(create=create)
        except ConfigError as error:
            # Whoever watches the files waits for another content than the one that was refused.
            raise ConfigError(error.problems, {**self.followed, **error.files}) from None

    def _compiled(self, *, create: bool) -> dict[str, Any]:
        config = self.config
        check_config(config, self.sources, self._additions.clashes(self._written, self._sources_of(Additions())))
        if isinstance(named := privileges.account(config), Finding):
            raise ConfigError([self._problem_at(named)])
        texts = Texts(self._path.parent if self._path else None, create=create)
        calls = self._calls_of(self._all_hooks(), config)
        self._applications(config)
        plan = compile_plan(self._with_auth(config, create=create), texts, calls)
        self._named = texts.files
        if texts.findings or texts.problems:
            raise ConfigError([*map(self._problem_at, texts.findings), *texts.problems])
        return plan

    def _calls_of(self, hooks: Sequence[Hook], config: Config) -> list[Call]:
        """Hooks as the plan has them. Raises ConfigError where they name routes that do not exist."""
        if not hooks:
            return []
        from pylae.hooks.load import unknown_routes

        if problems := unknown_routes(hooks, route_names(config), self.sources):
            raise ConfigError(problems)
        calls = enumerate(hooks)
        return [Call(hook.routes, hook.early, hook.call(index), hook.authenticator) for index, hook in calls]

    @property
    def hooks(self) -> Sequence[Hook]:
        """The hooks in the order of the plan's numbers. Raises ConfigError."""
        return self._all_hooks()

    @property
    def functions(self) -> list[Function]:
        """The callables that the plan refers to by their places. Raises ConfigError."""
        return [hook.called for hook in self._all_hooks()]

    @property
    def followed(self) -> Mapping[Path, str | None]:
        """The files that the configuration was read from and those that it names, with the hashes of what they held."""
        return {**self._files, **self._named}

    def _with_auth(self, config: Config, *, create: bool) -> Config:
        """The same with authenticators, if routes need some: a program may leave out `auth`, a document may not."""
        if has_authenticator(config) or not requires_users(config):
            return config
        found = default_auth(create=create)
        settings = config.auth.model_copy(update={"jwt": found.jwt}) if config.auth else found
        return config.model_copy(update={"auth": settings})

    def check(self) -> list[Problem]:
        """Warnings, such as routes that can never match. Raises ConfigError with every problem. Opens no socket."""
        return self._checked(self.plan())

    def _checked(self, plan: dict[str, Any]) -> list[Problem]:
        from pylae import engine

        answer = engine.check(json.dumps(plan))
        if answer["problems"]:
            raise ConfigError([self._native_problem(item) for item in answer["problems"]], self.followed)
        weak = [*self._document.warnings] if self._document else []
        weak += [self._problem_at(finding) for finding in (*weaknesses(self.config), *self._doubtful_hooks())]
        bypassed = [{"path": path, "message": message} for path, message in bypassed_hooks(plan)]
        weak += self._weak_rights()
        return [*weak, *(self._native_problem(item) for item in (*bypassed, *answer["warnings"]))]

    def _weak_rights(self) -> Iterator[Problem]:
        account = privileges.account(self.config)
        own = account.ids.groups if isinstance(account, privileges.Account) else [os.getegid(), *os.getgroups()]
        folder = self._path.parent if self._path else Path()
        yield from changeable(self.followed)
        yield from map(self._problem_at, readable(self.config, self.sources, folder, own))

    def _doubtful_hooks(self) -> Iterator[Finding]:
        if hooks := self._all_hooks():
            from pylae.hooks.cors import cors_twice
            from pylae.hooks.hook import lenient, misannotated

            yield from misannotated(hooks)
            yield from lenient(hooks)
            yield from cors_twice(hooks, self.config)
            if any(hook.early for hook in hooks):
                yield from overridden_early(self.config)

    def _problem_at(self, finding: Finding) -> Problem:
        place = self.sources.locate(finding.path)
        return place.problem(finding.message, finding.hint)

    def _native_problem(self, item: Mapping[str, str]) -> Problem:
        place = self.locate(item["path"])
        message = item["message"]
        if place.node is not None and place.node.interpolated:
            message = message.replace(str(place.node.value), "(not shown)")
        return place.problem(message)

    def locate(self, path: str, *, key: bool = False) -> Place:
        """Where the setting that the plan has at `path` was written, or what it is a part or default of.

        `key` asks for the place of its key instead of its value.
        """
        return self.sources.locate(source_path(self.config, path), key=key)

    @property
    def sources(self) -> CallSources:
        """Where each setting was written, or added."""
        return self._sources_of(self._additions)

    def _sources_of(self, additions: Additions) -> CallSources:
        calls = {**self._calls, **additions.calls_over(self._written)}
        return CallSources(calls, DocumentSources(self._document) if self._document else None)

    def start(self) -> list[str]:
        """Starts serving and returns the addresses of the listeners. Raises ConfigError or EngineError."""
        if self._engine is not None:
            raise EngineError("the gateway is running already")
        from pylae.runtime.control import Control

        account = self._prepared()
        control = Control(self)
        if account is not None and (trouble := privileges.unusable(account, control.folder)):
            raise EngineError(f"the state folder cannot be used: {trouble}")
        with owner.acting():
            # It is that user who has written what was applied.
            control.resume()
        plan = self._plan(create=True)
        for warning in self._checked(plan):
            log.warning("%s", warning)
        if account is None and os.geteuid() == 0:
            log.warning("this runs as root, and so do all hooks; `user: NAME` has it give that up once it listens")
        self._tell_how_to_sign()
        self._tell_what_to_trust()
        from pylae.engine import Engine

        try:
            # Instances that are found meanwhile are handed over once there is an engine.
            with control.changing:
                running = Engine(json.dumps(control.first(plan)), self.functions)
                addresses = running.start(lambda: privileges.drop(account))
                if self._events is not None:
                    running.attach(self._events)
                self._engine, self._control = running, control
        except BaseException:
            control.stop()
            raise
        try:
            control.listen()
            schemes = ("https" if listener.tls else "http" for listener in self.config.listeners)
            log.info("listening on %s", ", ".join(map("://".join, zip(schemes, addresses, strict=True))))
            control.start()
        except BaseException:
            self.stop(drain=False)
            raise
        return addresses

    def _prepared(self) -> privileges.Account | None:
        """The user that the gateway becomes; what is made from now on is that user's. Raises ConfigError."""
        account = privileges.account(self.config)
        if account is None:
            return None
        found = [account] if isinstance(account, Finding) else []
        if isinstance(account, privileges.Account):
            impossible = privileges.impossible(account)
            found = [impossible] if impossible else list(privileges.prepare(account, self.config))
        if found or isinstance(account, Finding):
            raise ConfigError([self._problem_at(finding) for finding in found])
        return account

    def _tell_what_to_trust(self) -> None:
        """Says what clients must trust where a certificate was made for this machine."""
        if any(listener.tls and listener.tls.auto for listener in self._written.listeners):
            log.info(
                "TLS with a certificate for localhost, for development; clients trust it by %s: "
                "curl --cacert FILE, or add it to the authorities of the browser or the system",
                authority_file(),
            )

    def _tell_how_to_sign(self) -> None:
        """Says with what tokens are signed where the program leaves that open."""
        if has_authenticator(self.config) or not requires_users(self.config):
            return
        name = next((name for name in VARIABLES if os.environ.get(name)), None)
        whence = f"the environment variable {name}" if name else str(secret_file())
        log.info(
            "no authenticator is configured: tokens are accepted that are signed with the secret in %s; "
            "`pylae token --user ID --role ROLE` makes one",
            whence,
        )

    def apply(self, other: Gateway | None = None, *, keep: bool = False) -> None:
        """Puts the configuration of `other`, or own changes, in force without dropping a request.

        What was added to `other` in code takes the place of what was added here, until a reload of the own file.
        All or nothing: raises ConfigError, EngineError or OSError, and then what was in force stays in force. With
        `keep` a document outlives a restart, until the file of the configuration changes. Raises HookError in a hook
        that runs on a worker, which would wait for itself.
        """
        if not isinstance(other, Gateway | None):
            raise TypeError(f"apply takes a Gateway; found {shown(other, hidden=False)}")
        # Before the lock: whoever holds it may wait for this worker.
        _refuse_on_worker()
        control = self._controlled()
        source = other or self
        with control.changing:
            with _refusals(self.engine):
                control.refuse_other_account(source, partial=keep)
                plan = source._plan(create=True)
                warnings = source._checked(plan)
            for warning in warnings:
                log.warning("%s", warning)
            control.put(source, plan, keep=keep)
            if other is not None:
                self.become(other)
        self._tell_how_to_sign()
        log.info("configuration applied: %d routes, %d services", len(plan["routes"]), len(plan["services"]))

    def reload(self) -> None:
        """Reads the file again and applies it, with what was added in code laid over it.

        Raises as `apply` does, and then nothing has changed.
        """
        _refuse_on_worker()
        if self._path is None:
            raise EngineError("the gateway was not read from a file")
        # What was read first is not put in force last.
        with self._controlled().changing:
            with _refusals(self.engine):
                other = self._read_anew(self._path)
            self.apply(other)

    def _read_anew(self, path: Path) -> Gateway:
        """What a file holds now, with what code added to what it held before."""
        before = Additions() + self._given, Additions() + self._added
        other: Gateway | None = None
        try:
            other = Gateway.from_file(path)
        finally:
            grown = len(self._additions) != sum(map(len, before))
            if other is self or (other is None and grown):
                self._given, self._added = before
        if other is self and grown:
            message = "the program adds to a gateway of a module that is not executed again, and has done so before"
            hint = "make the gateway in the program itself, or start it again to have its changes applied"
            raise ConfigError([Problem(str(path), None, None, "", message, hint)], other.read_files)
        if other is not self:
            other._added = self._aside + self._added
        return other

    def reopen_logs(self) -> None:
        """Has the files of access logs opened again, as after a rotation. Raises EngineError if it is not running."""
        self.engine.reopen_logs()

    def revoke(
        self, *, jti: str | None = None, user: str | None = None, ttl: DurationLike = timedelta(days=30)
    ) -> None:
        """Refuses a token by its `jti`, or all that was issued to a user so far, from now on and for `ttl`.

        It takes effect at once, also for what is remembered, and is forgotten when the gateway stops. Raises
        EngineError if the gateway is not running, or if there are too many revocations to add one, and ValueError for a
        `ttl` that is no duration.
        """
        seconds = parse_duration(ttl).total_seconds()
        for kind, value in (("jti", jti), ("user", user)):
            if value is not None:
                self.engine.revoke(kind, value, seconds)

    def stats(self) -> dict[str, Any]:
        """What the running engine has counted. Raises EngineError if it is not running."""
        return self.engine.stats()

    def metrics(self) -> str:
        """All figures of the running engine as a page for Prometheus (text format 0.0.4). Raises EngineError."""
        return self.engine.metrics() + self._controlled().metrics()

    def summary(self) -> dict[str, Any]:
        """What the running engine has served and how it is doing; durations are in seconds. Raises EngineError."""
        return self.engine.summary()

    def health(self) -> Health:
        """How good the service of the last minute was, by the thresholds in `health`. Raises EngineError.

        A service whose instances cannot be looked up is a reason, too.
        """
        return self.engine.health(self.config.health, self.registry.troubles())

    @property
    def registry(self) -> ServiceRegistry:
        """Where instances come from while it runs; instances can be registered here. Raises EngineError."""
        return self._controlled().registry

    @property
    def service_registry(self) -> ServiceRegistry:
        """The same: `gateway.service_registry.get_healthy_instances("orders")`. Raises EngineError."""
        return self.registry

    @property
    def engine(self) -> Engine:
        """The running native side. Raises EngineError if it is not running."""
        if self._engine is None:
            raise EngineError("the gateway is not running")
        return self._engine

    def _controlled(self) -> Control:
        if self._control is None:
            raise EngineError("the gateway is not running")
        return self._control

    def purge_cache(
        self, *, url: str | None = None, prefix: str | None = None, service: str | None = None, tag: str | None = None
    ) -> int:
        """Makes the response cache forget what one of these names, or everything, and returns how many answers went.

        `url` and `prefix` are written like `http://api.example.org/items?page=2` or, for any host, `/items`. Answers
        that are being fetched at this moment are not kept either. Raises EngineError.
        """
        from pylae.engine import purge_document

        return self.engine.purge_cache(purge_document(url, prefix, service, tag))

    def stop(self, drain: bool = True) -> None:
        """Stops. With `drain`, exchanges in flight may finish within `drain_timeout`.

        Raises HookError in a hook that runs on a worker, which would wait for itself.
        """
        _refuse_on_worker()
        running, control = self._engine, self._control
        if control is not None:
            control.stopping = True
        try:
            if running is not None:
                running.stop(drain)
        finally:
            self._engine = self._control = None
            if control is not None:
                control.stop()
            if self._events is not None:
                self._events.stopped()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        from asyncio import to_thread

        await to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        from asyncio import to_thread

        # It waits for exchanges, which may wait for the caller's loop.
        await to_thread(self.stop)

    def run(self) -> None:
        """Serves until SIGTERM, SIGINT or SIGQUIT, or `stop()` from another thread.

        SIGTERM and SIGINT end the process at most two seconds after `drain_timeout`, whatever hooks do, and a second
        one at once; SIGQUIT waits for all exchanges. Reloads on SIGHUP and when a file of the configuration changes.
        Does nothing while `from_file` reads the program that calls it. Where it cannot start, a program that is run by
        its own name (`python gateway.py`) ends as `pylae run` does, with every problem on standard error and its exit
        code; elsewhere it raises ConfigError or EngineError. Like `pylae run`, such a program says where everything is,
        and on a terminal prints a line for each request.
        """
        if program.loading():
            return
        from pylae.cli import foreground
        from pylae.engine import NativeSignals, count_unhandled

        caller = sys._getframe(1).f_globals.get("__name__")
        is_program = caller in ("__main__", "pylae.cli.run")
        if is_program:
            foreground.log_to_standard_error()
        self._events = events = NativeSignals()
        try:
            with waiting(LOGGERS, count_unhandled), signals(events):
                try:
                    self.start()
                except (PylaeError, OSError) as error:
                    if caller != "__main__":
                        raise
                    from pylae.cli.report import failure

                    raise SystemExit(failure(error)) from error
                with foreground.shown(self._control) if is_program else nullcontext():
                    serve(self, events)
        finally:
            self._events = None
            # What is run as a program ends in time, even if a thread of a hook keeps Python from ending.
            if is_program:
                events.finish()
            else:
                events.end()

    def read_again(self) -> None:
        """Puts in force what the files hold that have changed. Raises as `apply` and `reload` do."""
        if not self._controlled().read_again():
            self.read_file()

    def read_file(self) -> None:
        """Puts in force what the files hold now. Raises as `apply` and `reload` do."""
        if self._path is not None:
            self.reload()
        elif self._document is None:
            # Built by a program: only the files that it names can have changed.
            self.apply()
        else:
            self.apply(self._as_built())

    def _as_built(self) -> Gateway:
        """Without the document that was put in the place of what a program has said."""
        config, calls = self._keywords
        other = self._with(config)
        other._calls, other._document, other._files = calls, None, {}
        return other


_MADE_OF = (
    *("local_socket", "_path", "_calls", "_document", "_files", "_named", "_loaded"),
    *("_written", "_keywords", "_given", "_added", "_aside"),
)
"""What makes one gateway what another one is."""


@contextmanager
def _refusals(running: Engine) -> Iterator[None]:
    """Counts a configuration that is refused here."""
    try:
        yield
    except ConfigError:
        running.count_refusal()
        raise


def _refuse_on_worker() -> None:
    from pylae.engine import refuse_on_worker

    refuse_on_worker()
