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
from pylae.config.models.route import Route
from pylae.config.models.service import Instance
from pylae.engine import Engine, NativeSignals, count_unhandled, refuse_on_worker
from pylae.errors import EngineError, HookError, Problem, PylaeError
from pylae.units import DurationLike, parse_duration

if TYPE_CHECKING:
    from pylae.hooks.shapes import Around, Authenticating, Middleware, OnBody, OnEvents, OnRequest, OnResponse
    from pylae.monitoring import Health
    from pylae.registry import ServiceRegistry
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
        self.builder = ConfigBuilder(settings)
        """What it is made of: the configuration, what code adds to it, and the place of each setting."""
        self.local_socket = True
        """Whether `pylae status` and the other verbs find it while it runs, by a socket in its state folder."""
        self._runtime: Runtime | None = None
        self._events: NativeSignals | None = None
        """What `run` waits for."""

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The gateway that a file describes: YAML, or a Python program with a module-level `gateway`.

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
        """The configuration as it stands now."""
        return self.builder.config

    @property
    def admin(self) -> AdminApi | None:
        """The running admin API with its address and token, if there is one."""
        return self._runtime.admin if self._runtime is not None and self._runtime.running else None

    def add_route(self, route: Route | RouteFields = _BY_KEYWORDS, **fields: Unpack[RouteFields]) -> None:
        """Adds a route after those that are there: a Route, or its fields as keywords or as a mapping.

        It stays when the file of the configuration is read again. Raises ConfigError.
        """
        self.builder.add_route(route, fields)

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
        self.builder.add_service(name, service, fields)

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
        return self.builder.add_hook("request", function, routes, options)

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
        return self.builder.add_hook("response", function, routes, options)

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
        return self.builder.add_hook("chunks", function, routes, options)

    @overload
    def on_response_events(self, function: OnEvents, /) -> OnEvents: ...
    @overload
    def on_response_events(self, *, routes: Sequence[str] | str | None = None) -> Callable[[OnEvents], OnEvents]: ...
    def on_response_events(
        self, function: Any = None, *, routes: Sequence[str] | str | None = None, **options: Any
    ) -> Any:
        """The same by server-sent events (`pylae.hooks.Event`), where a response is `text/event-stream`."""
        return self.builder.add_hook("events", function, routes, options)

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
        return self.builder.add_hook("middleware", function, routes, options)

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
        self.builder.add_hook("middleware", function, routes, options)

    def authenticator(
        self, name: str, **options: Unpack[AuthenticatorOptionsFields]
    ) -> Callable[[Authenticating], Authenticating]:
        """Has a function say who the client is, as the authenticators under `auth` do: `@gateway.authenticator("…")`.

        It is called as `function(request)` and returns a User, None if it knows nobody, or a Response, which is the
        answer. Routes choose it by its name (`auth=`). `options` are the fields of
        `pylae.settings.AuthenticatorOptions`. Raises HookError if the function cannot be one.
        """
        return self.builder.add_authenticator(name, options)

    def plan(self) -> dict[str, Any]:
        """The configuration as the native side is given it. Raises ConfigError."""
        return self.builder.plan()

    def check(self) -> list[Problem]:
        """Warnings, such as routes that can never match. Raises ConfigError with every problem. Opens no socket."""
        return self.builder.check()

    def start(self) -> list[str]:
        """Starts serving and returns the addresses of the listeners. Raises ConfigError or EngineError."""
        return self._started()[1]

    def _started(self) -> tuple[Runtime, list[str]]:
        if self._runtime is not None and self._runtime.running:
            raise EngineError("the gateway is running already")
        # Here, because `pylae check` does without: it takes 40 ms, and what serves the admin API 30 ms more.
        from pylae.runtime.runtime import Runtime

        runtime = Runtime(self.builder, lambda path: type(self).from_file(path).builder, self._events)
        addresses = runtime.start()
        self._runtime = runtime
        try:
            self._attend(runtime, addresses)
        except BaseException:
            runtime.stop(drain=False)
            raise
        return runtime, addresses

    def _attend(self, runtime: Runtime, addresses: Sequence[str]) -> None:
        """Starts what serves the admin API of a gateway that runs, and says where it listens."""
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
        """Puts the configuration of `other`, or own changes, in force without dropping a request.

        What was added to `other` in code takes the place of what was added here, until a reload of the own file.
        All or nothing: raises ConfigError, EngineError or OSError, and then what was in force stays in force. Raises
        HookError in a hook that runs on a worker, which would wait for itself.
        """
        if not isinstance(other, Gateway | None):
            raise TypeError(f"apply takes a Gateway; found {shown(other, hidden=False)}")
        # Before the lock: whoever holds it may wait for this worker.
        refuse_on_worker()
        self.runtime.apply(None if other is None else other.builder)

    def reload(self) -> None:
        """Reads the file again and applies it, with what was added in code laid over it.

        Raises as `apply` does, and then nothing has changed.
        """
        refuse_on_worker()
        self.runtime.reload()

    def reopen_logs(self) -> None:
        """Opens the files of access logs again, as after a rotation. Raises EngineError if it is not running."""
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
        return self.runtime.metrics()

    def summary(self) -> dict[str, Any]:
        """What the running engine has served and how it is doing; durations are in seconds. Raises EngineError."""
        return self.engine.summary()

    def health(self) -> Health:
        """How good the service of the last minute was, by the thresholds in `health`. Raises EngineError.

        A service whose instances cannot be looked up is a reason, too.
        """
        return self.runtime.health()

    @property
    def registry(self) -> ServiceRegistry:
        """Where instances come from while it runs; instances can be registered here. Raises EngineError."""
        return self.runtime.registry

    @property
    def service_registry(self) -> ServiceRegistry:
        """The same: `gateway.service_registry.get_healthy_instances("orders")`. Raises EngineError."""
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
        """Makes the response cache forget what one of these names, or everything, and returns how many answers went.

        `url` and `prefix` are written like `http://api.example.org/items?page=2` or, for any host, `/items`. Answers
        that are being fetched at this moment are not kept either. Raises EngineError.
        """
        return self.engine.purge_cache(url=url, prefix=prefix, service=service, tag=tag)

    def stop(self, drain: bool = True) -> None:
        """Stops. With `drain`, exchanges in flight may finish within `drain_timeout`.

        Raises HookError in a hook that runs on a worker, which would wait for itself.
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
                    runtime, _ = self._started()
                except (PylaeError, OSError) as error:
                    if caller != "__main__":
                        raise
                    from pylae.cli.report import failure

                    raise SystemExit(failure(error)) from error
                with foreground.shown(runtime if runtime.running else None) if is_program else nullcontext():
                    serve(runtime, events)
        finally:
            self._events = None
            # What is run as a program ends in time, even if a thread of a hook keeps Python from ending.
            if is_program:
                events.finish()
            else:
                events.end()
