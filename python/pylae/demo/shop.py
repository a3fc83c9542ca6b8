"""Starts and stops the services of the shop as processes."""

from __future__ import annotations

import http.client
import io
import json
import os
import queue
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from pylae.demo.server import DIRECTORY_PREFIX

#: Instance, module, and the variable of the configuration that takes its address. A later wave is told the addresses
#: of the earlier ones.
WAVES = (
    (
        ("users-1", "users", "USERS_1_URL"),
        ("users-2", "users", "USERS_2_URL"),
        ("payments", "payments", "PAYMENTS_URL"),
        ("notifications", "notifications", "NOTIFICATIONS_URL"),
    ),
    (("orders", "orders", "ORDERS_URL"),),
)
#: What starts with the first wave if the shop has a login.
PROVIDER = ("provider", "provider", "PROVIDER_URL")
START_TIMEOUT = 30.0
STOP_TIMEOUT = 3.0

Record = dict[str, Any]


class ShopError(Exception):
    """A service did not start, or ended unexpectedly."""


class Shop:
    """The running services. Use it as a context manager; leaving it stops them and removes their databases.

    Each service has a thread that calls `on_record` with every request that the service answered, and with
    `{"instance": …, "ended": code}` if the service ends unexpectedly.
    """

    def __init__(self, on_record: Callable[[Record], None], *, login: bool = False) -> None:
        """`login` starts a provider of logins too, which needs its package."""
        self.directory = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX))
        self.addresses: dict[str, str] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._on_record = on_record
        self._waves = ((*WAVES[0], PROVIDER), *WAVES[1:]) if login else WAVES
        self._stopping = False
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        try:
            for wave in self._waves:
                self._start(wave)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def configuration(self) -> Path:
        """The file that `configure` writes."""
        return self.directory / "pylae.yaml"

    def configure(self, values: Mapping[str, str], more: str = "", authenticator: str = "") -> None:
        """Writes the configuration of a gateway in front of the services, an authenticator before the one that it has,
        and `more` at its end.

        It has the addresses of this run and `values`, so that it can be read, edited and explained.
        """
        known = {"JWT_SECRET": secrets.token_urlsafe(48), **self.addresses, **values}
        text = files("pylae.demo").joinpath("pylae.yaml").read_text(encoding="utf-8")
        filled_in = re.sub(r"\$\{(\w+)(?::-[^}]*)?\}", lambda found: known[found[1]], text)
        known_to = filled_in.replace("auth:\n", f"auth:\n{authenticator}", 1)
        self.configuration.write_text(known_to + more, encoding="utf-8")

    def stop(self) -> None:
        """Stops every service and removes the directory."""
        self._stopping = True
        for process in self.processes.values():
            if process.stdin:
                process.stdin.close()
        for process in self.processes.values():
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for reader in self._readers:
            reader.join()
        for process in self.processes.values():
            if process.stdout:
                process.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self, wave: tuple[tuple[str, str, str], ...]) -> None:
        waiting = [(instance, variable, self._spawn(instance, module)) for instance, module, variable in wave]
        for instance, variable, told in waiting:
            try:
                first = told.get(timeout=START_TIMEOUT)
            except queue.Empty:
                raise ShopError(f"the service {instance} did not start within {START_TIMEOUT:.0f} seconds") from None
            if first is None:
                raise ShopError(f"the service {instance} ended with code {self.processes[instance].wait()}")
            self.addresses[variable] = first["listening"]
            self._ask_health(instance, first["listening"])

    def _spawn(self, instance: str, module: str) -> queue.SimpleQueue[Record | None]:
        command = [sys.executable, "-m", f"pylae.demo.{module}", "--instance", instance, "--directory"]
        process = subprocess.Popen(  # noqa: S603 (our own modules)
            [*command, str(self.directory)],
            stdin=subprocess.PIPE,  # its end is how the service learns of ours, however we end
            stdout=subprocess.PIPE,
            env={**os.environ, **self.addresses},
            start_new_session=True,  # Ctrl-C is for the demo, which then closes the pipes
        )
        self.processes[instance] = process
        told: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        reader = threading.Thread(target=self._read, args=(instance, process, told), daemon=True)
        reader.start()
        self._readers.append(reader)
        return told

    def _read(self, instance: str, process: subprocess.Popen[bytes], told: queue.SimpleQueue[Record | None]) -> None:
        output = process.stdout or io.BytesIO()  # the pipe of `_spawn`
        first = output.readline()
        told.put(json.loads(first) if first else None)
        for line in output:
            self._on_record(json.loads(line))
        if first and not self._stopping:
            self._on_record({"instance": instance, "ended": process.wait()})

    def _ask_health(self, instance: str, url: str) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=START_TIMEOUT)
        try:
            connection.request("GET", "/health")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise ShopError(f"the service {instance} does not answer at {url}: {error}") from error
        finally:
            connection.close()
        if status != 200:
            raise ShopError(f"the service {instance} answers {status} at {url}/health")
