"""Nodes that share a store: what each has in force, and a roll-out that is begun, watched and cancelled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support import browser as chromium
from support.dashboard import Dashboard, reading
from support.dashboard import chromium as browsing
from support.fleet import Node, Shop, fleet, shop
from support.stores import Engine, Etcd

pytestmark = [*chromium.needed, pytest.mark.long, pytest.mark.timeout(300)]

TOKEN = "a-token-of-all-nodes"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A store in etcd, with a schema."""
    with Etcd() as server:
        found = Engine("etcd", server.settings(), tmp_path, server)
        with found.connect() as store:
            store.migrate()
        yield found


@pytest.fixture
def services() -> Iterator[Shop]:
    with shop() as running:
        yield running


def address(node: Node) -> str:
    """Where its admin API listens."""
    return node.said("admin API on").split()[-1]


def test_a_roll_out_is_begun_watched_and_cancelled(engine: Engine, services: Shop, tmp_path: Path) -> None:
    own = {"admin": {"address": "127.0.0.1:0", "token": TOKEN}}
    with fleet(engine, tmp_path, 2, **own) as nodes:
        done = nodes[0].apply(services.config("one"), "--wait", "--reason", "the first one")
        assert done.exit_code == 0, done.output
        for node in nodes:
            node.has(1)
        with (
            Dashboard(*map(address, nodes)) as dashboard,
            browsing() as browser,
            reading(browser, dashboard.url) as reader,
        ):
            reader.log_in(TOKEN, "/nodes")
            reader.sees("All should have entry 1 of the history.")
            for node in nodes:
                assert "lives" in reader.row(node.me["name"]).inner_text()
            # Another configuration, which is observed for a while.
            reader.open("/configuration?tab=edit")
            reader.page.get_by_role("textbox", name=re.compile("the configuration")).click()
            reader.press("Control+a")
            reader.page.keyboard.insert_text(yaml.safe_dump(services.config("two", observe="5m"), sort_keys=False))
            reader.click("button", "Check")
            reader.sees(re.compile("It can be used"))
            reader.page.get_by_label("Why, for the history").fill("the second one")
            reader.click("button", "Apply")
            reader.sees("Roll-out 2 has begun.")
            reader.click("link", "Watch it")
            rollout = reader.page.get_by_role("region", name="Roll-out")
            reader.sees(re.compile("by admin: the second one"), within=rollout)
            reader.sees("the first node is observed", within=rollout)
            reader.click("button", "Cancel roll-out", within=rollout)
            reader.sees("cancelled", within=rollout)
            reader.sees("All should have entry 1 of the history.")
            reader.open("/configuration?tab=history")
            assert "cancelled" in reader.row("the second one").inner_text()
            for node in nodes:
                node.has(1)
            # A node that is killed is missed, and the others are shown.
            gone = address(nodes[1])
            nodes[1].stop()
            reader.open("/nodes")
            reader.row(re.compile(f"{gone}.*down"))
            reader.row(re.compile(f"{address(nodes[0])}.*answers"))
