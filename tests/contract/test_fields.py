"""The types of what may be written are what `python/fields.py` makes of the models now, and every model has them."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import pylae
from pylae import settings
from pylae.settings import Settings, fields

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "python" / "fields.py"))
MODELS: list[type[BaseModel]] = list(
    dict.fromkeys(model for root in SCRIPT["ROOTS"] for model in SCRIPT["_reachable"](root))
)


def test_they_are_up_to_date() -> None:
    assert SCRIPT["FILE"].read_text(encoding="utf-8") == SCRIPT["text"](), "run `python python/fields.py`"
    assert SCRIPT["SOURCES"].read_text(encoding="utf-8") == SCRIPT["sources"](), "run `python python/fields.py`"


def test_every_model_is_public() -> None:
    public = {name for name in settings.__all__ if issubclass(getattr(settings, name), BaseModel)}
    assert public == {model.__name__ for model in (*MODELS, Settings)}
    assert {model.__name__ for model in MODELS if getattr(settings, model.__name__) is not model} == set()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_checker_sees_the_keywords(model: type[BaseModel]) -> None:
    assert f"def __init__(self, **fields: Unpack[{model.__name__}Fields]) -> None: ..." in inspect.getsource(model)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_model_takes_every_keyword(model: type[BaseModel]) -> None:
    """And no other, so that the types know all of them."""
    typed = getattr(fields, f"{model.__name__}Fields")
    for key in (*typed.__annotations__, "unheard_of"):
        given: dict[str, Any] = {key: object()}
        with pytest.raises(ValidationError) as caught:
            model.model_validate(given)
        # A kind of source that there is not is said to be one.
        errors = caught.value.errors()
        unknown = [one for one in errors if one["type"] == "extra_forbidden" or one["loc"][-1:] == ("[key]",)]
        assert bool(unknown) is (key == "unheard_of"), key


@pytest.mark.parametrize("name", ["Cache", "CircuitBreaker", "Decision", "LoadBalancer", "Router", "TokenBucket"])
def test_a_name_means_one_thing(name: str) -> None:
    """What is not the settings of a gateway is at `pylae.primitives` alone, and says so where it was."""
    with pytest.raises(ImportError, match=f"it is `from pylae.primitives import {name}`"):
        getattr(pylae, name)
    assert hasattr(settings, name) is (name in ("Cache", "CircuitBreaker", "LoadBalancer"))
    assert name not in dir(pylae)
