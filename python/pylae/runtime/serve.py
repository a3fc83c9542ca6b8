"""Handles what happens to a running gateway: signals, changed files, the end."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pylae.config.watch import Watch
from pylae.errors import ConfigError, EngineError
from pylae.history.entry import Cause
from pylae.runtime.memory import give_back, keep_apart

if TYPE_CHECKING:
    from pylae.engine import NativeSignals
    from pylae.runtime.runtime import Runtime

log = logging.getLogger("pylae.config")

LOOK = 0.5
"""Seconds between two looks at the files of the configuration."""
HANDLED = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""Signals that a gateway handles, as `docs/guide/service.md` says."""


def serve(runtime: Runtime, events: NativeSignals) -> None:
    """Handles events and reloads changed files until the event `stopped`.

    On a signal to stop, the data plane stops by itself; this does the rest.
    """
    keep_apart()
    # What the first configuration was read with.
    give_back()
    followed = runtime.builder.followed
    watch, stopping = Watch(followed), False
    while True:
        event = events.wait(LOOK)
        if followed != runtime.builder.followed:
            # Another configuration was applied from elsewhere.
            watch.follow(followed := runtime.builder.followed)
        if event == "stopped":
            return
        if event == "stop_at_once":
            log.warning("stopping at once")
            runtime.stop(drain=False)
        elif event == "stop":
            stopping = True
            log.info("stopping; exchanges in flight may finish")
            # On a thread, because this one must hear a second signal.
            threading.Thread(target=runtime.stop, name="pylae-stop", daemon=True).start()
        elif event == "upgrade":
            log.warning("SIGUSR2 is for an upgrade, which this version does not have: start another gateway instead")
        elif not stopping and event == "reload":
            _try(runtime, watch, lambda: runtime.read_file(Cause("signal", "signal")))
        elif not stopping and followed and watch.changed():
            _try(runtime, watch, lambda: runtime.read_again(Cause("file", "file")))


def _try(runtime: Runtime, watch: Watch, read: Callable[[], None]) -> None:
    try:
        read()
        watch.follow(runtime.builder.followed)
    except ConfigError as error:
        log.error("the configuration was not applied, the old one stays in force:\n%s", error)
        watch.follow({**runtime.builder.followed, **error.files})
    except EngineError as error:
        log.error("the configuration was not applied, the old one stays in force: %s", error)
        watch.pass_over()
    except Exception:
        # A fault in reading must not end what is serving.
        log.exception("the configuration was not applied, the old one stays in force")
        watch.pass_over()
    give_back()


@contextmanager
def signals(events: NativeSignals) -> Iterator[None]:
    """Lets a native thread handle signals, so that they work while no Python code can run.

    Python's own handlers do nothing but write to its socket. Only the main thread can set them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for name in HANDLED if (number := getattr(signal, name, None)) is not None]
    before = {number: signal.signal(number, _ignore) for number in numbers}
    descriptor = signal.set_wakeup_fd(events.fileno(), warn_on_full_buffer=False)
    _handling.extend(numbers)
    try:
        yield
    finally:
        _handling.clear()
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)


_handling: list[int] = []
"""Signals that are being handled."""


def _ignore(*_: object) -> None:
    """Does nothing: the native thread handles the signal."""


def _forget() -> None:
    """Restores the signals in a child that a hook has forked."""
    if _handling:
        signal.set_wakeup_fd(-1)
        for number in _handling:
            signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget)
