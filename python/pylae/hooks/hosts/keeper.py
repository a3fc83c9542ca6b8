"""Looks after the hook hosts of a configuration: has them forked, replaces those that fail, and ends them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import threading
import time
from collections import Counter
from typing import Any

from pylae.config.models.hooks import HookSet
from pylae.engine import NativeHookHosts
from pylae.errors import EngineError
from pylae.hooks.hosts.figures import REASONS, PlaceFigures
from pylae.hooks.hosts.forks import END, LOAD, MOST_BYTES, Forks
from pylae.hooks.hosts.place import HostPlace, HostProcess, resident
from pylae.hooks.hosts.recipe import Recipe

log = logging.getLogger("pylae.hooks")

_TICK = 0.25
"""Seconds between two looks at the hosts."""
_GRACE = 1.0
"""Seconds beyond the longest timeout of a hook after which a host that does not answer is replaced."""
_RETRY = (0.1, 10.0)
"""Seconds before a host that could not start is started again: at first, and at most."""


class HookHosts:
    """The hook hosts of a configuration."""

    def __init__(self, settings: HookSet, recipe: Recipe, workers: int, longest: float, drain: float) -> None:
        """`longest` is the longest timeout of a hook, and `drain` how long one that is replaced may go on, in seconds.

        Raises EngineError if the system has no room for them.
        """
        self._settings, self._patience, self._drain = settings, longest + _GRACE, drain
        self._forks = Forks(recipe)
        try:
            self.native = NativeHookHosts(workers, settings.max_calls)
        except OSError as error:
            raise EngineError(f"hook hosts cannot be made: {error}") from None
        self._places = [HostPlace() for _ in range(settings.processes)]
        self._restarts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._served_again = 0.0
        self._retired = False
        self._stopped = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="pylae-hosts", daemon=True)

    def start(self) -> None:
        """Starts all hosts, and waits until they are warm. Raises EngineError."""
        deadline = time.monotonic() + LOAD
        try:
            self._forks.load(deadline)
            for place in range(len(self._places)):
                self._ask(place)
            while not all(any(host.warm for host in place.hosts) for place in self._places):
                if time.monotonic() > deadline:
                    raise EngineError(f"the hook hosts are not ready after {LOAD:.0f} s")
                self._look(_TICK)
                if any(place.failures for place in self._places):
                    raise EngineError("a hook host has ended before it was ready; the log says why")
        except BaseException:
            self._end()
            raise
        self._thread.start()

    def retire(self) -> None:
        """Ends them once the exchanges that they know are over. Returns at once."""
        self._retired = True
        self._call()

    def stop(self) -> None:
        """Ends them, and waits for that."""
        self._stopped.set()
        self._call()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def running(self) -> bool:
        """Whether any of them may still run."""
        return self._thread.is_alive()

    def _call(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")

    def _ask(self, place: int) -> None:
        """Asks for another process at a place."""
        if self._forks.socket is None:
            return
        ends = self.native.add()
        own, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own.setblocking(False)
        host = HostProcess(place, ends.number, own, time.monotonic())
        try:
            with given:
                self._forks.ask(ends.number, [given.fileno(), *ends.descriptors()])
        except OSError:
            own.close()
            self.native.advance(ends.number, "lost")
            raise
        with self._lock:
            self._places[place].hosts.append(host)

    def _all(self) -> list[HostProcess]:
        return [host for place in self._places for host in place.hosts]

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._look(_TICK)
                self._repair()
            except Exception:
                log.exception("a look at the hook hosts has failed; it is taken again")
                self._stopped.wait(_TICK)
            if self._retired and not any(host.process for host in self._all()):
                break
        self._end()

    def _look(self, patience: float) -> None:
        """Waits for news, and takes it."""
        began = time.monotonic()
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        poll.register(self.native.fileno(), select.POLLIN)
        if self._forks.socket is not None:
            poll.register(self._forks.socket, select.POLLIN)
        for host in self._all():
            if host.ends >= 0:
                poll.register(host.ends, select.POLLIN)
            poll.register(host.control, select.POLLIN)
        readable = {descriptor for descriptor, _ in poll.poll(patience * 1000)}
        with contextlib.suppress(OSError):
            self._woken.recv(64)
        with contextlib.suppress(OSError):
            os.read(self.native.fileno(), 8)
        if self._forks.socket is not None and self._forks.socket.fileno() in readable:
            self._hear_forks()
        for host in self._all():
            if host.control.fileno() in readable:
                self._hear(host)
            if host.ends in readable:
                self._bury(host)
        now = time.monotonic()
        # If this thread itself comes late, the process did not run, and nothing is known about the others.
        self._judge(now, late=now - began > patience + _GRACE)

    def _hear_forks(self) -> None:
        for number, process, ends in self._forks.forked():
            host = next((host for host in self._all() if host.number == number), None)
            if host is None:
                os.close(ends)
            else:
                host.process, host.ends = process, ends
        if self._forks.socket is None:
            # The hosts end with the process that has forked them.
            log.error("the process that forks hook hosts has ended, and the hosts with it; another one takes its place")
            for host in self._all():
                self._bury(host)

    def _hear(self, host: HostProcess) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while message := host.control.recv(MOST_BYTES):
                told, host.heard = json.loads(message), time.monotonic()
                if "warm" in told:
                    host.warm = True
                    self._places[host.place].failures = 0
                    self.native.advance(host.number, "warm")
                    self._relieve(host)
                elif "overdue" in told:
                    host.overdue = (host.overdue or host.heard) if told["overdue"] else None
                elif "figures" in told:
                    with contextlib.suppress(ValueError):
                        self.native.count(host.number, told["figures"])
                elif "log" in told:
                    record = logging.makeLogRecord(told["log"])
                    logger = logging.getLogger(record.name)
                    record.levelname = logging.getLevelName(record.levelno)
                    if logger.isEnabledFor(record.levelno):
                        logger.handle(record)

    def _relieve(self, host: HostProcess) -> None:
        """Lets the hosts drain in whose place another one is warm now."""
        for other in self._places[host.place].hosts:
            if other is not host and other.reason is not None and other.draining is None:
                other.draining = time.monotonic()
                self.native.advance(other.number, "draining")

    def _judge(self, now: float, *, late: bool) -> None:
        """Looks how the hosts are doing."""
        figures = {one["number"]: one for one in json.loads(self.native.figures())}
        for host in self._all():
            known = figures.get(host.number)
            if known is None:
                continue
            host.calls, host.in_flight = known["calls"], known["in_flight"]
            host.memory = resident(host.process)
            if late or known["beats"] != host.beats:
                host.beats, host.beaten = known["beats"], now
            if late:
                host.heard = now
            if self._retired and host.draining is None:
                host.draining = now
                self.native.advance(host.number, "draining")
            if host.draining is not None:
                if not known["exchanges"] or now - host.draining > self._drain:
                    self._finish(host, now, forced=bool(known["exchanges"]))
                continue
            reason = known["trouble"] or self._reason(host, now)
            if reason is not None and host.reason is None:
                self._condemn(host, reason)

    def _reason(self, host: HostProcess, now: float) -> str | None:
        settings = self._settings
        if not host.warm:
            return "hung" if now - host.asked > LOAD else None
        if now - host.beaten > self._patience or now - host.heard > self._patience + END:
            return "hung"
        if host.overdue is not None and now - host.overdue > _GRACE:
            return "stuck"
        if settings.max_memory is not None and host.memory > settings.max_memory:
            return "memory"
        if settings.max_requests is not None and host.calls >= settings.max_requests:
            return "requests"
        return None

    def _condemn(self, host: HostProcess, reason: str) -> None:
        """Replaces a host: at once, or once another one is warm."""
        host.reason = reason
        self._restarts[reason] += 1
        level = logging.INFO if reason == "requests" else logging.WARNING
        text = "hook host %d (process %d) %s; another one takes its place"
        log.log(level, text, host.place, host.process, REASONS[reason])
        if reason in ("hung", "mad"):
            self._kill(host)
            self._lose(host)
        else:
            self._ask(host.place)

    def _finish(self, host: HostProcess, now: float, *, forced: bool) -> None:
        """Ends a host that has drained."""
        if host.draining is None:
            return
        if forced or now - host.draining > self._drain + END:
            self._kill(host)
        else:
            with contextlib.suppress(OSError):
                host.control.send(b"stop")

    def _kill(self, host: HostProcess) -> None:
        if host.ends >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(host.ends, signal.SIGKILL)

    def _bury(self, host: HostProcess) -> None:
        """Takes note that a process has ended."""
        self._hear(host)
        if host.reason is None and host.draining is None:
            self._restarts["crashed"] += 1
            log.error("hook host %d (process %d) has ended; another one takes its place", host.place, host.process)
        self._lose(host)

    def _lose(self, host: HostProcess) -> None:
        """Has all calls of a host fail, and forgets it."""
        self.native.advance(host.number, "lost")
        place = self._places[host.place]
        with self._lock:
            if host not in place.hosts:
                return
            place.hosts.remove(host)
            place.calls += host.calls
        host.control.close()
        if host.ends >= 0:
            os.close(host.ends)
        if not host.warm:
            place.failures += 1
            place.again = time.monotonic() + min(_RETRY[0] * 2**place.failures, _RETRY[1])

    def _repair(self) -> None:
        """Asks for what is missing."""
        if self._retired or self._stopped.is_set():
            return
        now = time.monotonic()
        missing = [index for index, place in enumerate(self._places) if not place.hosts and now >= place.again]
        if missing and self._forks.socket is None:
            if now < self._served_again:
                return
            self._served_again = now + _RETRY[1]
            try:
                self._forks.load(now + LOAD)
            except EngineError as error:
                log.error("%s; it is tried again", error)
                return
        for index in missing:
            self._ask(index)

    def _end(self) -> None:
        """Ends all processes."""
        for host in self._all():
            with contextlib.suppress(OSError):
                host.control.send(b"stop")
        deadline = time.monotonic() + END
        while any(host.ends >= 0 for host in self._all()) and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self._look_for_ends(deadline)
        for host in self._all():
            self._kill(host)
            self._lose(host)
        self._forks.close()
        self._wake.close()
        self._woken.close()

    def _look_for_ends(self, deadline: float) -> None:
        poll = select.poll()
        for host in self._all():
            if host.ends >= 0:
                poll.register(host.ends, select.POLLIN)
        ended = {descriptor for descriptor, _ in poll.poll(max(deadline - time.monotonic(), 0) * 1000)}
        for host in self._all():
            if host.ends in ended:
                self._hear(host)
                self._lose(host)

    def listed(self) -> list[dict[str, Any]]:
        """The hosts in use: place, process, calls, calls in progress and resident memory in bytes."""
        with self._lock:
            return [
                {
                    "host": host.place,
                    "process": host.process,
                    "state": "draining" if host.draining is not None else "warm" if host.warm else "starting",
                    "calls": host.calls,
                    "in_flight": host.in_flight,
                    "memory": host.memory,
                }
                for host in self._all()
            ]

    def trouble(self) -> str | None:
        """What is wrong with them, in a sentence; None if nothing is."""
        with self._lock:
            ready = sum(any(host.warm for host in place.hosts) for place in self._places)
        most = len(self._places)
        return None if ready == most else f"{ready} of {most} hook hosts are ready"

    @property
    def restarts(self) -> dict[str, int]:
        """How often hosts were replaced, by reason."""
        return dict(self._restarts)

    def figures(self) -> list[PlaceFigures]:
        """The figures of each place, over all processes that it has had."""
        with self._lock:
            return [
                PlaceFigures(
                    place.calls + sum(host.calls for host in place.hosts),
                    sum(host.in_flight for host in place.hosts),
                    sum(host.memory for host in place.hosts),
                    any(host.warm for host in place.hosts),
                )
                for place in self._places
            ]
