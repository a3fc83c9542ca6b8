"""A running gateway: its engine, the configuration in force, and what surrounds both, from start to stop."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pylae import auth, state
from pylae.access.access import Access
from pylae.access.tokens import ScopeError
from pylae.config.builder import ConfigBuilder
from pylae.config.collector import without_collector
from pylae.config.models.admin import Admin
from pylae.config.plan import json_of
from pylae.engine import Engine, NativeRegistryStore, NativeSignals, set_log_steps
from pylae.errors import ConfigError, ConflictError, EngineError, Problem
from pylae.fleet.metrics import Gauges
from pylae.fleet.metrics import page as fleet_page
from pylae.history.entry import Cause
from pylae.hooks.hosts.figures import page as hosts_page
from pylae.identity.ended import EndedSessions
from pylae.identity.surroundings import Surroundings
from pylae.logs.levels import LogLevels
from pylae.maintenance.switch import shown
from pylae.maintenance.switches import Switches
from pylae.monitoring import Health, as_openmetrics
from pylae.registry.registry import ServiceRegistry
from pylae.runtime import notices, privileges
from pylae.runtime.memory import give_back
from pylae.runtime.override import Override
from pylae.runtime.recorder import Recorder
from pylae.runtime.timeline import Timeline
from pylae.state import local_tls, owner
from pylae.store.kept import Kept

if TYPE_CHECKING:
    from pylae.hooks.hosts.keeper import HookHosts

log = logging.getLogger("pylae.config")

_RELOAD = Cause("reload", "program")
_PROGRAM = Cause("program", "program")
"""Why the configuration changes if nothing else is said: the program that the gateway runs in does it."""


class Attendant(Protocol):
    """What serves the admin API beside the engine."""

    @property
    def restarts(self) -> int:
        """How often it ended and was started again."""

    def stop(self) -> None:
        """Ends it. May be called again."""


class AdminApi(Attendant, Protocol):
    """The admin API at an address (`pylae.admin.server`)."""

    address: str
    token: str

    @property
    def token_file(self) -> Path | None:
        """The file that holds the token; None where the configuration gives it."""

    def token_by(self, said: Admin | bool | None) -> str:
        """The token that a new configuration gives it. Raises ConfigError or OSError."""

    def follow(self, said: Admin | bool | None, token: str) -> None:
        """Takes over the settings of a new configuration, and its token."""


class Fleet(Protocol):
    """What follows a shared store (`pylae.fleet.fleet`)."""

    def gauges(self) -> Gauges:
        """What the metrics say of this node."""

    def stop(self) -> None:
        """Ends it."""


class Runtime:
    """One run of a gateway. It serves what `builder` has built, and can be started once."""

    def __init__(
        self,
        builder: ConfigBuilder,
        read: Callable[[Path], ConfigBuilder],
        events: NativeSignals | None = None,
        *,
        recorded: bool = True,
    ) -> None:
        """`read` reads a file of the configuration; `events` are the signals that a stop is told to, if any.

        `recorded` says whether what is put in force goes into the history.

        Raises ConfigError if the gateway cannot become the user that the configuration names.
        """
        self.builder = builder
        """The configuration in force, and what code adds to it for the next time."""
        self._read, self._events = read, events
        self._engine: Engine | None = None
        # First, so that it owns what is made from now on.
        self._account = privileges.prepared(builder.config, builder.problem_at)
        self._named = {"user": builder.config.user, "group": builder.config.group}
        self.origin = builder.origin.absolute()
        """File or program that the configuration comes from."""
        self.folder = state.folder_of(self.origin, builder.config.state)
        """The state folder, which keeps what outlives a restart."""
        state.sweep(state.home(), auth.FILE, *local_tls.FILES)
        self.changing = threading.RLock()
        """Held while a configuration is put in force: changes follow each other."""
        self.plan: Mapping[str, Any] = {}
        """The plan in force, without the instances that were found."""
        self._stopping = False
        self.started = datetime.now(UTC)
        """When it was started."""
        self.attendants: list[Attendant] = []
        """What serves the admin API, and stops with the engine."""
        self.admin: AdminApi | None = None
        """The admin API, if there is one."""
        self.registry = ServiceRegistry(
            self.folder,
            self.origin.parent,
            self._hand_over,
            plan=lambda: self.plan,
            states=lambda: self.engine.stats()["services"],
        )
        """Where instances come from."""
        self._start, self._count = secrets.token_hex(4), 0
        self.kept = Kept(builder.config.store, self.folder, self.origin.parent)
        """The store. A file of SQLite is opened only for what a person asks."""
        self.override = self._override(builder)
        """What was applied over the admin API, or what a shared store has."""
        self.fleet: Fleet | None = None
        """What follows a shared store."""
        self.recorder = Recorder(self.kept, self.folder, is_on=recorded)
        """What writes the history."""
        self.access = Access.of(
            self.kept,
            self.folder,
            (builder.config.cluster and builder.config.cluster.node) or socket.gethostname(),
            lambda: builder.config.store.audit,
            lambda: isinstance(said := builder.config.admin, Admin) and said.audit_log,
        )
        """Tokens of the admin API, and the audit."""
        self.hosts: HookHosts | None = None
        """The processes that run the hooks, if this one does not."""
        self._retired: list[HookHosts] = []
        self.switches = Switches(self.folder, self.kept, self._switch)
        """What is switched to maintenance."""
        self.timeline = Timeline(lambda: self.engine.stats(), lambda: self.engine.summary())
        """The last hour."""
        self.log_levels = LogLevels(set_log_steps)
        """Levels and format of the log."""
        self._ended = EndedSessions(self.kept, self._revoke)
        self._surroundings = Surroundings(self.kept, self.folder, self._revoke, self._ended)

    @property
    def running(self) -> bool:
        """Whether the engine serves."""
        return self._engine is not None

    @property
    def engine(self) -> Engine:
        """The running native side. Raises EngineError if it is not running."""
        if self._engine is None:
            raise EngineError("the gateway is not running")
        return self._engine

    @property
    def revision(self) -> str:
        """The name of the configuration in force. Each configuration that is put in force has another one."""
        return self.override.revision or f"{self._start}-{self._count}"

    def _revoke(self, kind: str, value: str, seconds: float) -> None:
        """As `Engine.revoke`."""
        self.engine.revoke(kind, value, seconds)

    def _override(self, builder: ConfigBuilder) -> Override:
        if not self.kept.shared:
            return Override(builder, self.folder, self.origin)
        from pylae.fleet.shared import Shared

        return Shared(builder, self.folder, self.origin, self.kept, self._read)

    def start(self) -> list[str]:
        """Starts the engine and returns the addresses of the listeners. Raises ConfigError or EngineError."""
        account = self._account
        if account is not None and (trouble := privileges.unusable(account, self.folder)):
            raise EngineError(f"the state folder cannot be used: {trouble}")
        with owner.acting():
            # It is that user who has written what was applied.
            self.override.resume()
            self.switches.resume()
        self.log_levels.follow(self.builder.config.log)
        plan = self.builder.plan(create=True)
        warnings = self.builder.warnings(plan)
        try:
            # Instances that are found meanwhile are handed over once there is an engine.
            with self.changing:
                self.registry.adopt(self.registry.prepared(self.builder.config, self.builder.applications))
                self.plan = plan
                self.builder.attach(self._surroundings)
                self.hosts = self._hosts_of(self.builder, plan)
                hosts = self.hosts.native if self.hosts else None
                engine = Engine(json_of(self.registry.filled(plan)), self.builder.functions, hosts)
                with _explained(self.builder, plan):
                    addresses = engine.start(lambda: privileges.drop(account), self._joined, self.switches.document())
                self._warn([*warnings, *self.builder.placed(plan, engine.warnings())])
                if self._events is not None:
                    engine.attach(self._events)
                self._engine = engine
                engine.add_metrics(self._other_metrics)
                self.recorder.record(self.builder, Cause("start", "file" if self.builder.path else "program"))
        except BaseException:
            self._stop_surroundings()
            raise
        notices.root(account)
        notices.signing(self.builder)
        notices.trust(self.builder)
        self.access.start()
        self.switches.follow()
        self.timeline.start()
        self._ended.start()
        return addresses

    @staticmethod
    def _warn(warnings: Iterable[Problem]) -> None:
        for warning in warnings:
            log.warning("%s", warning)

    def _hosts_of(self, source: ConfigBuilder, plan: Mapping[str, Any]) -> HookHosts | None:
        """Starts the hook hosts of a configuration, if it wants some. Raises ConfigError."""
        settings = source.config.hooks
        if not settings.processes:
            return None
        # Here, because most gateways have none.
        from pylae.hooks.hosts.keeper import HookHosts
        from pylae.hooks.hosts.recipe import hosted, recipe_of, refused

        if not (hooks := hosted(source)):
            return None

        account = self._account
        user = (account.ids.uid, account.ids.gid, list(account.ids.groups)) if account and not account.is_root else None
        longest = max(hook.options.timeout.total_seconds() for hook in hooks)
        drain = source.config.limits.drain_timeout.total_seconds()
        recipe = recipe_of(source, plan, user)
        try:
            hosts = HookHosts(settings, recipe, plan["workers"], longest, drain)
            hosts.start()
        except EngineError as error:
            raise refused(source, error) from None
        return hosts

    def _retire(self, hosts: HookHosts | None) -> None:
        """Ends hook hosts once their exchanges are over."""
        self._retired = [one for one in self._retired if one.running]
        if hosts is not None:
            hosts.retire()
            self._retired.append(hosts)

    def _switch(self, maintenance: Mapping[str, Any]) -> None:
        """Has the engine follow what is switched to maintenance, as long as it runs."""
        if self._engine is not None:
            self._engine.set_maintenance(maintenance)

    def _joined(self, store: NativeRegistryStore) -> str | None:
        """Takes what other nodes of the cluster know. Returns the plan with it, if that is another."""
        before = self.registry.filled(self.plan)
        self.registry.join(store)
        after = self.registry.filled(self.plan)
        return None if before == after else json_of(after)

    def attend(self, attendant: Attendant) -> None:
        """Stops `attendant` with the engine."""
        self.attendants.append(attendant)

    def administer(self, admin: AdminApi) -> None:
        """Notes the admin API: it follows changes of the configuration, and instances register themselves there."""
        self.attend(admin)
        self.admin = admin
        before = self.registry.filled(self.plan)
        self.registry.admin = admin.address
        if before != self.registry.filled(self.plan):
            self._hand_over()

    def _hand_over(self) -> None:
        """Gives the engine the instances that were found by now. Raises EngineError."""
        with self.changing:
            if not self._stopping:
                self.engine.apply(json_of(self.registry.filled(self.plan)))

    @without_collector()
    def apply(
        self, other: ConfigBuilder | None = None, *, keep: bool = False, cause: Cause = _PROGRAM
    ) -> list[Problem]:
        """Puts `other`, or changes of its own configuration, in force. With `keep`, a document outlives a restart.

        All or nothing. What is in force then is recorded with its `cause`. Returns the warnings about it. Raises
        ConfigError, EngineError or OSError.
        """
        with self.changing:
            with self._refusals():
                source = self.override.placed(other or self.builder)
                self._refuse_other_account(source, partial=keep)
                plan = source.plan(create=True)
                warnings = source.warnings(plan)
            # The engine finds what else is wrong, so it is not asked beforehand.
            with _explained(source, plan):
                self._put(source, plan, keep=keep)
            warnings += source.placed(plan, self.engine.warnings())
            self._warn(warnings)
            if other is not None:
                self.builder.become(source)
            self.recorder.record(self.builder, cause)
        notices.signing(self.builder)
        log.info("configuration applied: %d routes, %d services", len(plan["routes"]), len(plan["services"]))
        return warnings

    def _refuse_other_account(self, source: ConfigBuilder, *, partial: bool) -> None:
        """Raises ConfigError if a configuration names another user or group than the gateway was started with.

        A `partial` one, which comes over the admin API, may leave them out: they are of this node.
        """
        problems = []
        for key, started in self._named.items():
            named = getattr(source.config, key)
            if named != started and not (partial and named is None):
                place = source.sources.locate((key,))
                text = f"stays {started or 'as it is'} until the gateway is started again"
                problems.append(Problem(place.file, place.line, place.column, key, text))
        if problems:
            raise ConfigError(problems, source.followed)

    def _put(self, source: ConfigBuilder, plan: Mapping[str, Any], *, keep: bool) -> None:
        """Makes the engine serve by `plan`, all or nothing. Raises ConfigError, EngineError or OSError."""
        token = self.admin.token_by(source.config.admin) if self.admin else ""
        sources = self.registry.prepared(source.config, source.applications)
        with contextlib.ExitStack() as stack:
            stack.callback(self.registry.discard, sources)
            keeping = self.override.keeping(source) if keep else None
            commit = stack.enter_context(keeping) if keeping is not None else None
            hooks, before = self.engine.hooks, self.hosts
            hosts = self._hosts_of(source, plan)
            native = hosts.native if hosts else None
            replaced = stack.enter_context(contextlib.ExitStack())
            if hosts is not None:
                replaced.callback(hosts.stop)
            source.attach(self._surroundings)
            self.engine.apply(json_of(self.registry.filled(plan, sources)), source.functions, native)
            # Killed before this, it starts again with what was in force before.
            if commit is None:
                self.override.drop()
            else:
                try:
                    commit()
                except OSError:
                    native = before.native if before else None
                    self.engine.apply(json_of(self.registry.filled(self.plan)), hooks, native)
                    raise
            replaced.pop_all()
            self.hosts = hosts
            self._retire(before)
            self.registry.adopt(sources)
        self.override.follow(source, kept=commit is not None)
        self.log_levels.follow(source.config.log)
        self._ended.start()
        self.plan = plan
        self._count += 1
        if self.admin is not None:
            self.admin.follow(source.config.admin, token)

    def drafted(self, text: str) -> ConfigBuilder:
        """Reads a document as a configuration of this gateway, without putting it in force. Raises ConfigError."""
        with self.changing:
            return self.override.drafted(text)

    def apply_document(
        self, text: str, revision: str | None = None, cause: Cause = _PROGRAM, *, unlimited: bool = True
    ) -> tuple[str, list[Problem]]:
        """Puts a document in force and keeps it; returns its revision and warnings.

        Raises as `apply` does, ConflictError if another revision than the given one is in force by now, and ScopeError
        if it changes the admin API and whoever hands it in is not `unlimited`.
        """
        with self.changing:
            self._refuse_outdated(revision)
            return self._keep(self.drafted(text), cause, unlimited=unlimited)

    def _refuse_outdated(self, revision: str | None) -> None:
        if revision is not None and revision != self.revision:
            raise ConflictError(f"revision {revision} is no longer in force, {self.revision} is")

    def _keep(self, other: ConfigBuilder, cause: Cause, *, unlimited: bool) -> tuple[str, list[Problem]]:
        if not unlimited and other.config.admin != self.builder.config.admin:
            # It could give its author the token that may do everything.
            raise ScopeError("`admin` can only be changed with the gateway's own token; leave it as it is")
        # The most is needed next: what reading took is not to lie beside it.
        give_back()
        warnings = self.apply(other, keep=True, cause=cause)
        return self.revision, warnings

    def roll_back(
        self, document: Any, revision: str | None, cause: Cause, *, unlimited: bool = True
    ) -> tuple[str, list[Problem]]:
        """Puts the document of an old entry in force and keeps it, as `apply_document` does, which it raises as, too.

        Where a secret is hidden in it, the present one of that place counts.
        """
        with self.changing:
            self._refuse_outdated(revision)
            return self._keep(self.override.returned(document), cause, unlimited=unlimited)

    def reload(self, cause: Cause = _RELOAD) -> None:
        """Reads the file again and puts it in force. Raises as `apply` does, and EngineError if there is no file."""
        if self.kept.shared:
            self.read_again(cause)
            return
        if self.builder.path is None:
            raise EngineError("the gateway was not read from a file")
        # What was read first is not put in force last.
        with self.changing:
            with self._refusals():
                other = self.builder.read_again(self._read)
            self.apply(other, cause=cause)

    def read_file(self, cause: Cause = _RELOAD) -> None:
        """Puts in force what the files hold now. Raises as `apply` does."""
        if self.builder.path is not None or self.kept.shared:
            self.reload(cause)
        elif self.builder.document is None:
            # Built by a program: only the files that it names can have changed.
            self.apply(cause=cause)
        else:
            self.apply(self.builder.as_built(), cause=cause)

    def read_again(self, cause: Cause) -> None:
        """Puts in force what the files hold that have changed. Raises as `apply` does.

        While a document of the admin API is in force, that one counts, unless the node's own file has changed.
        """
        with self.changing:
            drafted = self.override.drafted_again()
            if drafted is not None:
                self.apply(drafted, keep=True, cause=cause)
                return
        self.read_file(cause)

    def return_to_file(self, cause: Cause) -> str:
        """Puts the file of the configuration in force; returns its revision. Raises as `reload` does.

        A program without a file returns to the configuration that it was built with.
        """
        with self.changing:
            (self.read_file if self.override.in_force else self.reload)(cause)
            return self.revision

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Counts a configuration that is refused here."""
        try:
            yield
        except ConfigError:
            self.engine.count_refusal()
            raise

    def metrics(self, *, openmetrics: bool = False) -> str:
        """All figures as a page for Prometheus (text format 0.0.4, or OpenMetrics 1.0). Raises EngineError."""
        if openmetrics:
            return f"{self.engine.metrics(openmetrics=True)}{as_openmetrics(self._other_metrics())}# EOF\n"
        return f"{self.engine.metrics()}{self._other_metrics()}"

    def _other_metrics(self) -> str:
        """The figures of what is around the engine (text format 0.0.4)."""
        name = "pylae_admin_restarts_total"
        restarts = sum(attendant.restarts for attendant in self.attendants)
        what = "Times that what serves the admin API had ended and was started again."
        own = f"# HELP {name} {what}\n# TYPE {name} counter\n{name} {restarts}\n"
        fleet = fleet_page(self.fleet.gauges() if self.fleet else None)
        hosts = hosts_page(self.hosts.figures(), self.hosts.restarts) if self.hosts else hosts_page((), {})
        others = (self.recorder, self.access, self.switches, self.registry, self._surroundings.figures)
        return f"{own}{''.join(other.metrics() for other in others)}{hosts}{fleet}"

    def health(self) -> Health:
        """Judges the last minute and whether instances can be looked up. Raises EngineError."""
        found = self.engine.health(self.builder.config.health, self.registry.troubles())
        switched = tuple(shown(*one.place) for one in self.switches.listed())
        if self.hosts is not None and (trouble := self.hosts.trouble()):
            status = "degraded" if found.status == "healthy" else found.status
            found = dataclasses.replace(found, status=status, reasons=(*found.reasons, trouble))
        return dataclasses.replace(found, maintenance=switched)

    def stop(self, *, drain: bool = True) -> None:
        """Stops; with `drain`, once exchanges in flight are over or `drain_timeout` has passed.

        A second call without `drain`, from another thread, cuts that short.
        """
        self._stopping = True
        try:
            if self._engine is not None:
                self._engine.stop(drain)
        finally:
            self._engine = None
            self._stop_surroundings()
            if self._events is not None:
                self._events.stopped()

    def _stop_surroundings(self) -> None:
        self._stopping = True
        if self.fleet is not None:
            self.fleet.stop()
        for attendant in self.attendants:
            attendant.stop()
        for hosts in (self.hosts, *self._retired):
            if hosts is not None:
                hosts.stop()
        self.registry.stop()
        self.timeline.stop()
        self.access.stop()
        self.switches.stop()
        self.log_levels.stop()
        self._ended.stop()
        self.kept.close()


@contextlib.contextmanager
def _explained(source: ConfigBuilder, plan: Mapping[str, Any]) -> Iterator[None]:
    """Raises ConfigError with the places of all mistakes if the engine refuses a plan because of what is written."""
    try:
        yield
    except EngineError:
        source.check(plan)
        raise
