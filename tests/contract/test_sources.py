"""The kinds of sources fit the table that names them, and say what the checks of configurations must know of them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from pylae.config.models.tls import PemFile
from pylae.registry.kinds import KINDS, Discovery, kind

ROOT = Path(__file__).parents[2]
KIND = pytest.mark.parametrize("name", KINDS)


def files(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        marks = {*field.metadata}.union(*(getattr(part, "__metadata__", ()) for part in get_args(field.annotation)))
        if set(get_args(PemFile)[1:]) <= marks:
            yield name


@KIND
def test_a_kind_is_a_file_of_its_name(name: str) -> None:
    assert KINDS[name].startswith(f"pylae.registry.sources.{name}:")
    assert kind(name) is getattr(
        importlib.import_module(f"pylae.registry.sources.{name}"), KINDS[name].partition(":")[2]
    )


@KIND
def test_what_it_says_of_its_settings_is_about_settings(name: str) -> None:
    settings = kind(name).Settings
    assert {*settings.files, *settings.private} <= set(settings.model_fields)
    assert set(files(settings)) <= set(settings.files), "a file that others could have read is named"


@KIND
def test_it_is_named_by_one_key(name: str) -> None:
    short: dict[str, Any] = {"dns": "a:1", "heartbeat": {}}
    found = Discovery.model_validate({name: short.get(name, "x")})
    assert (found.kind, found.source) == (name, kind(name))
    assert isinstance(found.settings, kind(name).Settings)
    assert Discovery(**{name: short.get(name, "x")}) == found  # type: ignore[misc]


@KIND
def test_the_guide_has_it(name: str) -> None:
    text = (ROOT / "docs" / "guide" / "registry.md").read_text(encoding="utf-8")
    assert re.search(rf"discovery: \{{{name}: ", text)
