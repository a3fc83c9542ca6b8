"""A large configuration that comes over the admin API costs little more memory than its text, and gives it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from support.instance import EchoInstance
from support.peer import wait_until
from support.running import Process

SIZE = 4 * 2**20
MOST = 20
"""How many times its size a body may cost."""


def repeated(item: str) -> str:
    return ",".join([item] * (SIZE // (len(item) + 1)))


def routes() -> str:
    route = {"paht": "/x", "service": "all", "auth_required": False, "timeout": "5s"}
    count = SIZE // (len(json.dumps(route)) + 22)
    return ",".join(json.dumps({"name": f"route-{index}", **route}) for index in range(count))


BODIES = {
    "numbers": lambda: f'{{"plugins": [{{"use": "x", "settings": {{"a": [{repeated("0")}]}}}}]}}',
    "lists": lambda: f'{{"plugins": [{{"use": "x", "settings": {{"a": [{repeated("[0]")}]}}}}]}}',
    "mappings": lambda: f'{{"plugins": [{{"use": "x", "settings": {{"a": [{repeated(json.dumps({"a": 0}))}]}}}}]}}',
    "errors": lambda: f'{{"routes": [{",".join(["0"] * 390_000)}]}}',
    "errors in texts": lambda: f'{{"trusted_proxies": [{",".join([json.dumps("abcdefgh")] * 390_000)}]}}',
    "errors in routes": lambda: f'{{"routes": [{routes()}]}}',
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", BODIES)
def test_a_body_that_is_refused(
    gateway_process: Callable[..., Process], echo: EchoInstance, tmp_path: Path, kind: str
) -> None:
    body = BODIES[kind]().ljust(SIZE).encode()
    process = gateway_process({"admin": "127.0.0.1:0", "state": str(tmp_path / "state")}, all=echo)
    address = process.read_until("admin API on").split()[-1]
    token = (tmp_path / "state" / "admin-token").read_text().strip()
    fields = {"Authorization": f"Bearer {token}", "If-Match": "*"}
    with httpx.Client(base_url=f"http://{address}", headers=fields, timeout=200, verify=False) as http:
        # What every first configuration takes is there then.
        assert http.put("/config", content=http.get("/config").content).status_code == 200
        before = process.memory
        answer = http.put("/config", content=body)
        assert answer.status_code == 422, answer.text[:1000]
        assert len(answer.json()["problems"]) <= 1001
        assert process.peak_memory - before < MOST * len(body)
        wait_until(lambda: process.memory - before < 8 * len(body))
