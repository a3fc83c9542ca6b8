"""`deploy/cluster`: units, containers, secrets and the store's configuration, and whether they fit together."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pylae import Gateway
from pylae.config.models.config import Limits
from pylae.units import parse_duration
from support.instance import EchoInstance
from support.peer import wait_until
from support.recipe import RECIPE, RecipeStore, make_secrets, variables
from support.units import analyze, settings

ROOT = Path(__file__).parents[2]
ALONE = ROOT / "deploy/systemd/pylae.service"
NODES = ("gateway-1", "gateway-2", "gateway-3")
EXPOSED = 20
"""As for the unit of one gateway."""
OURS = {"Description", "After", "Environment", "EnvironmentFile", "StateDirectory", "LogsDirectory"}
"""Keys in which a node differs from a gateway alone."""


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder with what `make-secrets` has made."""
    return make_secrets(tmp_path / "secrets")


@pytest.fixture
def store(secrets: Path) -> Iterator[RecipeStore]:
    """The store of the recipe."""
    with RecipeStore(secrets) as running:
        yield running


def compose() -> dict[str, Any]:
    """The recipe for containers, merged."""
    document: dict[str, Any] = yaml.safe_load((RECIPE / "compose.yaml").read_text())
    return document


@pytest.mark.parametrize("name", ["pylae@.service", "pylae-store.service"])
def test_systemd_understands_the_units(tmp_path: Path, name: str) -> None:
    unit = tmp_path / name.replace("@", "@1")
    unit.write_text(
        re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", (RECIPE / name).read_text(), flags=re.MULTILINE)
    )
    assert unit.name not in analyze("verify", str(unit))
    analyze("security", "--offline=true", f"--threshold={EXPOSED}", str(unit))


def test_a_node_is_confined_like_a_gateway_alone() -> None:
    node, alone = settings(RECIPE / "pylae@.service"), settings(ALONE)
    assert {key: value for key, value in node.items() if key not in OURS} == {
        key: value for key, value in alone.items() if key not in OURS
    }
    assert {node[key] for key in ("StateDirectory", "LogsDirectory")} == {"pylae/%i"}


def ways() -> dict[str, dict[str, str]]:
    """What each node is given, apart from secrets."""
    services = compose()["services"]
    unit = variables(RECIPE / "node-1.env") | {"NODE": "host-1"}
    return {"pylae@1.service": unit, **{name: services[name]["environment"] for name in NODES}}


@pytest.mark.parametrize("name", ways())
def test_a_node_has_what_the_configuration_takes(name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (variables(secrets / "cluster.env") | ways()[name]).items():
        monkeypatch.setenv(key, value)
    gateway = Gateway.from_file(RECIPE / "pylae.yaml")
    assert gateway.check() == []
    assert gateway.config.cluster is not None
    assert gateway.config.cluster.node == ways()[name]["NODE"]


def test_nodes_have_different_names() -> None:
    assert len({given["NODE"] for given in ways().values()}) == len(ways())
    assert settings(RECIPE / "pylae@.service")["Environment"] == "NODE=%H-%i"


def test_containers_have_bounds_and_time() -> None:
    services = compose()["services"]
    for name in NODES:
        gateway = services[name]
        assert gateway["depends_on"] == {"store": {"condition": "service_healthy"}}
        assert gateway["networks"]["default"]["aliases"] == ["gateway"]
        assert gateway["mem_limit"]
        assert parse_duration(gateway["stop_grace_period"]) > Limits().drain_timeout + parse_duration("2s")
    store = services["store"]
    most = re.search(r"^maxmemory (\w+)$", (RECIPE / "store.conf").read_text(), re.MULTILINE)
    assert most
    assert _bytes(store["mem_limit"]) >= 2 * _bytes(most[1])
    assert _bytes(settings(RECIPE / "pylae-store.service")["MemoryMax"]) >= 2 * _bytes(most[1])
    assert "ports" not in store


def _bytes(text: str) -> int:
    """A size as containers, systemd and Valkey write it."""
    number, unit = re.fullmatch(r"(\d+)([mg])b?", text.lower()).groups()  # type: ignore[union-attr]
    return int(number) * {"m": 2**20, "g": 2**30}[unit]


def test_secrets_are_made_once_and_the_store_has_a_hash_only(secrets: Path) -> None:
    made = variables(secrets / "cluster.env")
    assert {len(value) for value in made.values()} == {64}
    assert (secrets / "cluster.env").stat().st_mode & 0o777 == 0o600
    acl = (secrets / "store.acl").read_text()
    assert made["STORE_PASSWORD"] not in acl
    assert f"#{hashlib.sha256(made['STORE_PASSWORD'].encode()).hexdigest()} " in acl
    again = subprocess.run(
        [RECIPE / "make-secrets"], cwd=secrets, capture_output=True, text=True, timeout=60, check=False
    )
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert variables(secrets / "cluster.env") == made


def test_the_store_is_healthy_and_closed_to_others(store: RecipeStore) -> None:
    """The health check of the container looks for this answer."""
    assert store.say("PING", known=False).startswith("-NOAUTH")
    assert "NOAUTH" in compose()["services"]["store"]["healthcheck"]["test"][1]


def test_a_node_works_with_it(
    secrets: Path, store: RecipeStore, echo: EchoInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration, the password and the user, with a real gateway."""
    for name, value in variables(secrets / "cluster.env").items():
        monkeypatch.setenv(name, value)
    given = {"NODE": "one", "STORE": store.url, "USERS": echo.url, "LISTEN": "127.0.0.1:0"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ADMIN", "127.0.0.1:0")
    shutil.copy(RECIPE / "pylae.yaml", tmp_path)
    gateway = Gateway.from_file(tmp_path / "pylae.yaml")
    gateway.start()
    try:
        wait_until(lambda: store.say("ZCARD", "pylae:{shop}:nodes") == ":1")
    finally:
        gateway.stop()
