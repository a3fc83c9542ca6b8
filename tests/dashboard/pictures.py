"""Takes the pictures of the guide: each page, light and dark. `make screenshots` calls it; it is no test."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pylae.testing import FakeService, Reply
from support.admin import Admin
from support.dashboard import Dashboard, Reader, chromium, reading
from support.instance import EchoInstance
from support.peer import wait_until
from support.running import FromFile

PAGES = {
    "overview": "/",
    "services": "/services",
    "service": "/services?service=payments",
    "routes": "/routes",
    "exchanges": "/exchanges",
    "configuration": "/configuration?search=orders",
    "edit": "/configuration?tab=edit",
    "history": "/configuration?tab=history&entry=2",
    "consumers": "/consumers",
    "nodes": "/nodes",
    "limits": "/limits",
}
MOST = 150_000
"""Bytes of a picture."""
KEY = "a-key-of-billing"
FILE = f"""\
listeners: ["127.0.0.1:0"]
workers: 1
admin: {{address: "127.0.0.1:0", token: a-token-of-both-gateways}}
state: state
auth:
  api_key:
    consumers:
      billing: {{keys: [{hashlib.sha256(KEY.encode()).hexdigest()}], role: robot, permissions: [invoices:write]}}
      reports: {{keys: [{"ab" * 32}]}}
services:
  catalogue: {{instances: [CATALOGUE]}}
  orders: {{instances: [ORDERS]}}
  payments:
    circuit_breaker: {{failure_threshold: 5, timeout: 10m}}
    instances: [PAYMENTS]
routes:
  - {{name: catalogue, prefix: /catalogue, service: catalogue, cache: 1m, auth_required: false}}
  - {{name: orders, prefix: /orders, service: orders, auth: api_key, rate_limit: 100/hour}}
  - {{name: invoices, prefix: /invoices, service: orders, roles: accountant}}
  - {{name: payments, prefix: /payments, service: payments, auth_required: false, timeout: 2s}}
"""


@contextmanager
def shop() -> Iterator[list[Admin]]:
    """Two gateways with the same services, one of which fails, and a change that makes another one slow."""
    with ExitStack() as stack:
        catalogue, orders = (stack.enter_context(EchoInstance()) for _ in range(2))
        slow = stack.enter_context(FakeService(Reply(body=b"[]", delay=0.2)))
        payments = stack.enter_context(FakeService(Reply(status=500)))
        found = []
        for _ in range(2):
            file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "pylae.yaml"
            urls = {"CATALOGUE": catalogue.url, "ORDERS": orders.url, "PAYMENTS": payments.url}
            text = FILE
            for name, url in urls.items():
                text = text.replace(name, url)
            file.write_text(text, encoding="utf-8")
            running = FromFile(file)
            stack.callback(running.stop)
            found.append(stack.enter_context(Admin(running)))
        stack.enter_context(visitors(found))
        first = found[0]
        wait_until(lambda: len([one for one in first.get("/timeline")["gateway"]["p99"] if one]) > 2, patience=60)
        document = first.get("/config")
        document["services"]["orders"]["instances"] = [slow.url]
        document["routes"][1]["rate_limit"] = "60/hour"
        reason = {"reason": "orders move to the new machine"}
        first.http.put("/config", json=document, headers={"If-Match": "*"}, params=reason).raise_for_status()
        first.post("/tokens", name="grafana", scopes=["read"])
        first.post("/tokens", name="deploy", scopes=["configure"])
        wait_until(lambda: len(first.get("/timeline")["times"]) > 9, patience=120)
        yield found


@contextmanager
def visitors(gateways: list[Admin]) -> Iterator[None]:
    """Clients that go on asking."""
    ended = threading.Event()
    key = f"X-API-Key: {KEY}"

    def visit(api: Admin) -> None:
        number = 0
        while not ended.wait(0.1):
            number += 1
            for target in (f"/catalogue/{number % 7}", f"/payments/{number}"):
                api.running.get(target, "User-Agent: shop/1.4")
            if number % 4 == 0:
                api.running.get(f"/orders/{number}", key, "User-Agent: billing/2")
            if number % 10 == 0:
                api.running.get("/invoices/7", key, "User-Agent: billing/2")

    clients = [threading.Thread(target=visit, args=(api,), daemon=True) for api in gateways]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        ended.set()
        for client in clients:
            client.join()


def take(reader: Reader, folder: Path, token: str) -> None:
    """Takes all pictures."""
    reader.log_in(token)
    for name, path in PAGES.items():
        for theme in ("light", "dark"):
            reader.dark(theme == "dark")
            reader.open(path)
            reader.page.wait_for_load_state("networkidle")
            if name == "exchanges":
                reader.page.get_by_label("User or consumer").fill("billing")
                reader.row("403").get_by_role("button").first.click()
                reader.sees("forbidden")
            if name == "edit":
                reader.page.get_by_role("textbox").get_by_text("listeners").wait_for()
            # Charts are drawn for a moment.
            reader.page.wait_for_timeout(1500)
            file = folder / f"{name}-{theme}.png"
            reader.page.screenshot(path=file)
            if file.stat().st_size > MOST:
                raise SystemExit(f"{file} has {file.stat().st_size} bytes, more than {MOST}")


def main(folder: Path) -> None:
    """Takes the pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        os.environ["XDG_STATE_HOME"] = stack.enter_context(tempfile.TemporaryDirectory())
        gateways = stack.enter_context(shop())
        dashboard = stack.enter_context(Dashboard(*(api.address for api in gateways)))
        browser: Any = stack.enter_context(chromium())
        options = {"viewport": {"width": 1200, "height": 740}, "reduced_motion": "reduce"}
        reader = stack.enter_context(reading(browser, dashboard.url, **options))
        take(reader, folder, gateways[0].token)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
