"""What happens to a gateway that runs: signals, files that change, the end."""

from __future__ import annotations

import logging
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pylae.config.watch import Watch
from pylae.errors import ConfigError, EngineError
from pylae.memory import give_back

if TYPE_CHECKING:
    from pylae.gateway import Gateway

log = logging.getLogger("pylae")

LOOK = 0.5
"""Seconds between two looks at the files of the configuration."""


def serve(gateway: Gateway, events: queue.SimpleQueue[str]) -> None:
    """Does what the events say, and reads files again that have changed, until the event `stopped`."""
    # What the first configuration was read with.
    give_back()
    followed = gateway.followed
    watch, stopping = Watch(followed), False
    while True:
        try:
            event = events.get(timeout=LOOK)
        except queue.Empty:
            event = "look"
        if followed != gateway.followed:
            # Another configuration was applied from elsewhere.
            watch.follow(followed := gateway.followed)
        if event == "stopped":
            return
        if event == "stop" and stopping:
            log.warning("stopping at once")
            gateway.stop(drain=False)
        elif event == "stop":
            stopping = True
            log.info("stopping; exchanges in flight may finish")
            # On a thread, because this one must hear a second signal.
            threading.Thread(target=gateway.stop, name="pylae-stop", daemon=True).start()
        elif not stopping and event == "reload":
            _try(gateway, watch, gateway.read_file)
        elif not stopping and followed and watch.changed():
            _try(gateway, watch, gateway.read_again)


def _try(gateway: Gateway, watch: Watch, read: Callable[[], None]) -> None:
    try:
        read()
        watch.follow(gateway.followed)
    except ConfigError as error:
        log.error("the configuration was not applied, the old one stays in force:\n%s", error)
        watch.follow({**gateway.followed, **error.files})
    except EngineError as error:
        log.error("the configuration was not applied, the old one stays in force: %s", error)
        watch.follow(gateway.followed)
    except Exception:
        # A fault in reading must not end what is serving.
        log.exception("the configuration was not applied, the old one stays in force")
        watch.follow(gateway.followed)
    give_back()


@contextmanager
def signals(events: queue.SimpleQueue[str]) -> Iterator[None]:
    """Turns signals into events; only the main thread can."""
    wanted = {"SIGTERM": "stop", "SIGINT": "stop", "SIGHUP": "reload"}
    if threading.current_thread() is not threading.main_thread():
        wanted = {}
    before = {
        number: signal.signal(number, lambda *_, event=event: events.put(event))
        for name, event in wanted.items()
        if (number := getattr(signal, name, None)) is not None
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
