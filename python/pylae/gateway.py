"""The gateway as a Python object: built, started, changed and stopped from here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, Unpack, overload

from pylae.config import program
from pylae.config.builder import ConfigBuilder
from pylae.config.document.sources import shown
from pylae.config.models.config import Config
from pylae.config.models.instance import Instance
from pylae.config.models.route import Route
from pylae.config.plan import plain
from pylae.engine import Engine, NativeSignals, count_unhandled, refuse_on_worker
from pylae.errors import EngineError, HookError, Problem, PylaeError
from pylae.units import DurationLike, parse_duration

if TYPE_CHECKING:
    from pylae.hooks.shapes import Around, Authenticating, Middleware, OnBody, OnEvents, OnRequest, OnResponse
    from pylae.monitoring import Health
    from pylae.registry.registry import ServiceRegistry
    from pylae.runtime.runtime import AdminApi, Runtime
    from pylae.settings.fields import (
        AuthenticatorOptionsFields,
        ConfigFields,
        HookOptionsFields,
        InstanceLike,
        RouteFields,
        ServiceFields,
        ServiceLike,
    )

log = logging.getLogger("pylae.listeners")

_BY_KEYWORDS: Final[RouteFields] = {}
"""Stands for the route where the call gives its fields as keywords."""
_SERVICE_BY_KEYWORDS: Final[ServiceFields] = {}
"""Stands for the service in the same way."""


class Gateway:
    """An API gateway, to build, run and change from Python.

    The keywords are the fields of `pylae.settings.Config`, as models or as plain values. Wrong ones raise ConfigError.
    `with gateway:` and `async with gateway:` start the gateway, and stop it at the end as `stop` does. Call `apply` to
    put changes of a running gateway in force.
    """

    def __init__(self, **settings: Unpack[ConfigFields]) -> None:
        self.builder = ConfigBuilder(settings)
        """What it is made of: the configuration, what code adds to it, and the place of each setting."""
        self.local_socket = True
        """If true, the gateway listens on a socket in its state folder, where `pylae status` and the like find it, and
        keeps a history of its configuration."""
        self._runtime: Runtime | None = None
        self._events: NativeSignals | None = None
        """The signals that `run` waits for."""

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Reads a gateway from a file: YAML, or a Python program with a module-level `gateway`.

        Raises ConfigError with every problem.
        """
        path = Path(path)
        if path.suffix == ".py":
            gateway, files = program.load(path, cls)
            gateway.builder.read_from_program(path, files)
        else:
            gateway = cls()
            gateway.builder.read(path)
        return gateway

    @property
    def config(self) -> Config:
        """The configuration as it is now, including what code has added."""
        return self.builder.config

    @property
    def admin(self) -> AdminApi | None:
        """The admin API with its address and token. None if the gateway does not run or has none."""
        return self._runtime.admin if self._runtime is not None and self._runtime.running else None

    def add_route(self, route: Route | RouteFields = _BY_KEYWORDS, **fields: Unpack[RouteFields]) -> None:
        """Adds a route after the others: a Route, or its fields as keywords or as a mapping.

        The route stays when the file of the configuration is read again. Raises ConfigError.
        """
        self.builder.add_route(route, fields)

    def add_service(
        self,
        name: str,
        service: ServiceLike | str | Instance | Sequence[InstanceLike] = _SERVICE_BY_KEYWORDS,
        **fields: Unpack[ServiceFields],
    ) -> None:
        """Adds a service: a Service, its instances (`["http://…"]` or one URL), or its fields as keywords or a mapping.

        The service stays when the file of the configuration is read again. Raises ConfigError if a field is wrong, or
        if the name is taken or malformed.
        """
        self.builder.add_service(name, service, fields)

    @overload
    def on_request(self, function: OnRequest, /) -> OnRequest: ...
    @overload
    def on_request(
        self, *, routes: Sequence[str] | str | None = None, **options: Unpack[HookOptionsFields]
    ) -> Callable[[OnRequest], OnRequest]: ...
    def on_request(self, function: Any = None, *, routes: Sequence[str] | str | None = None, **options: Any) -> Any:
        """Calls a function before requests are forwarded: `@gateway.on_request` or `@gateway.on_request(routes=[…])`.

        The gateway calls `function(request)`. If it returns a Response, that is the answer. `options` are the fields of
        `pylae.settings.HookOptions`. Raises HookError if the function cannot be a hook.
        """
        return self.builder.add_hook("request", function, routes, options)

    @overload
    def on_response(self, function: OnResponse, /) -> OnResponse: ...
    @overload
    def on_response(
        self, *, routes: Sequence[str] | str | None = None, **options: Unpack[HookOptionsFields]
    ) -> Callable[[OnResponse], OnResponse]: ...
    def on_response(self, function: Any = None, *, routes: Sequence[str] | str | None = None, **options: Any) -> Any:
        """Calls a function before each response is sent, as `function(request, response)`. Use it as `on_request`.

        The function sees every answer to a request that reached the hooks. If it returns a Response, that is sent
        instead. If its first parameter is called `response`, the gateway calls `function(response, request)`.
        """
        return self.builder.add_hook("response", function, routes, options)

    @overload
    def on_response_body(self, function: OnBody, /) -> OnBody: ...
    @overload
    def on_response_body(self, *, routes: Sequence[str] | str | None = None) -> Callable[[OnBody], OnBody]: ...
    def on_response_body(
        self, function: Any = None, *, routes: Sequence[str] | str | None = None, **options: Any
    ) -> Any:
        """Passes response bodies of services through an async generator, `function(request, response, chunks)`.

        The generator gets the chunks as they arrive and yields what is sent, no faster than the client reads. Use it as
        `on_request`; `routes` is the only option.
        """
        return self.builder.add_hook("chunks", function, routes, options)

    @overload
    def on_response_events(self, function: OnEvents, /) -> OnEvents: ...
    @overload
    def on_response_events(self, *, routes: Sequence[str] | str | None = None) -> Callable[[OnEvents], OnEvents]: ...
    def on_response_events(
        self, function: Any = None, *, routes: Sequence[str] | str | None = None, **options: Any
    ) -> Any:
        """As `on_response_body`, by server-sent event (`pylae.hooks.Event`), for responses of `text/event-stream`."""
        return self.builder.add_hook("events", function, routes, options)

    @overload
    def middleware(self, function: Around, /) -> Around: ...
    @overload
    def middleware(
        self, *, routes: Sequence[str] | str | None = None, **options: Unpack[HookOptionsFields]
    ) -> Callable[[Around], Around]: ...
    def middleware(self, function: Any = None, *, routes: Sequence[str] | str | None = None, **options: Any) -> Any:
        """Calls a function around exchanges: `@gateway.middleware` or `@gateway.middleware(routes=[…])`.

        The function takes `(request, call_next)`. With `(request)` alone it is the same as `on_request`, and with
        `(response, request)` the same as `on_response`.
        """
        return self.builder.add_hook("middleware", function, routes, options)

    def add_middleware(
        self,
        function: Middleware,
        *,
        routes: Sequence[str] | str | None = None,
        **options: Unpack[HookOptionsFields],
    ) -> None:
        """Adds a function as `middleware` does, without a decorator. Raises HookError."""
        if function is None:
            raise HookError("add_middleware takes a function; found None")
        self.builder.add_hook("middleware", function, routes, options)

    def authenticator(
        self, name: str, **options: Unpack[AuthenticatorOptionsFields]
    ) -> Callable[[Authenticating], Authenticating]:
        """Makes a function an authenticator: `@gateway.authenticator("ldap")`.

        The gateway calls `function(request)`. It returns a User, or None if it does not know the client, or a Response,
        which is the answer. Routes choose it by its name (`auth="ldap"`). `options` are the fields of
        `pylae.settings.AuthenticatorOptions`. Raises HookError if the function cannot be an authenticator.
        """
        return self.builder.add_authenticator(name, options)

    def plan(self) -> dict[str, Any]:
        """Compiles the configuration into the plan that the native side runs. Raises ConfigError."""
        return plain(self.builder.plan())

    def check(self) -> list[Problem]:
        """Checks the configuration and returns warnings, such as a route that can never match. Opens no socket.

        Raises ConfigError with every problem.
        """
        return self.builder.check()

    def start(self) -> list[str]:
        """Starts serving and returns the addresses of the listeners. Raises ConfigError or EngineError."""
        if self._runtime is not None and self._runtime.running:
            raise EngineError("the gateway is running already")
        # Here, because `pylae check` does without: it takes 40 ms, and what serves the admin API 30 ms more.
        from pylae.runtime.runtime import Runtime

        # Without both, nobody could ask for its history.
        recorded = self.local_socket or bool(self.config.admin)
        runtime = Runtime(
            self.builder, lambda path: type(self).from_file(path).builder, self._events, recorded=recorded
        )
        addresses = runtime.start()
        self._runtime = runtime
        try:
            self._attend(runtime, addresses)
        except BaseException:
            runtime.stop(drain=False)
            raise
        return addresses

    def _attend(self, runtime: Runtime, addresses: Sequence[str]) -> None:
        """Starts what serves the admin API of a gateway that runs, and says where it listens."""
        # First, so that nothing is applied to this node alone.
        if runtime.kept.shared:
            from pylae.fleet import fleet

            runtime.fleet = fleet.start(runtime)
        if self.local_socket:
            from pylae.admin import local

            if (socket := local.start(runtime)) is not None:
                runtime.attend(socket)
        schemes = ("https" if listener.tls else "http" for listener in self.config.listeners)
        log.info("listening on %s", ", ".join(map("://".join, zip(schemes, addresses, strict=True))))
        if self.config.admin is not False:
            from pylae.admin import server

            if (admin := server.start(runtime)) is not None:
                runtime.administer(admin)

    def apply(self, other: Gateway | None = None) -> None:
        """Puts the configuration of `other`, or changes of this one, in force without dropping a request.

        What code added to `other` replaces what code added here, until this gateway's own file is reloaded.

        Raises ConfigError, EngineError or OSError; then the configuration in force stays in force. Raises HookError in
        a hook that runs on a worker, because it would wait for itself.
        """
        if not isinstance(other, Gateway | None):
            raise TypeError(f"apply takes a Gateway; found {shown(other, hidden=False)}")
        # Before the lock: whoever holds it may wait for this worker.
        refuse_on_worker()
        self.runtime.apply(None if other is None else other.builder)

    def reload(self) -> None:
        """Reads the file again and puts it in force, together with what code added. Raises as `apply` does."""
        refuse_on_worker()
        self.runtime.reload()

    def reopen_logs(self) -> None:
        """Opens the files of access logs again, as after a rotation. Raises EngineError if it is not running."""
        self.engine.reopen_logs()

    def revoke(
        self, *, jti: str | None = None, user: str | None = None, ttl: DurationLike = timedelta(days=30)
    ) -> None:
        """Refuses a token by its `jti`, or all tokens that a user has been issued so far, for `ttl` from now on.

        A revocation takes effect at once, also for tokens that were accepted before, and within a second on all nodes
        of a cluster. Without a cluster, it ends when the gateway stops.
        Raises EngineError if the gateway is not running or has no room for another revocation, and ValueError if `ttl`
        is not a duration.
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
        return self.runtime.metrics()

    def summary(self) -> dict[str, Any]:
        """What the running engine has served and how it is doing; durations are in seconds. Raises EngineError."""
        return self.engine.summary()

    def health(self) -> Health:
        """Judges the last minute by the thresholds in `health`. Raises EngineError if the gateway is not running.

        A service whose instances cannot be looked up makes the gateway degraded, too.
        """
        return self.runtime.health()

    @property
    def registry(self) -> ServiceRegistry:
        """The instances of all services, to look up and to register. Raises EngineError if it is not running."""
        return self.runtime.registry

    @property
    def service_registry(self) -> ServiceRegistry:
        """The same as `registry`: `gateway.service_registry.get_healthy_instances("orders")`."""
        return self.registry

    @property
    def runtime(self) -> Runtime:
        """The running gateway. Raises EngineError if it is not running."""
        if self._runtime is None or not self._runtime.running:
            raise EngineError("the gateway is not running")
        return self._runtime

    @property
    def engine(self) -> Engine:
        """The running native side. Raises EngineError if it is not running."""
        return self.runtime.engine

    def purge_cache(
        self, *, url: str | None = None, prefix: str | None = None, service: str | None = None, tag: str | None = None
    ) -> int:
        """Removes answers from the response cache: those that one argument names, or all. Returns how many.

        In a cluster, all nodes remove theirs; the number is that of this gateway.

        Write `url` and `prefix` like `http://api.example.org/items?page=2` or, for any host, `/items`. Answers that are
        being fetched at this moment are not stored either. Raises EngineError.
        """
        return self.engine.purge_cache(url=url, prefix=prefix, service=service, tag=tag)

    def stop(self, drain: bool = True) -> None:
        """Stops the gateway. With `drain`, exchanges in flight may finish within `drain_timeout`.

        Raises HookError in a hook that runs on a worker, because it would wait for itself.
        """
        refuse_on_worker()
        if self._runtime is not None and self._runtime.running:
            self._runtime.stop(drain=drain)
        elif self._events is not None:
            self._events.stopped()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        from asyncio import to_thread  # here, because it takes 10 ms

        await to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        from asyncio import to_thread

        # It waits for exchanges, which may wait for the caller's loop.
        await to_thread(self.stop)

    def run(self) -> None:
        """Serves until SIGTERM, SIGINT or SIGQUIT, or until another thread calls `stop`.

        SIGTERM and SIGINT end the process within `drain_timeout` plus two seconds, whatever hooks do; a second one ends
        it at once. SIGQUIT waits for all exchanges. The gateway reloads its files on SIGHUP and when one of them
        changes.

        A program that is run by its own name (`python gateway.py`) behaves like `pylae run`: it says where everything
        is and prints a line for each request on a terminal. If it cannot start, it prints every problem and exits with
        the same code. Elsewhere this raises ConfigError or EngineError.

        Does nothing while `from_file` reads the program that calls it.
        """
        if program.loading():
            return
        from pylae.cli import foreground
        from pylae.config.collector import without_collector
        from pylae.runtime.memory import settle
        from pylae.runtime.records import LOGGERS, waiting
        from pylae.runtime.serve import serve, signals

        caller = sys._getframe(1).f_globals.get("__name__")
        is_program = caller in ("__main__", "pylae.cli.run")
        if is_program:
            foreground.log_to_standard_error()
        self._events = events = NativeSignals()
        try:
            with waiting(LOGGERS, count_unhandled), signals(events):
                try:
                    with without_collector():
                        self.start()
                        if is_program:
                            settle()
                except (PylaeError, OSError) as error:
                    if caller != "__main__":
                        raise
                    from pylae.cli.report import failure

                    raise SystemExit(failure(error)) from error
                # It may have been stopped again by now: then the events say so.
                if (runtime := self._runtime) is not None:
                    with foreground.shown(runtime if runtime.running else None) if is_program else nullcontext():
                        serve(runtime, events)
        finally:
            self._events = None
            # What is run as a program ends in time, even if a thread of a hook keeps Python from ending.
            if is_program:
                events.finish()
            else:
                events.end()
