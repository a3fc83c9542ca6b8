"""Functions of a program that say who the client is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pylae.config.document.sources import shown
from pylae.config.models.auth import AuthenticatorName, AuthenticatorOptions, FunctionAuthenticator
from pylae.errors import HookError
from pylae.hooks.hook import make_authenticator, options_of


def authenticator_of(name: object, function: Any, settings: Mapping[str, Any]) -> FunctionAuthenticator:
    """The authenticator that a decorator is given. Raises HookError."""
    if not isinstance(name, str):
        found = shown(name, hidden=False)
        raise HookError(
            f'an authenticator has a name, by which routes choose it: `@gateway.authenticator("…")`; found {found}'
        )
    try:
        TypeAdapter(AuthenticatorName).validate_python(name)
    except ValidationError as error:
        raise HookError(f"the name of an authenticator {error.errors()[0]['msg']}; found {name!r}") from None
    options = options_of(settings, AuthenticatorOptions)
    make_authenticator(function, options, name, ())
    said = {field: getattr(options, field) for field in options.model_fields_set}
    return FunctionAuthenticator.model_validate({"function": function, **said})
