"""Python that authenticates clients: functions of a program, and authenticators of installed distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from pylae.config.models.application import name_of
from pylae.config.models.authenticators.kind import AuthenticatorKind, one_or_more, word
from pylae.config.models.base import own_copy, refusal, split_words
from pylae.config.models.hooks import CallOptions, import_path
from pylae.config.models.route import Template
from pylae.config.models.service import field_name
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import AuthenticatorOptionsFields, AuthenticatorUseFields, FunctionAuthenticatorFields


def _credential_part(text: str) -> str:
    kind, colon, name = text.partition(":")
    if kind == "header" and colon:
        return f"header:{field_name(name).lower()}"
    if text == "client_certificate" or (kind in ("query", "cookie") and name):
        return text
    raise refusal(
        "is no part of a request that holds a credential",
        "write `header:NAME`, `query:NAME`, `cookie:NAME` or `client_certificate`",
    )


class AskedAuthenticator(AuthenticatorKind, CallOptions):
    """An authenticator that calls Python."""

    code: ClassVar[str]
    """Field that names what is called."""

    key: (
        Annotated[
            tuple[Annotated[str, AfterValidator(_credential_part)], ...],
            BeforeValidator(split_words, json_schema_input_type=str | list[str]),
            Field(min_length=1),
        ]
        | None
    ) = None
    """Part of the request that the function sees: `header:NAME`, `query:NAME`, `cookie:NAME`, `client_certificate`, or
    several of them. The function is not called for requests without it. By default the function sees the whole
    request."""
    cache: Duration | None = None
    """How long a result is remembered, by the value of `key`. A reload and the revocation of the user end it."""
    challenge: Annotated[str, AfterValidator(word)] | None = None
    """Scheme in the `WWW-Authenticate` of a 401, such as `Bearer`. The default is the authenticator's name."""
    forward_credentials: bool = True
    """Send the header fields and query parameters of `key` to instances."""
    paths: Annotated[tuple[Template, ...], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])] = ()
    """Paths that the authenticator serves itself, independent of routes, such as the callback of a login. For these
    requests the function sees the whole request, including the body if `body` is set, and must return a response."""

    @property
    def path(self) -> str:
        """The name of what is called."""
        return name_of(getattr(self, self.code))

    def plan(self) -> dict[str, Any]:
        # `AuthConfig` adds the name and the call.
        options = self.model_dump(mode="json", include={"key", "cache", "challenge", "forward_credentials"})
        return {"kind": "function", "via": "function", **options}


class AuthenticatorOptions(AskedAuthenticator):
    """How the function of an authenticator is called."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AuthenticatorOptionsFields]) -> None: ...

    @model_validator(mode="after")
    def _can_be(self) -> AuthenticatorOptions:
        if self.cache is not None and self.key is None:
            hint = 'say by what, as in `key: "header:X-Token"`'
            raise refusal("`cache` needs `key`, by which results are remembered", hint)
        if self.body is not None and not self.paths:
            raise refusal(
                "`body` works only with `paths`", "other requests are authenticated before their body is read"
            )
        if not self.forward_credentials:
            kept = [part for part in self.key or () if not part.startswith(("header:", "query:"))]
            if self.key is None or kept:
                what = f"{kept[0]} cannot be taken out of a request" if kept else "it needs `key`"
                raise refusal(f"`forward_credentials: false`: {what}", "it is for `header:NAME` and `query:NAME`")
        return self


def _function(given: Any) -> Any:
    if isinstance(given, str):
        return import_path(given)
    if not callable(given):
        raise refusal("must be a function", 'in a file its import path, "module:function"')
    return given


class FunctionAuthenticator(AuthenticatorOptions):
    """A Python function that authenticates clients: `function(request)` returns a User, None, or a Response.

    An import path is short for `function`.
    """

    short = {"type": "string"}
    code = "function"

    function: Annotated[Any, BeforeValidator(_function, json_schema_input_type=str), PlainSerializer(name_of)]
    """The function; in a file, its import path `module:function`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[FunctionAuthenticatorFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"function": value} if isinstance(value, str) or callable(value) else value


class AuthenticatorUse(AskedAuthenticator):
    """An authenticator of an installed distribution, with its settings. A text is short for `use`.

    The authenticator itself sets the defaults of how it is called.

    Example:
        ```yaml
        auth:
          plugins:
            staff: {use: acme-ldap, settings: {url: "ldaps://ldap.example"}, cache: 5m}
        ```
    """

    short = {"type": "string"}
    code = "use"

    use: str
    """Name of an installed authenticator (entry point group `pylae.authenticators`), or an import path
    `module:Class`."""
    settings: Annotated[dict[str, Any], AfterValidator(own_copy)] = {}
    """Settings of the authenticator itself."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AuthenticatorUseFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value

    def over(self, own: AuthenticatorOptions) -> AuthenticatorOptions:
        """Returns the call options: those written here, over the authenticator's `own`. Raises ValidationError."""
        models = (own, self)
        names = AuthenticatorOptions.model_fields
        said = {name: getattr(one, name) for one in models for name in names if name in one.model_fields_set}
        return AuthenticatorOptions.model_validate(said)
