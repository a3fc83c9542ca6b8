"""Authenticators: how users and programs authenticate."""

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
from pylae.config.models.authenticators.forward_auth import ForwardAuth
from pylae.config.models.authenticators.function import (
    AskedAuthenticator,
    AuthenticatorOptions,
    AuthenticatorUse,
    FunctionAuthenticator,
)
from pylae.config.models.authenticators.introspection import Introspection
from pylae.config.models.authenticators.jwt import Jwt
from pylae.config.models.authenticators.kind import AuthenticatorKind, AuthenticatorName, Identity, one_or_more
from pylae.config.models.authenticators.oidc import Oidc
from pylae.config.models.authenticators.own import OwnAuthenticator
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
    """An authenticator with its name and its place under `auth`."""

    name: str
    at: tuple[Step, ...]
    one: AuthenticatorKind


class AuthConfig(Settings):
    """Authenticators by kind. Any of them satisfies a route that requires authentication.

    The gateway asks them in the order of the fields. Each field holds one authenticator, a list of them, or several by
    name. This is also the table of all kinds.
    """

    jwt: Annotated[tuple[Jwt, ...], BeforeValidator(one_or_more, json_schema_input_type=Jwt | list[Jwt])] = ()
    """JSON Web Tokens. For several issuers, a list, each with a `name`."""
    introspection: Annotated[
        tuple[Introspection, ...],
        BeforeValidator(one_or_more, json_schema_input_type=Introspection | list[Introspection]),
    ] = ()
    """Tokens whose issuer is asked about them. For several issuers, a list, each with a `name`. It is not asked about
    tokens that `jwt` recognises as its own."""
    api_key: ApiKey | None = None
    """API keys of programs."""
    basic: Basic | None = None
    """User names and passwords (HTTP Basic)."""
    client_certificate: Switch[ClientCertificate] = None
    """Client certificates (mutual TLS)."""
    oidc: Annotated[tuple[Oidc, ...], BeforeValidator(one_or_more, json_schema_input_type=Oidc | list[Oidc])] = ()
    """Logins at OpenID providers. For several, a list, each with a `name`."""
    forward_auth: Annotated[
        tuple[ForwardAuth, ...], BeforeValidator(one_or_more, json_schema_input_type=ForwardAuth | list[ForwardAuth])
    ] = ()
    """Services that decide about each request. For several, a list, each with a `name`."""
    functions: dict[AuthenticatorName, FunctionAuthenticator] = {}
    """Python functions that authenticate clients, by name. Routes choose them by these names."""
    plugins: dict[AuthenticatorName, AuthenticatorUse] = {}
    """Authenticators of installed distributions, by name. Routes choose them by these names."""
    failure_limit: Annotated[
        Rate | None, BeforeValidator(_no_limit, json_schema_input_type=Rate | Literal[False] | None)
    ] = RequestRate(30, timedelta(minutes=1))
    """Most failed authentications of one client address; further ones get 429. IPv6 addresses are counted by /64, with
    four times the limit for a /56 and sixteen times for a /48. `false` switches the limit off."""
    realm: Annotated[str, AfterValidator(_realm)] = "pylae"
    """Realm in the challenges (`WWW-Authenticate`)."""
    admin_role: Identity | Literal[""] = "admin"
    """Role that has every permission. Empty for none."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AuthConfigFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> AuthConfig:
        names = self.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            hint = "give each of a list a `name`, and none under `functions` or `plugins` the name of another"
            raise refusal(f"two authenticators are called {twice}", hint)
        return self

    @property
    def placed(self) -> Iterator[Placed]:
        """All authenticators, in the order in which the gateway asks them."""
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
        """All authenticators, in the same order."""
        return tuple(one for _, _, one in self.placed)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all authenticators, in the same order."""
        return tuple(name for name, _, _ in self.placed)

    @property
    def asked(self) -> Iterator[tuple[str, tuple[Step, ...], AskedAuthenticator]]:
        """The authenticators that call Python, with their names and their places under `auth`."""
        yield from ((name, at, one) for name, at, one in self.placed if isinstance(one, AskedAuthenticator))

    @property
    def own(self) -> Iterator[tuple[str, tuple[Step, ...], OwnAuthenticator]]:
        """The authenticators that call Python of Pylae's own, in the same form."""
        yield from ((name, at, one) for name, at, one in self.placed if isinstance(one, OwnAuthenticator))

    @property
    def named_code(self) -> Iterator[tuple[tuple[Step, ...], str]]:
        """The import paths of code that authenticators call, with their places under `auth`."""
        for _, at, one in self.placed:
            field = one.code if isinstance(one, AskedAuthenticator | OwnAuthenticator) else None
            if field is not None and isinstance(path := getattr(one, field), str):
                yield (*at, field), path

    @property
    def paths(self) -> Iterator[tuple[str, tuple[Step, ...], str]]:
        """The paths that authenticators serve themselves, with their names and where that is written under `auth`."""
        for name, at, one in self.asked:
            yield from ((name, (*at, "paths"), path) for path in one.paths)
        for name, at, own in self.own:
            yield from ((name, at, path) for path in own.options.paths)

    @property
    def conceals(self) -> bool:
        """Whether some credentials are kept from instances."""
        return any(one.conceals for one in self.authenticators)

    def mistakes(self, listeners: Sequence[ListenerTls | None]) -> Iterator[Finding]:
        """Yields settings that conflict with other settings. Paths begin at `auth`."""
        for _, at, one in self.placed:
            yield from (found.below(at) for found in one.mistakes(listeners))

    def weaknesses(self) -> Iterator[Finding]:
        """Yields settings that work but are probably wrong or insecure. Paths begin at `auth`."""
        for _, at, one in self.placed:
            yield from (found.below(at) for found in one.weaknesses())

    def asked_as(self, options: Mapping[str, AuthenticatorOptions]) -> AuthConfig:
        """Returns a copy in which each plugin has the call options in `options`, by its name."""
        plugins = {name: use.model_copy(update=dict(options[name])) for name, use in self.plugins.items()}
        return self.model_copy(update={"plugins": plugins}) if plugins else self

    def plan(self, calls: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
        """Returns its part of the plan; None without authenticators. `calls` are those that call Python, by name."""
        if not self.authenticators:
            return None
        planned = []
        for name, at, one in self.placed:
            plan = one.plan()
            if isinstance(one, AskedAuthenticator):
                plan |= {"name": name, "challenge": one.challenge or name, "call": calls[name]}
            elif isinstance(one, OwnAuthenticator):
                plan |= {"name": name, "call": calls[name]}
            planned.append(PlanPart(plan, Origin(("auth", *at), from_root=True)))
        return {**self.model_dump(mode="json", include={"realm", "failure_limit"}), "authenticators": planned}
