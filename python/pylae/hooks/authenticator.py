"""Authenticators: functions of a program, and those that distributions offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from pylae.config.document.sources import shown
from pylae.config.models.authenticators.function import AuthenticatorOptions, FunctionAuthenticator
from pylae.config.models.authenticators.kind import AuthenticatorName
from pylae.errors import HookError
from pylae.hooks.hook import make_authenticator, options_of
from pylae.hooks.plugin import NoSettings


class Authenticator:
    """The base of authenticators that distributions offer: a class that an entry point in `pylae.authenticators` names.

    A configuration uses it under `auth.plugins`. One object is made for each use, and again when the configuration is
    read anew.
    """

    Settings: ClassVar[type[BaseModel]] = NoSettings
    """The model of its settings, which are validated with the rest of the configuration."""
    options: ClassVar[AuthenticatorOptions] = AuthenticatorOptions()
    """How it is asked: its `key`, `cache`, `challenge` and the like. What the configuration says goes before them."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def authenticate(self, request: Any) -> Any:
        """Says who sends a request, as a function of `@gateway.authenticator` does; it may be async.

        It returns a User, None if it knows nobody, or a Response, which is the answer.
        """
        raise NotImplementedError


def authenticator_of(name: object, function: Any, settings: Mapping[str, Any]) -> FunctionAuthenticator:
    """Returns the authenticator for the arguments of a decorator. Raises HookError."""
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
