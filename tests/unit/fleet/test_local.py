"""What belongs to a node, and what to all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pylae import Gateway
from pylae.cli import main
from pylae.config.checks.local import KEYS
from pylae.errors import ConfigError, EngineError
from pylae.fleet import copies
from pylae.settings import Config

NODE = "store: etcd://127.0.0.1:1\nlisteners: ['127.0.0.1:0']\nstate: state\nworkers: 1\n"


def test_the_file_of_a_node_has_only_its_own(tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(NODE)
    assert CliRunner().invoke(main, ["check", str(file)]).exit_code == 0
    file.write_text(f"{NODE}via: false\nroutes: []\n")
    checked = CliRunner().invoke(main, ["check", str(file)])
    assert checked.exit_code == 1
    assert f"{file}:5:6: via: comes from the store, for all nodes" in checked.output
    assert f"{file}:6:9: routes: comes from the store" in checked.output
    assert "pylae apply FILE" in checked.output


def test_a_program_has_only_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"test_local.py:\d+: services: comes from the store"):
        Gateway(store="etcd://127.0.0.1:1", services={}).plan()
    gateway = Gateway(store="etcd://127.0.0.1:1", state=str(tmp_path), listeners=["127.0.0.1:0"])
    assert gateway.plan()["routes"] == []


def test_each_local_key_is_a_setting() -> None:
    assert set(KEYS) < Config.model_fields.keys()


def test_a_store_that_is_not_there_and_no_copy(tmp_path: Path) -> None:
    gateway = Gateway(store="etcd://127.0.0.1:1", state=str(tmp_path), listeners=["127.0.0.1:0"], workers=1)
    with pytest.raises(EngineError, match=r"127.0.0.1:1 cannot be reached .* no last good copy in .* to start with"):
        gateway.start()


def test_a_copy_outlives_a_restart_but_not_another_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert copies.kept(tmp_path, "etcd://a/pylae") is None
    copies.keep(tmp_path, "etcd://a/pylae", 7, {"routes": []})
    found = copies.kept(tmp_path, "etcd://a/pylae")
    assert found is not None and (found.number, found.document) == (7, {"routes": []})
    assert copies.kept(tmp_path, "etcd://b/pylae") is None
    assert "is of another store" in caplog.text
    copies.drop(tmp_path)
    assert copies.kept(tmp_path, "etcd://a/pylae") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "number": "7", "store": "s"}'])
def test_a_damaged_copy_is_not_used(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / copies.NAME).write_text(text)
    assert copies.kept(tmp_path, "s") is None
    assert "cannot be used: it is damaged" in caplog.text
