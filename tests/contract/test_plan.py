"""What Python writes into a plan is what the native side reads from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pylae import Gateway, engine
from pylae.config.plan import compile_plan, effective_policies
from pylae.policies import POLICIES

GOLDEN = Path(__file__).parents[1] / "golden"


def test_both_sides_have_the_same_policies_in_the_same_order() -> None:
    assert engine.POLICIES == POLICIES


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_native_side_takes_the_plan(file: Path) -> None:
    assert Gateway.from_file(file).check() == []


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_policy_is_echoed_unchanged(file: Path) -> None:
    config = Gateway.from_file(file).config
    plans = [route["policies"] for route in compile_plan(config)["routes"]]
    assert [set(plan) for plan in plans] == [set(effective_policies(route, config)) for route in config.routes]
    for plan in plans:
        for name, settings in plan.items():
            assert json.loads(engine.echo_policy(name, json.dumps(settings))) == settings
