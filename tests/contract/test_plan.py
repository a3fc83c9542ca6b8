"""What Python writes into a plan is what the native side reads from it."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import textwrap
from pathlib import Path
from typing import get_args

import pytest

from pylae import Gateway, engine
from pylae.config import routes as compiler
from pylae.config.models.auth import AuthConfig
from pylae.config.routes import effective_policies
from pylae.config.tables import POLICIES, policies_with
from pylae.policies import PolicySet

GOLDEN = Path(__file__).parents[1] / "golden"


def test_every_policy_of_the_native_table_has_a_model_or_is_derived() -> None:
    assert tuple(PolicySet.model_fields) == tuple(name for name in POLICIES if name not in policies_with("derived"))


def test_every_derived_policy_is_derived() -> None:
    # Hooks follow from what is registered, not from settings.
    assert set(policies_with("derived")) == {*compiler._DERIVED, "hooks"}


@pytest.mark.parametrize("role", ["unrouted", "early"])
def test_roles_are_of_policies_that_the_gateway_can_have(role: str) -> None:
    assert set(policies_with(role)) <= set(PolicySet.model_fields)
    assert policies_with(role)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_native_side_takes_the_plan(file: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN, tmp_path / "golden")
    for key in folder.rglob("*.key"):
        # Everybody can read what was checked out, which is a warning.
        key.chmod(0o600)
    assert Gateway.from_file(folder / file.name).check() == []


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_policy_is_echoed_unchanged(file: Path) -> None:
    gateway = Gateway.from_file(file)
    config = gateway.config
    plans = [route["policies"] for route in gateway.plan()["routes"][: len(config.routes)]]
    assert [set(plan) - {"hooks"} for plan in plans] == [
        set(effective_policies(route, config)) for route in config.routes
    ]
    for plan in plans:
        for name, settings in plan.items():
            assert json.loads(engine.echo_policy(name, json.dumps(settings))) == settings


def test_no_policy_lacks_a_golden_setting() -> None:
    configs = [Gateway.from_file(file).config for file in GOLDEN.glob("*.yaml")]
    set_somewhere = {
        name for config in configs for route in config.routes for name in effective_policies(route, config)
    }
    assert set(PolicySet.model_fields) - set_somewhere == set()


def test_no_authenticator_lacks_a_golden_setting() -> None:
    configs = [Gateway.from_file(file).config for file in GOLDEN.glob("*.yaml")]
    set_somewhere = {name for config in configs if config.auth for name in config.auth.model_fields_set}
    assert set_somewhere == AuthConfig.model_fields.keys()


def test_hooks_are_echoed_unchanged() -> None:
    plans = Gateway.from_file(GOLDEN / "everyday.yaml").plan()["routes"]
    (hooks,) = [plan["policies"]["hooks"] for plan in plans if "hooks" in plan["policies"]]
    assert len(hooks["calls"]) == 2
    assert json.loads(engine.echo_policy("hooks", json.dumps(hooks))) == hooks


def _examples() -> list[tuple[str, str]]:
    """Each YAML example in the docstring of a policy's model."""
    found = []
    for name, info in PolicySet.model_fields.items():
        (settings, *_) = get_args(info.annotation)
        text = inspect.cleandoc(settings.__doc__ or "")
        found += [(name, textwrap.dedent(block)) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    return found


@pytest.mark.parametrize(("name", "example"), _examples())
def test_every_example_is_echoed_unchanged(name: str, example: str, tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    whole = "routes:" in example or "policies:" in example
    file.write_text(example if whole else f"policies:\n{textwrap.indent(example, '  ')}")
    gateway = Gateway.from_file(file)
    policies = [gateway.config.policies, *gateway.config.routes]
    plans = [settings.model_dump(mode="json") for one in policies if (settings := getattr(one, name))]
    assert plans
    for plan in plans:
        assert json.loads(engine.echo_policy(name, json.dumps(plan))) == plan
