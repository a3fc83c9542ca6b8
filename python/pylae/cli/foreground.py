"""What a person sees of a gateway that runs in the foreground: where everything is, and a line for each request."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import click

from pylae.cli import stderr
from pylae.errors import EngineError

if TYPE_CHECKING:
    from pylae.engine import Engine
    from pylae.runtime.runtime import Runtime

logger = logging.getLogger("pylae.engine")

_LOOK = 0.25
"""Seconds between two looks at the latest exchanges."""
_FAREWELL = 1.0
"""Seconds that the end waits for the thread, which may be writing to a terminal that is stopped."""
_COLOURS = {2: "green", 3: "cyan", 4: "yellow", 5: "red"}
_STREAMS = {"stdout": 1, "stderr": 2}


def described(exchange: Mapping[str, Any]) -> str:
    """An exchange, as access logs have it, for people: all but its time."""
    status = click.style(str(exchange["status"]), fg=_COLOURS.get(exchange["status"] // 100))
    duration = f"{exchange['duration'] * 1000:.1f} ms"
    query = f"?{exchange['query']}" if exchange["query"] else ""
    asked = _visible(f"{exchange['method']} {exchange['path']}{query}")
    where = _visible(" → ".join(str(exchange[key]) for key in ("route", "service", "instance") if exchange[key]))
    why = f" ({exchange['code']})" if exchange["code"] else ""
    return f"{status}  {duration:>10}  {asked}{why}  {where}".rstrip()


def _visible(text: str) -> str:
    """What a client has sent must not steer the terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def at(exchange: Mapping[str, Any]) -> str:
    """When an exchange ended, by the clock of this place, as the log has it."""
    return datetime.fromisoformat(exchange["timestamp"]).astimezone().strftime("%H:%M:%S")


class Serving(Protocol):
    """What runs: a gateway, or its runtime."""

    @property
    def engine(self) -> Engine:
        """The running native side. Raises EngineError if it is not running."""


class RequestLines:
    """Prints each exchange of a running gateway, on a thread of its own that ends with the gateway.

    It asks for what the data plane keeps anyway for those who look at the latest exchanges (`telemetry/recent.rs`), so
    that no request costs more for it; how many of a busy second were left out is said.
    """

    def __init__(
        self,
        serving: Serving,
        write: Callable[[str], None],
        line: Callable[[Mapping[str, Any]], str],
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """`wanted` is asked at each look whether anything is to be printed."""
        self._serving, self._write, self._line, self._wanted = serving, write, line, wanted
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pylae-request-lines", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it, after a last look if the gateway still runs."""
        self._stopped.set()
        self._thread.join(_FAREWELL)

    def _run(self) -> None:
        cursors: list[int] = []
        left_out = 0
        last = False
        while not last:
            last = self._stopped.wait(_LOOK)
            try:
                found = self._serving.engine.exchanges(cursors)
            except EngineError:
                return
            more, left_out = found["passed_over"] + found["missed"] - left_out, found["passed_over"]
            cursors = found["cursors"]
            if self._wanted():
                self._print(found["exchanges"], more)

    def _print(self, exchanges: list[dict[str, Any]], left_out: int) -> None:
        for exchange in sorted(exchanges, key=lambda one: str(one["timestamp"])):
            self._write(self._line(exchange))
        if left_out > 0:
            self._write(f"… {left_out} left out")


def log_to_standard_error() -> None:
    """Lets the log of a program that is run by its own name appear as that of `pylae run`, unless it has its own."""
    if not logging.getLogger().handlers:
        stderr.without_waiting()
        stderr.to_standard_error()


@contextmanager
def shown(runtime: Runtime | None) -> Iterator[None]:
    """Says what runs, and on a terminal prints a line for each request, as long as it does.

    There is nothing to be shown of a gateway that was stopped meanwhile.
    """
    if runtime is None:
        yield
        return
    _tell(runtime)
    with _request_lines(runtime):
        yield


def _tell(runtime: Runtime) -> None:
    """Says what runs, where its secrets lie and how it is stopped; where it listens was said."""
    from pylae.units import counted

    admin, plan = runtime.admin, runtime.plan
    if admin is not None and admin.token_file is not None:
        logger.info("the token of the admin API is in %s", admin.token_file)
    logger.info("state, secrets included, is kept in %s", runtime.folder)
    what = " and ".join(counted(len(plan[key]), key) for key in ("routes", "services"))
    drain = runtime.builder.config.limits.drain_timeout.total_seconds()
    logger.info(
        "serving %s of %s; Ctrl-C or SIGTERM stops it, and lets exchanges under way finish for up to %g s",
        what, _short(str(runtime.origin)), drain,
    )  # fmt: skip


def _short(path: str) -> str:
    """A path as a person in this directory would write it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


@contextmanager
def _request_lines(runtime: Runtime) -> Iterator[None]:
    """Prints a line for each request meanwhile if standard error is a terminal, and no access log says the same there.

    `pylae.cli.stderr` has standard error written by a native thread, so that a terminal that is stopped stops nobody.
    """
    if not sys.stderr.isatty():
        yield
        return
    lines = RequestLines(runtime, _print, _line, _Wanted(runtime))
    lines.start()
    try:
        yield
    finally:
        lines.stop()


def _line(exchange: Mapping[str, Any]) -> str:
    return f"{at(exchange)}  {described(exchange)}"


def _print(text: str) -> None:
    click.echo(text, err=True, color=False if os.environ.get("NO_COLOR") else None)


class _Wanted:
    """Whether the plan in force has no access log that a person at this terminal reads already."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._plan: Mapping[str, Any] | None = None
        self._known = True

    def __call__(self) -> bool:
        plan = self._runtime.plan
        if plan is not self._plan:
            self._plan, self._known = plan, not any(map(_is_seen, _access_logs(plan)))
        return self._known


def _access_logs(plan: Mapping[str, Any]) -> Iterator[str]:
    for policies in (plan["unrouted"], *(route["policies"] for route in plan["routes"])):
        if settings := policies.get("access_log"):
            yield settings["output"]


def _is_seen(output: str) -> bool:
    descriptor = _STREAMS.get(output)
    return descriptor is not None and os.isatty(descriptor)
