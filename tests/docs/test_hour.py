"""The first hour of somebody who has a service in FastAPI: the README, first steps, and the guides beside them.

Files and hooks are those of the pages, so that it is the pages that work, in the order in which one needs them.
"""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from support.pages.blocks import ROOT, blocks
from support.pages.sandbox import LISTENER, Sandbox
from support.programs import program
from support.terminal import Terminal

GUIDE = ROOT / "docs" / "guide"


def shown(page: Path, words: str) -> str:
    """The block of a page that has these words."""
    (block,) = (block for block in blocks(page) if words in block.text and "gateway.run()" not in block.text)
    return block.text


def changed(file: Path, old: str, new: str) -> None:
    """Saves a file with a change, as editors do it: whole."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    beside = file.with_suffix(".part")
    beside.write_text(text.replace(old, new), encoding="utf-8")
    beside.replace(file)


def demonstrated(sandbox: Sandbox) -> None:
    """The demo, and the first of the commands that it tells to paste in another terminal."""
    program("curl")
    said = sandbox.start("pylae demo")
    exports = "".join(f"{line}\n" for line in said.splitlines() if line.startswith("export "))
    first = re.search(r"^  1\. .*\n +(.*)$", said, re.MULTILINE)
    assert first, said
    assert '"id":1' in sandbox.finish(f"{exports}{first[1]}").replace(" ", "")


@pytest.mark.timeout(180)
def test_from_an_empty_folder_to_a_gateway_that_is_reloaded(tmp_path: Path) -> None:
    with Sandbox(tmp_path) as sandbox:
        demonstrated(sandbox)
        (tmp_path / "shop.py").write_text(shown(GUIDE / "addresses.md", "def items()"))
        sandbox.start("uvicorn shop:app --port 9001")

        sandbox.finish("pylae new gateway edge --python")
        sandbox.finish("cd edge")
        gateway = tmp_path / "edge" / "gateway.py"
        assert "ok gateway.py: 1 route, 1 service" in sandbox.finish("pylae check")
        assert "4 passed" in sandbox.finish("python -m pytest -q")
        assert "Route api" in sandbox.finish("pylae explain GET /api/items")

        running(sandbox)
        with_a_test(sandbox)
        terminal = sandbox.gateway
        hooked(terminal, gateway, sandbox.url)
        mistaken(terminal, gateway, sandbox)
        assert f"listening on {LISTENER}" not in terminal.text


def running(sandbox: Sandbox) -> None:
    """The gateway in front of the service, whose redirect comes out right once the prefix is told."""
    gateway = sandbox.directory / "gateway.py"
    changed(gateway, '# strip_prefix="/api",', 'strip_prefix="/api",')
    sandbox.start("pylae run")
    answer = httpx.get(f"{sandbox.url}/api/items", follow_redirects=True)
    assert (answer.status_code, answer.json()) == (200, ["cup", "plate"])
    assert answer.url == f"{sandbox.url}/api/items/"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    sandbox.gateway.read_until(r"200 .* GET /api/items/  api → api → http://")
    for command, words in (
        ("pylae status", "healthy"),
        ("pylae routes", "/api"),
        ("pylae reload", "revision"),
        ("pylae top", "SERVICE"),
    ):
        assert words in sandbox.finish(command)


def with_a_test(sandbox: Sandbox) -> None:
    """A test of the guide: the application itself behind the gateway, in one process."""
    text = shown(GUIDE / "testing.md", "pylae_service(app)")
    for old, new in (
        ("gateway.yaml", "gateway.py"),
        ("orders=service", "api=service"),
        ("/api/orders/7", "/api/items/"),
        (', user="42")', ")"),
        ('    assert service.requests[0].headers["X-User-ID"] == "42"\n', ""),
    ):
        assert old in text
        text = text.replace(old, new)
    (sandbox.directory / "test_shop.py").write_text(
        f"import sys\nsys.path.insert(0, '..')\nfrom shop import app\n\n\n{text}", encoding="utf-8"
    )
    assert "1 passed" in sandbox.finish("python -m pytest -q test_shop.py")


def hooked(terminal: Terminal, gateway: Path, url: str) -> None:
    """Hooks of the guide are added while it runs, and are in force without a restart."""
    text = shown(GUIDE / "hooks.md", "def tenant(")
    changed(gateway, "gateway.run()", f"{text}\n\ngateway.run()")
    # Once it was applied already, by `pylae reload`.
    terminal.read_until(r"(?s)(configuration applied.*?){2}")
    refused = httpx.get(f"{url}/items/")
    assert (refused.status_code, refused.json()["detail"]) == (400, "which tenant?")
    assert refused.headers["X-Gateway"] == "pylae"
    assert httpx.get(f"{url}/items/", headers={"X-Tenant": "api"}).json() == ["cup", "plate"]


def mistaken(terminal: Terminal, gateway: Path, sandbox: Sandbox) -> None:
    """A bad change is refused with its place, and what was in force stays."""
    good = gateway.read_text(encoding="utf-8")
    changed(gateway, 'service="api",', 'servce="api",')
    terminal.read_until(r"gateway\.py:\d+.*`servce` \(did you mean `service`\?\)")
    assert httpx.get(f"{sandbox.url}/items/", headers={"X-Tenant": "api"}).status_code == 200
    changed(gateway, gateway.read_text(encoding="utf-8"), good)
    assert "ok gateway.py" in sandbox.finish("pylae check")
