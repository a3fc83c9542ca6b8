"""The instances of all services that have sources of them, and their way to the engine."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from pylae.config.checks.explain import problems_of
from pylae.config.document.sources import CallSources
from pylae.config.models.admin import is_at
from pylae.config.models.config import Config
from pylae.config.models.instance import MOST_INSTANCES, Instance
from pylae.config.models.service import Service
from pylae.config.plan import with_instances
from pylae.errors import EngineError, RegistryError
from pylae.registry.changes import Changes
from pylae.registry.heartbeats import Heartbeats, Sources
from pylae.registry.registrations import Owner, Registration
from pylae.registry.sharing import Calls, RegistryStore
from pylae.registry.source import Source, SourceContext, authority, in_order
from pylae.registry.sources.application import ApplicationSource
from pylae.registry.sources.heartbeat import HeartbeatSource

log = logging.getLogger("pylae.registry")

_FAILED = 5.0
"""Seconds until a source that raised an error looks again."""
_LAST = 5.0
"""Seconds that the end waits for the thread."""
_PATIENCE = 3.0
"""Seconds that a new source may take before the gateway goes on without its instances."""


class ServiceRegistry:
    """Follows the sources of instances, and has `hand_over` called when there are others: seldom, with all of them.

    `now` and `wall` are clocks, in seconds; `plan` gives the plan in force, which has the services without sources, and
    `states` what the engine says of the instances of all services.
    """

    def __init__(
        self,
        folder: Path,
        base: Path,
        hand_over: Callable[[], None],
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        plan: Callable[[], Mapping[str, Any]] = dict,
        states: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
    ) -> None:
        self._base, self._changes = base, Changes(hand_over)
        self._now, self._plan, self._states = now, plan, states
        self.admin: str | None = None
        """Address of the admin API, which is never an instance."""
        self._sources: dict[str, tuple[Service, Source[Any]]] = {}
        self._tasks: dict[Source[Any], asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._store = RegistryStore()
        self._heartbeats = Heartbeats(folder, self._store, lambda: self._sources, self._tell, now, wall)
        self._ending = threading.Lock()

    def prepared(self, config: Config, applications: Mapping[str, Any] | None = None) -> Sources:
        """The sources of a configuration; new ones have looked once, or have been given up on for the moment.

        `applications` are those that services are to run, by their names; new ones have been started. Raises
        EngineError if one does not start.
        """
        applications = applications or {}
        known = {source for _, source in self._sources.values()}
        sources: dict[str, tuple[Service, Source[Any]]] = {}
        fresh: list[Source[Any]] = []
        try:
            for name, service in config.services.items():
                if service.discovery or name in applications:
                    context = self._context(name, service, self._store if config.cluster else None)
                    source = self._source(service, applications.get(name), context)
                    sources[name] = service, source
                    if source not in known:
                        fresh.append(source)
                        if isinstance(source, ApplicationSource):
                            source.start()
        except BaseException:
            self.discard(sources)
            raise
        if fresh:
            looks = asyncio.run_coroutine_threadsafe(self._look_at_all(fresh), self._running())
            with contextlib.suppress(TimeoutError):
                looks.result(_PATIENCE * 2)
            if self._store.attached:
                self._heartbeats.share(fresh)
        return sources

    def join(self, store: Calls) -> None:
        """Takes the store of the cluster, and from it what other nodes know. The first requests wait for that."""
        self._store.attach(store)
        sources = [source for _, source in self._sources.values()]
        self._heartbeats.share(sources)
        if joining := [source for source in sources if source.joins]:
            looks = asyncio.run_coroutine_threadsafe(self._look_at_all(joining), self._running())
            with contextlib.suppress(TimeoutError):
                looks.result(_PATIENCE * 2)

    def discard(self, sources: Sources) -> None:
        """Ends what was prepared and will not be followed."""
        known = {source for _, source in self._sources.values()}
        for _, source in sources.values():
            if source not in known:
                if isinstance(source, ApplicationSource):
                    source.stop()
                if self._loop is not None:
                    # The loop may have ended with the gateway meanwhile, and all connections with it.
                    with contextlib.suppress(RuntimeError):
                        self._loop.call_soon_threadsafe(source.close)

    def _source(self, service: Service, application: Any, context: SourceContext) -> Source[Any]:
        """The source that a service has already, or a new one. Raises EngineError."""
        discovery, name = service.discovery, context.service
        known, source = self._sources.get(name, (None, None))
        if application is not None or discovery is None:
            same = isinstance(source, ApplicationSource) and source.application is application
            return source if source is not None and same else ApplicationSource(application, context)
        if source is not None and known and known.discovery:
            if source.lasting and known.discovery.kind == discovery.kind:
                return source
            if (known.discovery, known.secure) == (discovery, service.secure):
                return source
        try:
            made = discovery.source(discovery.settings, context)
        except Exception as error:
            # The code of a package may raise anything.
            raise EngineError(f"the source `{discovery.kind}` of the service {name} cannot be made: {error}") from error
        if isinstance(made, HeartbeatSource):
            self._heartbeats.restore(made)
        return made

    def _context(self, name: str, service: Service, store: RegistryStore | None) -> SourceContext:
        return SourceContext(name, self._base, service.secure, store)

    async def _look_at_all(self, sources: list[Source[Any]]) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(self._look(source) for source in sources)), _PATIENCE)

    async def _look(self, source: Source[Any]) -> bool:
        """Has a source look, and returns whether its instances changed. An exception is a failed look."""
        try:
            return await source.look(self._now())
        except (Exception, SystemExit) as error:
            log.exception("%s: the source of its instances has failed", source.context.service)
            source.due = self._now() + _FAILED
            return source.failed(f"its source raised {type(error).__name__}: {error}")

    def adopt(self, sources: Sources) -> None:
        """Follows these sources from now on, and no others."""
        for name, (service, source) in sources.items():
            if source.lasting and service.discovery:
                source.use(service.discovery.settings, self._context(name, service, source.context.store))
        before, self._sources = self._sources, dict(sources)
        kept = {source for _, source in sources.values()}
        for _, source in before.values():
            if isinstance(source, ApplicationSource) and source not in kept:
                source.stop_later()
        if self._sources or before:
            self._running().call_soon_threadsafe(self._follow_only)

    def _follow_only(self) -> None:
        wanted = {source for _, source in self._sources.values()}
        for gone in set(self._tasks) - wanted:
            self._tasks.pop(gone).cancel()
            # One that was cancelled before it began does not.
            gone.close()
        for fresh in wanted - set(self._tasks):
            self._tasks[fresh] = asyncio.create_task(self._follow(fresh))

    async def _follow(self, source: Source[Any]) -> None:
        try:
            while True:
                # A registration may fall due earlier than the one that is waited for; a second is precise enough.
                await asyncio.sleep(min(max(source.due - self._now(), 0.01), 1.0))
                if self._now() >= source.due and await self._look(source):
                    self._tell()
        finally:
            source.close()

    def _tell(self) -> None:
        """Has the changes handed over soon. From any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._changes.tell)

    def _running(self) -> asyncio.AbstractEventLoop:
        """The loop, on a thread of its own that is started when it is needed."""
        if self._loop is None:
            self._loop, ready = asyncio.new_event_loop(), threading.Event()
            self._thread = threading.Thread(target=self._run, args=(ready,), name="pylae-registry", daemon=True)
            self._thread.start()
            ready.wait()
        return self._loop

    def _run(self, ready: threading.Event) -> None:
        loop = self._loop
        if loop is None:
            return
        asyncio.set_event_loop(loop)
        # Its own thread: sources may keep all those of the loop busy.
        with ThreadPoolExecutor(1, "pylae-registry-changes") as thread:
            chores = [
                loop.create_task(self._changes.hand_over_always(thread)),
                loop.create_task(self._heartbeats.keep_going()),
                loop.create_task(self._heartbeats.share_always()),
            ]
            loop.call_soon(ready.set)
            loop.run_forever()
            for task in (*chores, *self._tasks.values()):
                task.cancel()
            loop.run_until_complete(asyncio.gather(*chores, *self._tasks.values(), return_exceptions=True))
        self._store.close()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    def stop(self) -> None:
        """Ends, and writes down who is registered. May be called again, from another thread too."""
        with self._ending:
            if self._loop is not None and self._thread is not None and self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join(_LAST)
            for _, source in self._sources.values():
                if isinstance(source, ApplicationSource):
                    source.stop()
            self._heartbeats.keep()

    def filled(self, plan: Mapping[str, Any], sources: Sources | None = None) -> dict[str, Any]:
        """A plan with the instances that were found, behind those that are written down."""
        found = self._sources if sources is None else sources
        services = [
            {**one, **with_instances(found[one["name"]][0], self._found(*found[one["name"]]))}
            if one["name"] in found
            else one
            for one in plan["services"]
        ]
        return {**plan, "services": services}

    def instances(self, name: str) -> tuple[Instance, ...]:
        """All instances of a service: those that are written down, and then those that were found.

        Raises RegistryError if there is no such service.
        """
        if name in self._sources:
            return self._found(*self._sources[name])
        listed = next((one["instances"] for one in self._plan().get("services", ()) if one["name"] == name), None)
        if listed is None:
            raise self._unknown(name)
        return tuple(Instance.model_validate(one) for one in listed)

    def get_healthy_instances(self, service_name: str) -> list[dict[str, Any]]:
        """The instances of a service that the engine uses: neither down nor ejected nor draining. None may be left.

        Each has `id` (`host:port`), `host`, `port`, `url`, `weight`, `service_name` and `active_connections`, which are
        the exchanges in flight. Raises RegistryError if there is no such service.
        """
        found = next((one for one in self._states() if one["name"] == service_name), None)
        if found is None:
            raise self._unknown(service_name)
        return [_described(service_name, one) for one in found["instances"] if one["state"] == "up"]

    def _found(self, service: Service, source: Source[Any]) -> tuple[Instance, ...]:
        listed = {authority(instance.url) for instance in service.instances}
        further = (
            instance
            for instance in in_order(source.instances)
            if authority(instance.url) not in listed and not (self.admin and is_at(instance.url, self.admin))
        )
        return (*service.instances, *further)[:MOST_INSTANCES]

    def _names(self) -> list[str]:
        return sorted({*self._sources, *(one["name"] for one in self._plan().get("services", ()))})

    def _unknown(self, name: str) -> RegistryError:
        known = self._names()
        near = difflib.get_close_matches(name, known, 1, 0.6)
        listed = f"there are {', '.join(known)}" if known else "there are none"
        return RegistryError(f"there is no service `{name}`; {listed}{f'; did you mean `{near[0]}`?' if near else ''}")

    def kind(self, name: str, url: str) -> str:
        """Where an instance of a service comes from: `static`, `app`, or the kind of the service's source."""
        service = self._sources.get(name, (None, None))[0]
        if service is None or url in {instance.url for instance in service.instances}:
            return "static"
        return _kind(service)

    def troubles(self) -> dict[str, str | None]:
        """What keeps the source of each service that has one from being read now; None where nothing does."""
        return {name: source.trouble for name, (_, source) in self._sources.items()}

    def metrics(self) -> str:
        """Its figures as a part of the page for Prometheus."""
        name = "pylae_discovery_failing"
        what = "1 while the source of a service's instances cannot be read: they stay as they are; else 0."
        lines = [f"# HELP {name} {what}", f"# TYPE {name} gauge"]
        for service, (settings, source) in self._sources.items():
            # Names of services have nothing that would have to be escaped.
            failing = int(source.trouble is not None)
            lines.append(f'{name}{{service="{service}",source="{_kind(settings)}"}} {failing}')
        return "".join(f"{line}\n" for line in lines)

    def register(
        self, service: str, instance: Instance | str, ttl: float | None = None, *, owner: Owner | None = None
    ) -> Registration:
        """Registers an instance, or one by its URL, for `ttl` seconds, or as long as the service says.

        With an `owner`, it is the owner's. Raises RegistryError, and OwnedError if it is that of another one.
        """
        instance = _instance(instance)
        if self.admin and is_at(instance.url, self.admin):
            raise RegistryError("this is the admin API, which must not be reachable through a route")
        registration, changed = self._beating(service).register(instance, ttl, self._now(), owner)
        if changed:
            self._heard()
        return registration

    def heartbeat(self, service: str, name: str, *, owner: Owner | None = None) -> Registration | None:
        """Takes note that an instance (`host:port`) lives; None if it is not registered.

        Raises RegistryError, and OwnedError if it is not the owner's.
        """
        return self._beating(service).beat(name, self._now(), owner)

    def registration(self, service: str, name: str) -> Registration | None:
        """Returns the registration of an instance (`host:port`) if there is one. Raises RegistryError."""
        return self._beating(service).get(name)

    def remove(self, service: str, name: str, *, owner: Owner | None = None) -> bool:
        """Has an instance leave; whether it was registered.

        Raises RegistryError, and OwnedError if it is not the owner's.
        """
        gone = self._beating(service).remove(name, self._now(), owner)
        if gone:
            self._heard()
        return gone

    def remaining(self, service: str, name: str) -> float | None:
        """Seconds that an instance stays without a beat; None if it is not registered, or another node knows."""
        source = self._sources.get(service, (None, None))[1]
        found = source.get(name) if isinstance(source, HeartbeatSource) else None
        if found is None:
            return None
        left = found.until - self._now()
        return max(left, 0.0) if found.epoch is None or left > 0 else None

    def _heard(self) -> None:
        """Has what instances have said handed over, and told to other nodes."""
        self._tell()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._heartbeats.tell)

    def _beating(self, service: str) -> HeartbeatSource:
        source = self._sources.get(service, (None, None))[1]
        if not isinstance(source, HeartbeatSource):
            if service not in self._names():
                raise self._unknown(service)
            raise RegistryError("this service takes no registrations; `discovery: {heartbeat: {}}` has it do so")
        return source


def _kind(service: Service) -> str:
    return service.discovery.kind if service.discovery else "app"


def _instance(given: object) -> Instance:
    try:
        return Instance.model_validate(given)
    except ValidationError as error:
        raise RegistryError(
            "; ".join(str(problem) for problem in problems_of(error, CallSources({}), Instance))
        ) from None


def _described(service: str, instance: Mapping[str, Any]) -> dict[str, Any]:
    """An instance as programs take it for a dict."""
    parts = urlsplit(instance["url"])
    return {
        "id": parts.netloc,
        "service_name": service,
        "url": instance["url"],
        "host": parts.hostname,
        "port": parts.port,
        "weight": instance["weight"],
        "active_connections": instance["in_flight"],
    }
