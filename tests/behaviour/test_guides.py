"""What the guides tell people to write works when they write it."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import pylae
from pylae import Gateway
from pylae.config.models.config import Config
from pylae.config.models.service import Service
from support.guides import GUIDES, write
from support.tls import Authority


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(pylae.__file__).parents[1]), str(folder / "installed")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_plugin_of_the_tutorial(tmp_path: Path) -> None:
    names = write("plugins.md", tmp_path)
    assert names == ["business_hours.py", "pylae.yaml", "test_business_hours.py", "pyproject.toml"]
    checked = run(tmp_path, "pylae", "check", "pylae.yaml")
    assert checked.returncode == 0, checked.stderr
    tested = run(tmp_path, "pytest", "-q", "-p", "pylae.testing.plugin", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "3 passed" in tested.stdout


def test_the_plugin_of_the_tutorial_by_name(tmp_path: Path) -> None:
    """As pip leaves it when it has installed the package."""
    write("plugins.md", tmp_path)
    points = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["entry-points"]["pylae.plugins"]
    installed = tmp_path / "installed" / "pylae_business_hours-1.0.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: pylae-business-hours\nVersion: 1.0.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (installed / "entry_points.txt").write_text(f"[pylae.plugins]\n{lines}")
    (tmp_path / "business_hours.py").rename(tmp_path / "installed" / "business_hours.py")
    (tmp_path / "by_name.yaml").write_text("plugins:\n  - {use: business-hours, settings: {closes: 20}}\n")
    checked = run(tmp_path, "pylae", "check", "by_name.yaml")
    assert checked.returncode == 0, checked.stderr
    (tmp_path / "by_name.yaml").write_text("plugins:\n  - {use: busyness-hours}\n")
    refused = run(tmp_path, "pylae", "check", "by_name.yaml")
    assert refused.returncode != 0
    assert "business-hours" in refused.stderr


_FENCED = re.compile(r"^```(?P<kind>yaml|python)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_REFERENCE = re.compile(r"\$\{(file:)?([^}:]+)\}")
FOREIGN = ("# prometheus.yml\n", "# a container of Kubernetes")
"""How blocks begin that are for other programs."""
FILES = {
    "ada.hash": "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI",
    "order.schema.json": "{}",
}
MODULES = {
    "shop/__init__.py": "",
    "shop/hooks.py": (
        "def check(request): ...\ndef brand(request, response): ...\nasync def timing(request, call_next): ...\n"
    ),
    "shop/plugins.py": (
        "from pylae import Plugin\nfrom pylae.settings import Settings\n"
        "class Audit(Plugin):\n    def on_response(self, request, response): ...\n"
        "class Signing(Plugin):\n"
        "    class Settings(Settings):\n        secret: str\n"
        "    def on_request(self, request): ...\n"
    ),
    "shop-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: shop\nVersion: 1\n",
    "shop-1.dist-info/entry_points.txt": (
        "[pylae.plugins]\nrequest_signing = shop.plugins:Signing\nbusiness-hours = business_hours:BusinessHours\n"
    ),
}
"""What the guides take for granted."""


def blocks(kind: str) -> list[Any]:
    """The fenced blocks of the README and all guides."""
    found = []
    for file in (*sorted(GUIDES.glob("*.md")), GUIDES.parents[1] / "README.md"):
        text = file.read_text(encoding="utf-8")
        for block in _FENCED.finditer(text):
            line = text.count("\n", 0, block.start()) + 1
            if block["kind"] == kind and not block["text"].startswith(FOREIGN):
                found.append(pytest.param(block["text"], id=f"{file.name}:{line}"))
    return found


def completed(given: Any) -> dict[str, Any]:
    """A part of a configuration with what the rest of its page is about: services, and who vouches for users."""
    if isinstance(given, list):
        given = {"routes": given}
    if isinstance(given, dict) and not given.keys() & Config.model_fields.keys():
        known = given.keys() <= Service.model_fields.keys()
        # Or a file that lists instances.
        given = {
            "services": {"one": given}
            if known
            else {name: {"instances": each or ["http://a"]} for name, each in given.items()}
        }
    routes = given.get("routes", ())
    auth = {"auth": {"jwt": {"secret": "x" * 40}}} if routes else {}
    services = {route["service"]: {"instances": ["http://127.0.0.1:9001"]} for route in routes if "service" in route}
    named = {name for entry in (*given.get("hooks", ()), *given.get("plugins", ())) if (name := entry.get("routes"))}
    more = [{"name": name, "path": f"/{name}", "static_response": "", "auth_required": False} for name in sorted(named)]
    return {**auth, **given, "services": {**services, **given.get("services", {})}, "routes": [*routes, *more]}


def provide(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a configuration refers to: variables, files, certificates, modules."""
    for in_file, name in _REFERENCE.findall(text):
        if in_file:
            (folder / name).write_text(FILES[name])
        else:
            monkeypatch.setenv(name, "0" * 64)
    for name, content in MODULES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    write("plugins.md", folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    for name in ("shop", "shop.hooks", "shop.plugins", "business_hours"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    authority = Authority(folder)

    def certify(value: Any) -> None:
        if isinstance(value, dict) and {"cert", "key"} <= value.keys():
            issued = authority.issue("issued", "gateway.test")
            for kind in ("cert", "key"):
                (folder / value[kind]).parent.mkdir(exist_ok=True)
                (folder / value[kind]).write_bytes(Path(issued[kind]).read_bytes())
                (folder / value[kind]).chmod(0o600)
        if isinstance(value, dict) and "ca" in value:
            (folder / value["ca"]).parent.mkdir(exist_ok=True)
            (folder / value["ca"]).write_bytes(authority.file.read_bytes())
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            certify(each)

    certify(yaml.safe_load(text))


@pytest.mark.parametrize("text", blocks("yaml"))
def test_configurations(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole ones (with services and routes) as they stand, and without a warning."""
    provide(text, tmp_path, monkeypatch)
    given = yaml.safe_load(text)
    whole = isinstance(given, dict) and {"services", "routes"} <= given.keys()
    file = tmp_path / "pylae.yaml"
    file.write_text(text if whole else yaml.safe_dump(completed(given)))
    warnings = Gateway.from_file(file).check()
    assert warnings == [] or not whole


@pytest.mark.parametrize("text", blocks("python"))
def test_programs(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole ones (that call `gateway.run()`) as they stand; of others at least what they import is there."""
    if "gateway.run()" in text:
        # For those that begin with a file.
        (tmp_path / "pylae.yaml").write_text(yaml.safe_dump(completed([{"prefix": "/", "service": "all"}])))
        monkeypatch.chdir(tmp_path)
        program = tmp_path / "gateway.py"
        program.write_text(text)
        assert Gateway.from_file(program).check() == []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "pylae":
            module = importlib.import_module(node.module)
            assert [name.name for name in node.names if not _has(module, name.name)] == []


def _has(module: ModuleType, name: str) -> bool:
    """Whether `from module import name` would do: a name of it, or a module below it."""
    return hasattr(module, name) or importlib.util.find_spec(f"{module.__name__}.{name}") is not None


def test_what_escapes_is_little() -> None:
    assert len(blocks("yaml")) >= 20
    assert len(blocks("python")) >= 20
