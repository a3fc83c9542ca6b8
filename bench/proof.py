"""Whether a gateway does what a scenario measures: what it has counted, and what it refuses."""

from __future__ import annotations

import http.client
import time

from bench.measure import Gateway, wait_listening
from bench.peers import Setup
from bench.processes import BenchError
from bench.scenarios import ADMIN_TOKEN

_PATIENCE = 10.0
"""Seconds that an answer may take, or a count."""
_LOOK = 0.2


def prove_refusal(setup: Setup) -> None:
    """Sends a request without what the gateway asks for: a credential, or the right document.

    Raises:
        BenchError: it is not refused as it should be.
    """
    scenario = setup.scenario
    if scenario.refused is None:
        return
    sent = ("POST", b"{}", {"Content-Type": "application/json"}) if scenario.sends else ("GET", None, {})
    status, _ = _ask(setup.port, scenario.path, *sent)
    if status != scenario.refused:
        raise BenchError(f"a request that should get {scenario.refused} got {status}: what is measured is not in force")


class Counter:
    """A metric of a gateway, from now on."""

    def __init__(self, gateway: Gateway) -> None:
        """Reads it for the first time, if the scenario has one.

        Raises:
            BenchError: the gateway does not have it.
        """
        self._gateway = gateway
        self._before = self._read()

    def prove(self, requests: int) -> None:
        """Compares what has been counted with what so many requests come to.

        Raises:
            BenchError: it is less: not every request has met what is measured.
        """
        if self._gateway.setup.scenario.counted is None:
            return
        name, each = self._gateway.setup.scenario.counted
        end = time.monotonic() + _PATIENCE
        # Spans are sent later, and hook hosts tell later what they have counted.
        while (found := self._read() - self._before) < each * requests:
            if time.monotonic() > end:
                raise BenchError(f"{name} rose by {found:.0f} over {requests} requests, less than {each:g} each")
            time.sleep(_LOOK)

    def _read(self) -> float:
        setup = self._gateway.setup
        if setup.scenario.counted is None:
            return 0.0
        # It listens a moment after the gateway does.
        wait_listening(self._gateway.process, setup.admin)
        name = setup.scenario.counted[0]
        status, page = _ask(setup.admin, "/metrics", "GET", None, {"Authorization": f"Bearer {ADMIN_TOKEN}"})
        lines = [line for line in page.decode().splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        if status != 200 or not lines:
            raise BenchError(f"/metrics answered {status}, without {name}")
        return sum(float(line.rpartition(" ")[2]) for line in lines)


def _ask(port: int, path: str, method: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError as error:
        raise BenchError(f"no answer from port {port}: {error}") from error
    finally:
        connection.close()
