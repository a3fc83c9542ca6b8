from __future__ import annotations

import json
from pathlib import Path

import pytest

from pylae import Gateway
from pylae.config.model import Config
from pylae.config.written import differences, hidden, mark, written

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.yaml"))


@pytest.mark.parametrize("defaults", [False, True])
@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_what_is_written_reads_as_the_same(file: Path, defaults: bool) -> None:
    config = Gateway.from_file(file).config
    text = json.dumps(written(config, defaults=defaults))
    for name, secret in hidden(config).items():
        assert json.dumps(secret) not in text
        text = text.replace(json.dumps(name), json.dumps(secret))
    assert Config.model_validate(json.loads(text)) == config


def test_a_mark_says_nothing_of_the_secret_but_whether_it_is_the_same() -> None:
    assert mark("a") == mark("a") != mark("b")
    assert len(mark("a")) == len(mark("a" * 1000))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2, "b": 3}, [(("a",), 1, 2), (("b",), None, 3)]),
        ([1, 2], [1], [((1,), 2, None)]),
        ([{"name": "x", "v": 1}, {"name": "y"}], [{"name": "y"}, {"name": "x", "v": 2}], [(("x", "v"), 1, 2)]),
        ([{"url": "x"}], [{"url": "y"}], [(("x",), {"url": "x"}, None), (("y",), None, {"url": "y"})]),
        ({"a": [1]}, {"a": {"b": 1}}, [(("a",), [1], {"b": 1})]),
    ],
)
def test_differences(old: object, new: object, found: list[object]) -> None:
    assert list(differences(old, new)) == found
