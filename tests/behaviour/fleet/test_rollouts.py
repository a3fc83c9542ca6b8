"""Configurations that are rolled out to three nodes, under traffic."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from support.fleet import Shop, Visitors, fleet, place_of_first
from support.peer import wait_until
from support.stores import Engine


@pytest.mark.timeout(300)
def test_a_good_one_gets_to_all_and_a_bad_one_is_taken_back(engine: Engine, services: Shop, tmp_path: Path) -> None:
    with fleet(engine, tmp_path, 3) as nodes:
        assert [node.me["in_force"] for node in nodes] == [0, 0, 0]
        empty = nodes[0].apply(services.config("one"), "--wait", "--reason", "the first one")
        assert empty.exit_code == 0, empty.output
        assert "is for all nodes: unobserved: 0 requests within 2 s" in empty.output
        assert "3 of 3 nodes have it" in empty.output
        with Visitors(nodes) as visitors:
            visitors.goes_on()
            good = nodes[1].apply(services.config("two"), "--wait")
            assert good.exit_code == 0, good.output
            assert "0.0% of" in good.output and "unobserved" not in good.output
            first = place_of_first(nodes, nodes[0].rollout)
            ended = datetime.fromisoformat(nodes[0].rollout["ended"]).timestamp()
            wait_until(lambda: all("two" in visitors.marks(number) for number in range(3)))
            others = [visitors.of(number) for number in range(3) if number != first]
            late = [next(one.at for one in seen if one.mark == "two") - ended for seen in others]
            print(f"the others had it {late[0]:.2f} s and {late[1]:.2f} s after the last observation")
            assert max(late) < 15
            bad = nodes[2].apply(services.config("three", failing=10, observe="30s"), "--wait")
            assert bad.exit_code == 1, bad.output
            assert "was taken back" in bad.output and "answers were 5xx" in bad.output
            unlucky = place_of_first(nodes, nodes[0].rollout)
            for node in nodes:
                node.has(2)
            visitors.goes_on(300)
        assert not visitors.failures
        for number in range(3):
            assert ("three" in visitors.marks(number)) == (number == unlucky)
            assert visitors.of(number)[-1].mark == "two"
        failed = [one for one in visitors.seen if one.status != 200]
        assert failed and all(one.mark == "three" for one in failed)
