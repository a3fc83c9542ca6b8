"""Authenticators: how users and programs say who they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Unpack

from pydantic import AfterValidator, BeforeValidator, model_validator

from pylae.config.document.nodes import Finding, Step
from pylae.config.models.authenticators.api_key import ApiKey
from pylae.config.models.authenticators.basic import Basic
from pylae.config.models.authenticators.client_certificate import ClientCertificate
from pylae.config.models.authenticators.function import (
    AskedAuthenticator,
    AuthenticatorOptions,
    AuthenticatorUse,
    FunctionAuthenticator,
)
from pylae.config.models.authenticators.jwt import Jwt
from pylae.config.models.authenticators.kind import AuthenticatorKind, AuthenticatorName, Identity, one_or_more
from pylae.config.models.base import Settings, Switch, refusal
from pylae.config.models.tls import ListenerTls
from pylae.config.origin import Origin, PlanPart
from pylae.units import Rate, RequestRate

if TYPE_CHECKING:
    from pylae.settings.fields import AuthConfigFields


def _realm(text: str) -> str:
    if not re.fullmatch(r"[ !#-\[\]-~]{1,100}", text):
        raise refusal('must be 1 to 100 visible ASCII characters without " and \\')
    return text


def _no_limit(value: Any) -> Any:
    return None if value is False else value


class Placed(NamedTuple):
    """An authenticator, its name, and where it stands under `auth`."""

    name: str
    at: tuple[Step, ...]
    one: AuthenticatorKind


class AuthConfig(Settings):
    """Authenticators by kind. A route that requires authentication is satisfied by any of them.

    They are asked in the order of the fields. This is the table of all kinds: a field holds one authenticator, a list
    of them, or several by name.
    """

    jwt: Annotated[tuple[Jwt, ...], BeforeValidator(one_or_more, json_schema_input_type=Jwt | list[Jwt])] = ()
    """JSON Web Tokens; a list for several issuers, each with a `name`."""
    api_key: ApiKey | None = None
    """Keys of programs."""
    basic: Basic | None = None
    """User names and passwords."""
    client_certificate: Switch[ClientCertificate] = None
    """Certificates of clients."""
    functions: dict[AuthenticatorName, FunctionAuthenticator] = {}
    """Python functions that say who the client is, by the names by which routes choose them."""
    plugins: dict[AuthenticatorName, AuthenticatorUse] = {}
    """Authenticators that distributions offer, by the names by which routes choose them."""
    failure_limit: Annotated[
        Rate | None, BeforeValidator(_no_limit, json_schema_input_type=Rate | Literal[False] | None)
    ] = RequestRate(30, timedelta(minutes=1))
    """Failed authentications of one client address (IPv6 by /64; of a /56 four and of a /48 sixteen times as many);
    beyond it 429. `false` for no limit."""
    realm: Annotated[str, AfterValidator(_realm)] = "pylae"
    """What challenges call the protected space."""
    admin_role: Identity | Literal[""] = "admin"
    """Role that has every permission; an empty text for none."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AuthConfigFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> AuthConfig:
        names = self.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            hint = "give each under `jwt` a `name`, and none under `functions` or `plugins` the name of another"
            raise refusal(f"two authenticators are called {twice}", hint)
        return self

    @property
    def placed(self) -> Iterator[Placed]:
        """All of them, in the order in which they are asked."""
        for field in type(self).model_fields:
            match getattr(self, field):
                case AuthenticatorKind() as one:
                    yield Placed(field, (field,), one)
                case tuple() as listed:
                    yield from (Placed(one.name, (field, index), one) for index, one in enumerate(listed))
                case dict() as named:
                    yield from (Placed(name, (field, name), one) for name, one in named.items())

    @property
    def authenticators(self) -> tuple[AuthenticatorKind, ...]:
        """All of them, in the same order."""
        return tuple(one for _, _, one in self.placed)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the same order."""
        return tuple(name for name, _, _ in self.placed)

    @property
    def asked(self) -> Iterator[tuple[str, tuple[Step, ...], AskedAuthenticator]]:
        """Those that ask Python, with their names and where they stand under `auth`."""
        yield from ((name, at, one) for name, at, one in self.placed if isinstance(one, AskedAuthenticator))

    @property
    def conceals(self) -> bool:
        """Whether there are credentials that instances are not to see."""
        return any(one.conceals for one in self.authenticators)

    def mistakes(self, listeners: Sequence[ListenerTls | None]) -> Iterator[Finding]:
        """What is wrong with them beside other settings. Paths begin at `auth`."""
        for _, at, one in self.placed:
            yield from (found.below(at) for found in one.mistakes(listeners))

    def weaknesses(self) -> Iterator[Finding]:
        """What works and is doubtful. Paths begin at `auth`."""
        for _, at, one in self.placed:
            yield from (found.below(at) for found in one.weaknesses())

    def asked_as(self, options: Mapping[str, AuthenticatorOptions]) -> AuthConfig:
        """The same where each plugin is asked as `options` say, by its name."""
        plugins = {name: use.model_copy(update=dict(options[name])) for name, use in self.plugins.items()}
        return self.model_copy(update={"plugins": plugins}) if plugins else self

    def plan(self, calls: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
        """Its part of the plan; none without any authenticator. `calls` are those that ask Python, by name."""
        if not self.authenticators:
            return None
        planned = []
        for name, at, one in self.placed:
            plan = one.plan()
            if isinstance(one, AskedAuthenticator):
                plan |= {"name": name, "challenge": one.challenge or name, "call": calls[name]}
            planned.append(PlanPart(plan, Origin(("auth", *at), from_root=True)))
        return {**self.model_dump(mode="json", include={"realm", "failure_limit"}), "authenticators": planned}
