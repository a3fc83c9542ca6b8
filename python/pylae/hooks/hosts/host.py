"""A hook host: the process in which hooks run."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from pylae.engine import SWITCH_INTERVAL, NativeHookHost, pass_on_log
from pylae.hooks.loop import serve

_REPORT = 0.5
"""Seconds between two reports to the gateway."""
_LAST = 1.0
"""Most seconds that the end of a host waits for the records of the log to be passed on."""
_MOST_TEXT = 32 * 1024
"""Most characters of a record of the log."""
_PR_SET_PDEATHSIG = 1


def run(names: str, functions: list[Callable[..., Any] | None], descriptors: list[int]) -> NoReturn:
    """Serves until the gateway ends it or is gone. The first descriptor is the socket to the gateway."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    code = 1
    try:
        _Host(names, functions, socket.socket(fileno=descriptors[0]), descriptors[1:]).serve()
        code = 0
    except BaseException:
        logging.getLogger("pylae.hooks").exception("a hook host has failed")
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Host:
    def __init__(
        self, names: str, functions: list[Callable[..., Any] | None], control: socket.socket, ends: list[int]
    ) -> None:
        self._control = control
        self._answers = control.dup()
        self._answers.setblocking(False)
        logging.getLogger().handlers[:] = [_Forwarder(self._answers)]
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL))
        self._native = NativeHookHost(names, functions, ends)

    def serve(self) -> None:
        loop = threading.Thread(target=serve, args=(self._native.executor(),), name="pylae-hooks", daemon=True)
        records = threading.Thread(target=pass_on_log, args=(self._native,), name="pylae-log", daemon=True)
        report = threading.Thread(target=self._report, name="pylae-report", daemon=True)
        for thread in (loop, records, report):
            thread.start()
        _tell(self._answers, warm=True)
        self._native.serve()
        # What hooks have said last.
        records.join(_LAST)

    def _report(self) -> None:
        """Tells the gateway how the hooks are doing, and ends when it says so. If it is gone, ends at once."""
        self._control.settimeout(_REPORT)
        while True:
            try:
                if not self._control.recv(1024):
                    os._exit(1)
                break
            except TimeoutError:
                self._tell_figures()
            except OSError:
                os._exit(1)
        self._tell_figures()
        self._native.stop()

    def _tell_figures(self) -> None:
        _tell(self._answers, overdue=self._native.overdue())
        _tell(self._answers, figures=self._native.figures())


def _tell(control: socket.socket, **what: Any) -> None:
    """Tells the gateway something. If it does not take it, it is left out: nothing here may wait for that."""
    with contextlib.suppress(OSError):
        control.send(json.dumps(what).encode())


class _Forwarder(logging.Handler):
    """Sends records of the log to the gateway, whose handlers take them."""

    def __init__(self, control: socket.socket) -> None:
        super().__init__()
        self._control = control

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info:
                text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
            said = {"name": record.name, "levelno": record.levelno, "msg": text[:_MOST_TEXT]}
            extra = {key: getattr(record, key) for key in ("event", "fields") if hasattr(record, key)}
            _tell(self._control, log={**said, "created": record.created, **extra})
        except Exception:
            self.handleError(record)
