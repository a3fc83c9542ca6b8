"""Nodes and revisions: gateways that answer, and one that does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from support import browser as chromium
from support.admin import Admin
from support.dashboard import Reader
from support.instance import EchoInstance
from support.running import Running, configure

pytestmark = chromium.needed


def test_a_gateway_goes_down_and_the_other_is_shown(
    admin: Callable[..., Admin],
    gateway: Callable[..., Running],
    echo: EchoInstance,
    look: Callable[..., Reader],
    tmp_path: Path,
) -> None:
    token = "a-token-of-two-gateways"
    own = {"address": "127.0.0.1:0", "token": token}
    first = admin({"admin": own}, all=echo)
    second = Admin(gateway({"admin": own, **configure(all=echo), "state": str(tmp_path / "other")}))
    reader = look(first, second, path="/nodes")
    for api in (first, second):
        told = reader.row(api.address).inner_text()
        assert ("answers" in told, api.get("/status")["revision"] in told) == (True, True)
    second.http.close()
    second.running.stop()
    assert re.search(r"since \d\d:\d\d:\d\d", reader.row(re.compile(f"{second.address}.*down")).inner_text())
    # Every page says so, and what the other gateway knows is there.
    for path in ("/", "/services", "/configuration"):
        reader.open(path)
        reader.sees(re.compile("1 of 2 gateways do not answer"))
    reader.row("services.all")
    # A gateway that is down can be looked at, and nothing breaks.
    reader.open(f"/configuration?node={second.address}")
    reader.sees(re.compile(f"^{second.address}: "))
