"""What a running gateway has beside its engine: the revision in force, what outlives a restart, the admin API."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylae import auth, state
from pylae.config import draft
from pylae.config.checks.standing import Standing
from pylae.config.document.include import held
from pylae.config.document.load import Document, digest
from pylae.config.document.written import as_written, written
from pylae.errors import ConfigError, ConflictError, Problem
from pylae.registry import ServiceRegistry
from pylae.runtime.memory import give_back
from pylae.state import applied, local_tls

if TYPE_CHECKING:
    from pylae.admin.local import LocalServer
    from pylae.admin.server import Server
    from pylae.engine import Engine
    from pylae.gateway import Gateway

log = logging.getLogger("pylae")


class Control:
    """The control plane of a running gateway, from start to stop."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.origin = gateway.origin.absolute()
        """File or program that the configuration comes from."""
        self.folder = state.folder_of(self.origin, gateway.config.state)
        """Where it keeps what outlives a restart."""
        state.sweep(state.home(), auth.FILE, *local_tls.FILES)
        self.changing = threading.RLock()
        """Held while a configuration is put in force: changes follow each other."""
        self._account = {"user": gateway.config.user, "group": gateway.config.group}
        self.plan: Mapping[str, Any] = {}
        """The plan in force, without the instances that were found."""
        self.overridden = False
        """Whether a configuration applied over the admin API stands in the place of the file."""
        self.stopping = False
        """Whether a stop was asked for."""
        self.started = datetime.now(UTC)
        """When it was started."""
        self.local: LocalServer | None = None
        """The socket in the state folder, if that can hold one."""
        self.admin: Server | None = None
        """The admin API, if there is one."""
        self.registry = ServiceRegistry(
            self.folder,
            self.origin.parent,
            self.hand_over,
            plan=lambda: self.plan,
            states=lambda: self.engine.stats()["services"],
        )
        """Where instances come from."""
        self._start, self._count = secrets.token_hex(4), 0
        self._written_in = self._read_from(gateway)
        self._own: Standing | None = None

    @property
    def revision(self) -> str:
        """Names the configuration in force; another one has another name."""
        return f"{self._start}-{self._count}"

    @property
    def engine(self) -> Engine:
        """The running native side. Raises EngineError if it is not running."""
        return self.gateway.engine

    def _read_from(self, gateway: Gateway) -> Mapping[Path, str | None]:
        """The files that a configuration is written in, with the hashes of what they held."""
        files = {path: gateway.read_files[path] for path in gateway.written_in if path in gateway.read_files}
        return files or {path: _digest_of(path) for path in self.gateway.written_in}

    @property
    def _base(self) -> str | None:
        """The hash of what a configuration that is applied over the admin API replaces."""
        return _digest_of_all(self._written_in.values())

    def _own_file(self) -> Standing:
        """What stands in the node's own file: asked for before another configuration takes its place."""
        if self._own is None:
            config, document = self.gateway.written, self.gateway.document
            raw = [as_written(document.root)] if document else []
            self._own = Standing(config, self.gateway.over).with_also(config, *raw)
        return self._own

    def _standing(self) -> Standing:
        """What stands there and in the configuration in force."""
        config, document = self.gateway.written, self.gateway.document
        shown = [as_written(document.root), as_written(document.root, config)] if document else [written(config)]
        return self._own_file().with_also(config, *shown)

    def resume(self) -> None:
        """Goes on with what was applied over the admin API, if the file has not changed since."""
        found = applied.usable(self.folder, self._base, self.origin)
        if found is None:
            return
        try:
            # With what code adds, which may be something else by now.
            drafted = self.drafted(found.text(), trusted=True)
            drafted.check()
        except ConfigError as error:
            log.error("what was applied over the admin API cannot be used now, the file counts:\n%s", error)
            return
        self.gateway.become(drafted)
        self.overridden = True
        log.info("going on with the configuration that was applied over the admin API at %s", found.at)

    def first(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """The first plan, with the instances that are found by now."""
        self.registry.adopt(self.registry.prepared(self.gateway.config, self.gateway.applications))
        self.plan = plan
        return self.registry.filled(plan)

    def refuse_other_account(self, source: Gateway, *, partial: bool) -> None:
        """Raises ConfigError if a configuration names another user or group than the gateway was started with.

        A `partial` one, which comes over the admin API, may leave them out: they are of this node.
        """
        problems = []
        for key, started in self._account.items():
            named = getattr(source.config, key)
            if named != started and not (partial and named is None):
                place = source.locate(key)
                text = f"stays {started or 'as it is'} until the gateway is started again"
                problems.append(Problem(place.file, place.line, place.column, key, text))
        if problems:
            raise ConfigError(problems, source.followed)

    def hand_over(self) -> None:
        """Has the engine use the instances that are found by now. Raises EngineError."""
        with self.changing:
            if not self.stopping:
                self.engine.apply(json.dumps(self.registry.filled(self.plan)))

    def listen(self) -> None:
        """Listens on the socket in the state folder. Whoever is told that the gateway runs finds it there."""
        if self.gateway.local_socket:
            from pylae.admin import local

            self.local = local.start(self)

    def start(self) -> None:
        """Begins once the engine runs. Raises ConfigError or EngineError."""
        if self.gateway.config.admin is not False:
            from pylae.admin import server

            before = self.registry.filled(self.plan)
            self.admin = server.start(self)
            self.registry.admin = self.admin.address if self.admin else None
            if before != self.registry.filled(self.plan):
                self.hand_over()

    def stop(self) -> None:
        """Ends. May be called again, from another thread too."""
        self.stopping = True
        for server in (self.local, self.admin):
            if server is not None:
                server.stop()
        self.registry.stop()

    def metrics(self) -> str:
        """Figures of the control plane as a part of the page for Prometheus."""
        name = "pylae_admin_restarts_total"
        restarts = sum(server.lasting.restarts for server in (self.local, self.admin) if server is not None)
        what = "Times that what serves the admin API had ended and was started again."
        return f"# HELP {name} {what}\n# TYPE {name} counter\n{name} {restarts}\n{self.registry.metrics()}"

    def put(self, source: Gateway, plan: Mapping[str, Any], *, keep: bool) -> None:
        """Has the engine serve by `plan`, all or nothing; with `keep` its document outlives a restart.

        Raises ConfigError, EngineError or OSError.
        """
        document = source.document if keep else None
        token = self.admin.token_by(source.config.admin) if self.admin else ""
        sources = self.registry.prepared(source.config, source.applications)
        with contextlib.ExitStack() as stack:
            stack.callback(self.registry.discard, sources)
            commit = stack.enter_context(applied.keeping(self.folder, document, self._base)) if document else None
            hooks = self.engine.hooks
            self.engine.apply(json.dumps(self.registry.filled(plan, sources)), source.functions)
            # Killed before this, it starts again with what was in force before.
            if commit is None:
                applied.drop(self.folder)
            else:
                try:
                    commit()
                except OSError:
                    self.engine.apply(json.dumps(self.registry.filled(self.plan)), hooks)
                    raise
            self.registry.adopt(sources)
        if commit is None:
            self._written_in, self._own = self._read_from(source), None
        self.plan, self.overridden = plan, commit is not None
        self._count += 1
        if self.admin is not None:
            self.admin.follow(source.config.admin, token)

    def drafted(self, text: str, *, trusted: bool = False) -> Gateway:
        """The gateway with the configuration of a document, not in force (`draft.read`). Raises ConfigError."""
        gateway = self.gateway
        with self.changing:
            files = {path: held for path, held in self._written_in.items() if path in gateway.read_files}
            self._own_file()
            standing = None if trusted else self._standing()
            origin = Path(gateway.document.file) if gateway.document else gateway.origin
            document, config = draft.read(text, origin, files, standing, gateway.written)
            return gateway.with_document(document, config)

    def apply(self, text: str, revision: str | None = None) -> tuple[str, list[Problem]]:
        """Puts a document in force and keeps it; returns its revision and warnings.

        Raises as `Gateway.apply` does, and ConflictError if another revision than the given one is in force by now.
        """
        with self.changing:
            if revision is not None and revision != self.revision:
                raise ConflictError(f"revision {revision} is no longer in force, {self.revision} is")
            other = self.drafted(text)
            # The most is needed next: what reading took is not to lie beside it.
            give_back()
            warnings = other.check()
            self.gateway.apply(other, keep=True)
            return self.revision, warnings

    def reload(self) -> str:
        """Puts the file of the configuration in force; returns its revision. Raises as `Gateway.reload` does.

        A program without a file goes back to what it has said.
        """
        with self.changing:
            (self.gateway.read_file if self.overridden else self.gateway.reload)()
            return self.revision

    def read_again(self) -> bool:
        """Puts what was applied over the admin API in force again, if a file has changed that only it refers to.

        False if the file itself has changed, or nothing was applied.
        """
        with self.changing:
            kept = applied.kept(self.folder) if self.overridden else None
            if kept is None or _digest_of_all(map(_digest_of, self._written_in)) != kept.base:
                return False
            self.gateway.apply(self.drafted(kept.text(), trusted=True), keep=True)
            return True

    @property
    def document(self) -> Document | None:
        """The document that the configuration was read from, if it was."""
        return self.gateway.document


def _digest_of(file: Path) -> str | None:
    """As `held`; None if it cannot be read."""
    try:
        return held(file)
    except OSError:
        return None


def _digest_of_all(digests: Iterable[str | None]) -> str | None:
    """One hash for all: the only one, or one of those that there are."""
    first, *more = digests
    return digest(f"{[first, *more]}".encode()) if more else first
