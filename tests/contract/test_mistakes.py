"""Whatever a program gives, in whatever place: it is taken, or refused as a mistake of the program's."""

from __future__ import annotations

import decimal
import enum
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from pylae import ConfigError, Gateway, HookError, Route, Service, settings
from pylae.settings import Config, Cors, RateLimit, Settings

MODELS = [getattr(settings, name) for name in settings.__all__ if name != "Settings"]
DECORATORS = ("on_request", "on_response", "on_response_body", "on_response_events", "middleware")


class Word(enum.Enum):
    """A word that is no text."""

    ONE = "one"


VALUES: list[Any] = [
    *(None, True, False, 0, -1, 10**400, -(10**400), 1.5, float("nan"), float("inf")),
    *("", "\ud800", "a\0b", "1" * 10_000, b"x", Path("/a"), re.compile("a"), SecretStr("x"), Word.ONE),
    *(object(), object, Config, Route, lambda: 1, Exception("x"), decimal.Decimal(1)),
    *([], [None], [object()], [[]], (), set(), {1}, range(3), {}, {1: 2}, {"a": None}, {"a": object()}, {("a",): 1}),
    *(timedelta(-1), timedelta.max, datetime.now(UTC), Cors(), RateLimit(limit=1)),
]
FEW = [None, 10**400, "", "\ud800", b"x", object(), Route, [None], [object()], {1: 2}, {"a": object()}, Word.ONE]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_in_every_field_of_a_model(model: type[Settings]) -> None:
    for name in model.model_fields:
        for value in VALUES:
            with suppress(ConfigError):
                model(**{name: value})


@pytest.mark.parametrize("name", Config.model_fields)
def test_in_every_field_of_a_gateway(name: str) -> None:
    for value in VALUES:
        with suppress(ConfigError):
            Gateway(**{name: value}).check()


@pytest.mark.parametrize("name", Route.model_fields)
def test_in_every_field_of_a_route(name: str) -> None:
    where = {} if name in ("prefix", "pattern") else {"path": "/a"}
    for value in FEW:
        gateway = Gateway()
        gateway.add_service("s", "http://127.0.0.1:1")
        fields: dict[str, Any] = {**where, "service": "s", "auth_required": False, name: value}
        with suppress(ConfigError):
            gateway.add_route(**fields)
            gateway.check()


@pytest.mark.parametrize("name", Service.model_fields)
def test_in_every_field_of_a_service(name: str) -> None:
    for value in FEW:
        gateway = Gateway()
        fields: dict[str, Any] = {"instances": ["http://127.0.0.1:1"], name: value}
        with suppress(ConfigError):
            gateway.add_service("s", **fields)
            gateway.add_route(path="/a", service="s", auth_required=False)
            gateway.check()


@pytest.mark.parametrize(
    "give",
    [
        lambda gateway, value: gateway.add_route(value),
        lambda gateway, value: gateway.add_service("s", value),
        lambda gateway, value: gateway.add_service(value, "http://127.0.0.1:1"),
        lambda gateway, value: gateway.add_middleware(value),
        *(lambda gateway, value, name=name: getattr(gateway, name)(value) for name in DECORATORS),
        *(lambda gateway, value, name=name: getattr(gateway, name)(routes=value)(print) for name in DECORATORS),
        *(lambda gateway, value, name=name: getattr(gateway, name)(timeout=value)(print) for name in DECORATORS),
        *(lambda gateway, value, name=name: getattr(gateway, name)(body=value)(print) for name in DECORATORS),
    ],
)
def test_wherever_a_gateway_takes_something(give: Callable[[Gateway, Any], object]) -> None:
    for value in VALUES:
        gateway = Gateway()
        with suppress(ConfigError, HookError):
            give(gateway, value)
            gateway.check()
