"""The running native side. Its tables are in `pylae.config.tables`; nothing else imports `pylae._native`."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast
from urllib.parse import urlsplit

from pylae import _native
from pylae.errors import EngineError
from pylae.monitoring import Health, Thresholds, judge

__all__ = [
    "Certificate",
    "Ends",
    "Engine",
    "Headers",
    "HookTimeout",
    "Known",
    "NativeCache",
    "NativeCircuitBreaker",
    "NativeHookHost",
    "NativeHookHosts",
    "NativeKeyedLimiter",
    "NativeLoadBalancer",
    "NativeLookup",
    "NativePermit",
    "NativePick",
    "NativeRegistryStore",
    "NativeReservation",
    "NativeRouter",
    "NativeSealer",
    "NativeSignals",
    "NativeSlidingWindow",
    "NativeStore",
    "NativeStoreLimit",
    "NativeStoreWait",
    "NativeStoreWakes",
    "NativeTokenBucket",
    "NativeTokenVerifier",
    "PlanError",
    "QueryParams",
    "Request",
    "Response",
    "Taken",
    "Url",
    "User",
    "check",
    "count_unhandled",
    "decide",
    "echo_policy",
    "explain",
    "flush_stderr",
    "live_requests",
    "pass_on_log",
    "purge_document",
    "record_span",
    "refuse_on_worker",
    "set_log_steps",
    "shift_clock",
    "write_stderr",
]

Headers = _native.Headers
Request = _native.Request
Response = _native.Response
QueryParams = _native.QueryParams
Certificate = _native.Certificate
Known = _native.Known
Url = _native.Url
User = _native.User
HookTimeout = _native.HookTimeout
live_requests = _native.live_requests
record_span = _native.record_span
"""Counts the native requests that Python holds in this process: 0 when no exchange is in flight."""
write_stderr = _native.write_stderr
"""Writes whole lines to standard error on a thread of its own."""
flush_stderr = _native.flush_stderr
"""Waits until that thread has written everything, for at most the given number of seconds."""
count_unhandled = _native.count_unhandled
"""Counts records that handlers of `logging` did not take in time."""
set_log_steps = _native.set_log_steps
"""Makes the steps of the data plane in the given areas records of the log, in all gateways of this process."""
refuse_on_worker = _native.refuse_on_worker
"""Raises HookError in a hook that runs on a worker. Called by whatever waits for all workers."""
NativeCache = _native.Cache
NativeCircuitBreaker = _native.CircuitBreaker
NativeHookHost = _native.HookHost
NativeHookHosts = _native.HookHosts
NativeKeyedLimiter = _native.KeyedLimiter
NativeLoadBalancer = _native.LoadBalancer
NativeLookup = _native.Lookup
NativePermit = _native.Permit
NativePick = _native.Pick
NativeRegistryStore = _native.RegistryStore
NativeReservation = _native.Reservation
NativeRouter = _native.Router
NativeSealer = _native.Sealer
NativeSignals = _native.Signals
NativeSlidingWindow = _native.SlidingWindow
NativeStore = _native.Store
NativeStoreLimit = _native.StoreLimit
NativeStoreWait = _native.StoreWait
NativeStoreWakes = _native.StoreWakes
NativeTokenBucket = _native.TokenBucket
NativeTokenVerifier = _native.TokenVerifier
PlanError = _native.PlanError

# A hook that forks without exec must not leave a second gateway behind.
os.register_at_fork(after_in_child=_native.after_fork_in_child)

SWITCH_INTERVAL = 0.0005
"""Seconds that Python code may keep the interpreter's lock while a worker waits for it to call a hook.

Python's own default is 0.005. Set by `sys.setswitchinterval`, for the whole process, when there are hooks."""
_FAREWELL = 5.0
"""Seconds that a stop waits for hooks on the asyncio loop to end."""
_PATIENCE = 1.0
"""Seconds that the log reader waits for a record before it asks again."""
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

log = logging.getLogger("pylae.engine")


class Ends(NamedTuple):
    """The addresses of a connection, each with its port."""

    client: tuple[str, int]
    server: tuple[str, int]


Taken: TypeAlias = tuple[socket.socket, Ends | None]
"""A connection to the admin API, with its addresses if the engine ends its TLS: the socket is then one of a pair."""


class Engine:
    """The data plane for one plan, which is a JSON document (`pylae.config.plan.compile_plan`).

    `hooks` are the callables that the plan refers to by their places. `hosts` run them, but for authenticators.
    """

    def __init__(
        self, plan: str, hooks: Sequence[Callable[..., Any]] = (), hosts: NativeHookHosts | None = None
    ) -> None:
        self._plan, self._hooks, self._hosts = plan, hooks, hosts
        self._native: _native.Engine | None = None
        self._log_reader: threading.Thread | None = None
        self._loop: threading.Thread | None = None

    def start(
        self,
        bound: Callable[[], object] | None = None,
        joined: Callable[[NativeRegistryStore], str | None] | None = None,
        maintenance: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Starts the threads and returns the addresses listened on, as `host:port`. Raises EngineError.

        `bound` is called once the sockets are bound, before anything is served. Then, in a cluster, `joined` is called
        with its store, and may return a plan with other instances to begin with. What they raise is raised here.
        `maintenance` is what is switched from the first request on, as for `set_maintenance`.
        """
        switched = None if maintenance is None else json.dumps(maintenance)
        try:
            self._native = _native.Engine(self._plan, (list(self._hooks), self._hosts), bound, joined, switched)
        except _native.PlanError as error:
            raise _failure(error) from None
        # It may be long.
        self._plan = ""
        # Its threads must not meet an interpreter that has gone.
        weakref.finalize(self, self._native.stop, False)
        self._log_reader = threading.Thread(target=pass_on_log, args=(self._native,), name="pylae-log", daemon=True)
        self._log_reader.start()
        self._serve_hooks()
        return self._native.addresses()

    def _serve_hooks(self) -> None:
        """Starts the asyncio loop once there are hooks, and makes Python switch threads often enough for them."""
        if self._loop is not None or not self._hooks:
            return
        from pylae.hooks.loop import serve

        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL))
        self._loop = threading.Thread(target=serve, args=(self._running().executor(),), name="pylae-hooks", daemon=True)
        self._loop.start()

    def apply(
        self, plan: str, hooks: Sequence[Callable[..., Any]] | None = None, hosts: NativeHookHosts | None = None
    ) -> None:
        """Puts another plan and its hooks in force, whole or not at all; without `hooks` they are as they were.

        `hosts` run them, but for authenticators; without them this process does. Raises EngineError.
        """
        try:
            self._running().apply(plan, None if hooks is None else (list(hooks), hosts))
            if hooks is not None:
                self._hooks, self._hosts = hooks, hosts
            self._serve_hooks()
        except _native.PlanError as error:
            raise _failure(error) from None

    def warnings(self) -> list[dict[str, str]]:
        """The warnings about the plan in force, as those of `check`."""
        return cast("list[dict[str, str]]", json.loads(self._running().warnings()))

    @property
    def hosts(self) -> NativeHookHosts | None:
        """The hook hosts in force."""
        return self._hosts

    @property
    def hooks(self) -> Sequence[Callable[..., Any]]:
        """The callables that the plan in force refers to by their places."""
        return self._hooks

    def addresses(self) -> list[str]:
        """The addresses listened on, as `host:port`, in the order of the plan."""
        return self._running().addresses()

    def attach(self, signals: NativeSignals) -> None:
        """Lets signals stop the data plane even while no Python code can run."""
        signals.attach(self._running())

    def stop(self, drain: bool) -> None:
        """Ends the data plane; with `drain`, once exchanges in flight are over or `drain_timeout` has passed.

        A second call without `drain`, from another thread, cuts a drain short.
        """
        self._running().stop(drain)
        # The last records are there by now, such as what collectors have not got.
        for thread in (self._log_reader, self._loop):
            if thread is not None and thread is not threading.current_thread():
                thread.join(_FAREWELL)

    def set_draining(self, service: str, instance: str, draining: bool) -> bool:
        """Drains an instance, so that it gets no new exchanges, or uses it again. Reloads do not change that.

        `instance` is its URL as in the plan, `http://host:port`. Returns whether that is a change. Raises EngineError
        if there is no such instance.
        """
        try:
            return self._running().set_draining(service, instance, draining)
        except LookupError as error:
            raise EngineError(str(error)) from None

    def revoke(self, kind: str, value: str, seconds: float) -> None:
        """Refuses the token with this `jti` (kind "jti"), or all that was issued to this user ("user"), from now on.

        Raises EngineError if there are too many revocations to add one.
        """
        if not self._running().revoke(kind, value, seconds):
            raise EngineError("there are 100,000 revocations already; shorter ones make room")

    def reset_breaker(self, service: str, instance: str | None = None) -> bool | None:
        """Closes the breaker of a service, or of one of its instances where each has its own.

        Returns whether that is a change, or None if the service has no breaker. Raises EngineError if there is no such
        service or instance.
        """
        try:
            return self._running().reset_breaker(service, instance)
        except LookupError as error:
            raise EngineError(str(error)) from None

    def limit(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the state of a limit for a key (`pylae_proxy::LimitQuestion`). Raises EngineError."""
        try:
            return cast("dict[str, Any]", json.loads(self._running().limit(json.dumps(question))))
        except _native.PlanError as error:
            raise _failure(error) from None

    def limit_usage(self) -> tuple[int, int]:
        """Returns how many keys the rate limits hold, and how many bytes these take."""
        return self._running().limit_usage()

    def exchanges(self, cursors: Sequence[int] = (), most: int = 1024, *, watch: bool = False) -> dict[str, Any]:
        """Returns the exchanges since the `cursors` of an earlier call, at most `most` of each worker.

        `watch` has nearly all be kept for some seconds, not just a few of each.
        """
        return cast("dict[str, Any]", json.loads(self._running().exchanges(list(cursors), most, watch)))

    def stats(self) -> dict[str, Any]:
        """Returns what the data plane has counted since it was started."""
        return cast("dict[str, Any]", json.loads(self._running().stats()))

    def metrics(self, *, openmetrics: bool = False) -> str:
        """All figures as a page for Prometheus, in its text format 0.0.4; `docs/guide/metrics.md` lists them.

        With `openmetrics`, in OpenMetrics 1.0 with exemplars, but without its end: other metrics may follow.
        """
        return self._running().metrics(openmetrics)

    def add_metrics(self, others: Callable[[], str]) -> None:
        """Has the metrics that `others` returns, in the text format of Prometheus, sent to collectors too.

        `others` is a method, and does not keep what it belongs to.
        """
        reference = weakref.WeakMethod(others)

        def page() -> str:
            found = reference()
            return found() if found else ""

        self._running().add_metrics(page)

    def summary(self) -> dict[str, Any]:
        """The figures that people look at first (`pylae_proxy::Summary`).

        Requests, errors and durations by service and method, cache, connections, breakers. Durations are in seconds.
        """
        return cast("dict[str, Any]", json.loads(self._running().summary()))

    def costs(self) -> dict[str, Any]:
        """What policies and hooks have cost, dearest first (`pylae_proxy::Costs`). Times are in seconds."""
        return cast("dict[str, Any]", json.loads(self._running().costs()))

    def watch(self, question: Mapping[str, Any]) -> int:
        """Begins to watch for exchanges (`pylae_proxy::WatchQuestion`). Returns the id of the watch.

        Raises EngineError if there are too many watches.
        """
        try:
            return self._running().watch(json.dumps(question))
        except _native.PlanError as error:
            raise _failure(error) from None

    def watched(self, watch: int) -> dict[str, Any]:
        """The ids of the traces that a watch has come to, and whether it is over, as it is if there is none."""
        progress = self._running().watched(watch)
        return {"traces": [], "over": True} if progress is None else cast("dict[str, Any]", json.loads(progress))

    def end_watch(self, watch: int) -> None:
        """Ends a watch. Does nothing if there is none."""
        if self._native is not None:
            self._native.end_watch(watch)

    def traces(self) -> list[dict[str, Any]]:
        """The traces that are kept, latest first."""
        return cast("list[dict[str, Any]]", json.loads(self._running().traces()))

    def trace(self, name: str) -> str | None:
        """The trace with this id as JSON; None if there is none, or it is no longer kept."""
        return self._running().trace(name)

    def issue_trace_token(self, seconds: int) -> tuple[str, str]:
        """Returns the id of a trace and a token that asks for it, good for one request and so many seconds.

        Raises EngineError if the system has no random numbers.
        """
        made = self._running().issue_trace_token(seconds)
        if made is None:
            raise EngineError("the system has no random numbers")
        return made

    def health(self, thresholds: Thresholds | None = None, troubles: Mapping[str, str | None] | None = None) -> Health:
        """Judges the last minute: healthy, or why not.

        `troubles` say what keeps the instances of services from being looked up.
        """
        return judge(self.summary(), thresholds or Thresholds(), troubles or {})

    def reopen_logs(self) -> None:
        """Opens the files of access logs again, as after a rotation."""
        self._running().reopen_logs()

    def count_refusal(self) -> None:
        """Counts a configuration that was refused before it became a plan."""
        self._running().count_refusal()

    def purge_cache(
        self, *, url: str | None = None, prefix: str | None = None, service: str | None = None, tag: str | None = None
    ) -> int:
        """Removes answers from the response cache: those that one argument names, or all.

        Returns how many answers that were. Raises EngineError if several are given.
        """
        try:
            return self._running().purge_cache(purge_document(url, prefix, service, tag))
        except _native.PlanError as error:
            raise _failure(error) from None

    def serve_admin(
        self,
        listening: socket.socket,
        address: str,
        hosts: Sequence[str] | None,
        *,
        connections: int,
        head_time: float,
        patience: float,
        token: str | None,
    ) -> int:
        """Lets the engine accept connections from the socket of the admin API. It keeps a copy of it until it stops.

        `address` is its name in the plan. If the plan has TLS for it, the engine ends that.

        It answers `/live` and `/ready` for `hosts` (any if None), whatever Python does, and `/health` to who has
        `token` (anybody if None) while Python cannot. Of `connections` at most the head is awaited, for `head_time`
        seconds each. What is no probe waits for `next_admin_connection` for `patience`
        seconds; the descriptor that is returned is readable while there is any. Raises EngineError.
        """
        names, place = None if hosts is None else list(hosts), (listening.fileno(), address)
        try:
            return self._running().serve_admin(place, names, token, (connections, head_time, patience))
        except OSError as error:
            raise EngineError(f"the admin API cannot be served: {error}") from None

    def set_admin_token(self, token: str) -> None:
        """Changes the token of the admin API."""
        self._running().set_admin_token(token)

    def set_admin_hosts(self, hosts: Sequence[str]) -> None:
        """Changes the hosts for which the engine answers probes."""
        self._running().set_admin_hosts(list(hosts))

    def next_admin_connection(self) -> Taken | None:
        """Returns a connection to the admin API that waits to be served, or None."""
        found = self._running().next_admin_connection()
        if found is None:
            return None
        descriptor, ends = found
        taken = socket.socket(fileno=descriptor)
        taken.setblocking(False)
        return taken, ends and Ends(*ends)

    def set_maintenance(self, document: Mapping[str, Any]) -> None:
        """Replaces what is switched to maintenance, in the form of `crates/core/src/maintenance.rs`."""
        self._running().set_maintenance(json.dumps(document))

    def liveness(self) -> tuple[str, str]:
        """Returns the answers of `/live` and `/ready`.

        The first is `live` or `stuck`, the second `ready`, `joining`, `stopping` or `stuck`.
        """
        return self._running().liveness()

    def _running(self) -> _native.Engine:
        if self._native is None:
            raise EngineError("the engine is not running")
        return self._native


def build() -> dict[str, str]:
    """Returns how the native module was built: its `version`, its `profile`, and the version of `rustls`."""
    return {"version": _native.__version__, "profile": _native.PROFILE, "rustls": _native.RUSTLS}


def check(plan: str) -> dict[str, list[dict[str, str]]]:
    """Returns the `problems` and `warnings` of a plan, each with `path` and `message`. Opens no socket."""
    return cast("dict[str, list[dict[str, str]]]", json.loads(_native.check(plan)))


def explain(plan: str, request: str) -> dict[str, Any]:
    """Returns what a plan would do with a request. Opens no socket. Raises EngineError for a malformed request."""
    try:
        return cast("dict[str, Any]", json.loads(_native.explain(plan, request)))
    except _native.PlanError as error:
        raise _failure(error) from None


def decide(plan: str, requests: str) -> list[dict[str, Any]]:
    """Returns what a plan would decide for each of some requests: `decided`, or `problems` of what is no request.

    Opens no socket. Raises EngineError for a plan that cannot be built.
    """
    try:
        return cast("list[dict[str, Any]]", json.loads(_native.decide(plan, requests)))
    except _native.PlanError as error:
        raise _failure(error) from None


def local_certificate() -> tuple[str, str, str]:
    """Makes an authority and a certificate for `localhost`. Returns both and the key, in PEM; valid for 397 days."""
    return _native.local_certificate()


def echo_policy(name: str, settings: str) -> str:
    """Returns the settings of a policy as the native side understands them. Raises EngineError."""
    try:
        return _native.echo_policy(name, settings)
    except _native.PlanError as error:
        raise _failure(error) from None


def purge_document(url: str | None, prefix: str | None, service: str | None, tag: str | None) -> str:
    """Returns the document that tells the cache what to remove: what one argument names, or everything.

    Raises EngineError if several are given.
    """
    named = {"target": url, "prefix": prefix, "service": service, "tag": tag}
    given = {kind: name for kind, name in named.items() if name is not None}
    if len(given) > 1:
        raise EngineError("purge by one of url, prefix, service and tag")
    for kind, name in given.items():
        if kind in ("service", "tag"):
            return json.dumps(given)
        parts = urlsplit(name)
        query = f"?{parts.query}" if "?" in name else ""
        return json.dumps({kind: {"host": parts.netloc or None, "path": (parts.path or "/") + query}})
    return json.dumps("all")


def shift_clock(nanoseconds: int) -> None:
    """Moves the clock of every engine in this process. For `pylae.testing`."""
    _native.shift_clock(nanoseconds)


def _failure(error: Exception) -> EngineError:
    problems = json.loads(error.args[0])
    return EngineError("; ".join(f"{item['path']}: {item['message']}".removeprefix(": ") for item in problems))


def pass_on_log(native: _native.Engine | _native.HookHost | _native.Store) -> None:
    """Passes records on to the loggers of their areas until the log is closed, on a thread of its own."""
    while (records := native.read_log(_PATIENCE)) is not None:
        for record in json.loads(records):
            extra = {"event": record["event"], "fields": dict(record.get("fields", ()))}
            area = logging.getLogger(f"pylae.{record['area']}")
            area.log(_LEVELS[record["level"]], "%s", record["message"], extra=extra)
