"""Authenticators: how users and programs say who they are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr, model_validator

from pylae.config.document.nodes import Step
from pylae.config.models.application import name_of
from pylae.config.models.base import Settings, Switch, as_json, refusal, split_words
from pylae.config.models.hooks import CallOptions, import_path
from pylae.config.models.route import Template
from pylae.config.models.service import field_name
from pylae.config.origin import Origin, PlanPart
from pylae.units import ByteSize, Duration, Rate, RequestRate, Wait

if TYPE_CHECKING:
    from pylae.settings.fields import (
        AccountFields,
        ApiKeyFields,
        AuthConfigFields,
        AuthenticatorOptionsFields,
        BasicFields,
        CertifiedUserFields,
        ClaimNamesFields,
        ClientCertificateFields,
        ConsumerFields,
        FunctionAuthenticatorFields,
        JwtFields,
    )

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_HASH = re.compile(r"[0-9a-fA-F]{64}")
_PASSWORD_HASH = re.compile(r"\$(argon2id|2[aby])\$[!-~]+")
_IDENTITY = re.compile(r"[^\x00-\x20\x7f,]([^\x00-\x1f\x7f,]*[^\x00-\x20\x7f,])?")

WEAK_SECRET = 32
"""Bytes that a secret needs at least to be as strong as HS256 (RFC 7518 section 3.2)."""


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str | SecretStr | dict | Settings) else value


def _word(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise refusal("must be a letter and then letters, digits, `_` or `-`")
    return text


def _secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise refusal("the secret is empty: anyone could sign tokens", "e.g. `openssl rand -base64 48`", secret=True)
    return value


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise refusal("must be an http:// or https:// address without user name", secret=True)
    return text


def _document(value: Any) -> Any:
    """A JWK set as text, whether it was written as text or as a mapping."""
    return as_json(value) if isinstance(value, dict) else value


def _key_hash(text: str) -> str:
    if not _HASH.fullmatch(text):
        hint = "the SHA-256 of the key in hex: `printf %s KEY | sha256sum`; the key itself does not belong here"
        raise refusal("is not a SHA-256 in hex", hint, secret=True)
    return text.lower()


def _password_hash(value: SecretStr) -> SecretStr:
    if not _PASSWORD_HASH.fullmatch(value.get_secret_value()):
        raise refusal("is neither an Argon2id nor a bcrypt hash", "as `argon2` or `htpasswd -B` make them", secret=True)
    return value


def _identity(text: str) -> str:
    if not _IDENTITY.fullmatch(text):
        raise refusal("must not have control characters, commas, or spaces at its ends")
    return text


Words = Annotated[tuple[str, ...], BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])]
Identity = Annotated[str, AfterValidator(_identity), Field(max_length=256)]
AuthenticatorName = Annotated[str, AfterValidator(_word)]


class ClaimNames(Settings):
    """Which claims of a token say who the user is. The first that is there counts; `a.b` is `b` inside `a`."""

    id: Annotated[Words, Field(min_length=1)] = ("user_id", "sub")
    """The user's id: a text or a whole number."""
    email: Words = ("email",)
    """The mail address."""
    role: Words = ("role",)
    """The role: a text, or a list of texts for several."""
    permissions: Words = ("permissions", "scope")
    """The permissions: a list of texts, or one text with spaces between."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ClaimNamesFields]) -> None: ...


class Jwt(Settings):
    """JSON Web Tokens in `Authorization: Bearer`. Exactly one of `secret`, `public_key`, `jwks` and `jwks_url`."""

    name: Annotated[str, AfterValidator(_word)] = "jwt"
    """Name by which routes choose it, if there are several."""
    secret: (
        Annotated[
            tuple[Annotated[SecretStr, AfterValidator(_secret)], ...],
            BeforeValidator(_one_or_more, json_schema_input_type=str | list[str]),
            Field(min_length=1),
        ]
        | None
    ) = None
    """Secret for HS256 (or HS384, HS512); several are all accepted, and the first signs."""
    public_key: Annotated[Words, Field(min_length=1)] | None = None
    """Public keys in PEM: RSA, P-256, P-384, P-521 or Ed25519. `${file:key.pem}` takes a file."""
    jwks: Annotated[SecretStr, BeforeValidator(_document, json_schema_input_type=str | dict[str, Any])] | None = None
    """A JWK set (RFC 7517). `${file:keys.json}` takes a file."""
    jwks_url: Annotated[str, AfterValidator(_url)] | None = None
    """Address of a JWK set. It is fetched again every `refresh`, and when a token names a key that is not in it."""
    algorithms: Annotated[
        tuple[Algorithm, ...], BeforeValidator(_one_or_more, json_schema_input_type=Algorithm | list[Algorithm])
    ] = ()
    """Algorithms that are accepted. If none is given, the usual one of each key: HS256, RS256, ES256, ES384, ES512 or
    EdDSA. A token can never choose."""
    issuer: Words = ()
    """Accepted `iss`; all if none is given."""
    audience: Words = ()
    """Accepted `aud`, one of which a token must name; all if none is given."""
    required_claims: Words = ("exp",)
    """Claims that a token must have."""
    leeway: Wait = timedelta(seconds=30)
    """How far the clocks of gateway and issuer may differ."""
    claims: ClaimNames = ClaimNames()
    """Which claims say who the user is."""
    max_size: Annotated[ByteSize, Field(ge=64, le=2**16)] = 8 * 1024
    """Size of a token; larger ones are refused."""
    refresh: Duration = timedelta(minutes=10)
    """How often `jwks_url` is fetched. Each time after a token with an unknown key too, but not within 30 seconds."""
    forward_credentials: bool = True
    """Whether instances see the token, on whichever route."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[JwtFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> Jwt:
        sources = [name for name in ("secret", "public_key", "jwks", "jwks_url") if getattr(self, name) is not None]
        if len(sources) != 1:
            found = f"has {' and '.join(f'`{name}`' for name in sources)}; only one of them" if sources else "needs one"
            raise refusal(f"{found} of `secret`, `public_key`, `jwks` and `jwks_url`" if not sources else found)
        symmetric = [name for name in self.algorithms if name.startswith("HS")]
        if symmetric and sources[0] in ("public_key", "jwks_url"):
            raise refusal(
                f"{', '.join(symmetric)} would take a public key for a secret",
                f"leave it out of `algorithms`, or give `secret` instead of `{sources[0]}`",
            )
        if self.secret and len(symmetric) != len(self.algorithms):
            other = ", ".join(name for name in self.algorithms if name not in symmetric)
            raise refusal(f"{other} needs a public key, and `secret` is none")
        return self

    def plan(self) -> dict[str, Any]:
        """Its part of the plan."""
        same = {"name", "algorithms", "refresh", "max_size", "required_claims", "leeway", "claims"}
        return {
            "kind": "jwt",
            **self.model_dump(mode="json", include=same | {"forward_credentials"}),
            "keys": self._keys(),
            "issuers": list(self.issuer),
            "audiences": list(self.audience),
        }

    def _keys(self) -> PlanPart:
        if self.secret is not None:
            return _keys_from("secret", "secret", [secret.get_secret_value() for secret in self.secret])
        if self.public_key is not None:
            return _keys_from("public_key", "pem", list(self.public_key))
        if self.jwks is not None:
            return _keys_from("jwks", "jwks", self.jwks.get_secret_value())
        return _keys_from("jwks_url", "url", self.jwks_url)


def _keys_from(setting: str, kind: str, value: object) -> PlanPart:
    origin = Origin((setting,))
    return PlanPart({"from": kind, "value": value}, Origin((setting,), entries={"from": origin, "value": origin}))


def _by_name(name: str, plan: Mapping[str, Any]) -> PlanPart:
    """One of a list of the plan, which stands under its name in the configuration."""
    return PlanPart({"id": name, **plan}, Origin((name,)))


class Consumer(Settings):
    """A program that identifies itself by a key. A hash, or a list of hashes, is short for `keys`."""

    short = {"type": ["string", "array"]}

    keys: Annotated[
        tuple[Annotated[str, AfterValidator(_key_hash)], ...],
        BeforeValidator(_one_or_more, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ]
    """SHA-256 of each key in hex; several while keys are being exchanged."""
    email: Identity | Literal[""] = ""
    """Mail address."""
    role: Identity | Literal[""] = ""
    """Role."""
    permissions: Words = ()
    """What it may do."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ConsumerFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"keys": value} if isinstance(value, str | list | tuple) else value


def _parameter(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,100}", text):
        raise refusal("must be 1 to 100 visible ASCII characters")
    return text


class ApiKey(Settings):
    """Keys in a request field or a query parameter. Only their hashes stand here."""

    header: Annotated[str, AfterValidator(field_name)] | Literal[False] | None = "X-API-Key"
    """Request field that carries the key; `false` for none."""
    query: Annotated[str, AfterValidator(_parameter)] | None = None
    """Query parameter that carries the key; none unless given, because addresses end up in logs."""
    consumers: Annotated[dict[Identity, Consumer], Field(min_length=1)]
    """Consumers by name, which is the user's id."""
    forward_credentials: bool = False
    """Whether instances see the key, on whichever route."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ApiKeyFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> ApiKey:
        if not self.header and not self.query:
            raise refusal("needs `header` or `query`")
        hashes: dict[str, str] = {}
        for name, consumer in self.consumers.items():
            for key in consumer.keys:
                if hashes.setdefault(key, name) != name:
                    raise refusal(f"{hashes[key]} and {name} have the same key")
        return self

    def plan(self) -> dict[str, Any]:
        """Its part of the plan."""
        consumers = [_by_name(name, one.model_dump(mode="json")) for name, one in self.consumers.items()]
        return {
            "kind": "api_key",
            "header": self.header or None,
            "query": self.query,
            "consumers": consumers,
            "forward_credentials": self.forward_credentials,
        }


class Account(Settings):
    """A user with a password. A hash is short for `password_hash`."""

    short = {"type": "string"}

    password_hash: Annotated[SecretStr, AfterValidator(_password_hash)]
    """Argon2id (`$argon2id$…`) or bcrypt (`$2b$…`)."""
    email: Identity | Literal[""] = ""
    """Mail address."""
    role: Identity | Literal[""] = ""
    """Role."""
    permissions: Words = ()
    """What the user may do."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AccountFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"password_hash": value} if isinstance(value, str | SecretStr) else value


def _user_name(text: str) -> str:
    if ":" in text:
        raise refusal("a user name has no colon (RFC 7617)")
    return text


class Basic(Settings):
    """User names and passwords (RFC 7617). Over TLS only, since both pass in clear."""

    users: Annotated[dict[Annotated[Identity, AfterValidator(_user_name)], Account], Field(min_length=1)]
    """Users by name, which is the user's id."""
    remember: Wait = timedelta(minutes=1)
    """How long a password that was verified is remembered; verifying one takes long on purpose."""
    forward_credentials: bool = False
    """Whether instances see name and password, on whichever route."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[BasicFields]) -> None: ...

    def plan(self) -> dict[str, Any]:
        """Its part of the plan."""
        users = [
            _by_name(
                name,
                {
                    **account.model_dump(mode="json", exclude={"password_hash"}),
                    "password_hash": account.password_hash.get_secret_value(),
                },
            )
            for name, account in self.users.items()
        ]
        return {"kind": "basic", "users": users, **self.model_dump(mode="json", exclude={"users"})}


class CertifiedUser(Settings):
    """A user with a certificate."""

    email: Identity | Literal[""] = ""
    """Mail address."""
    role: Identity | Literal[""] = ""
    """Role."""
    permissions: Words = ()
    """What the user may do."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CertifiedUserFields]) -> None: ...


Subject = Literal["common_name", "dns", "email", "uri"]


class ClientCertificate(Settings):
    """Certificates that clients show in the handshake, on listeners whose `tls` has `client_auth`."""

    id: Annotated[
        tuple[Subject, ...],
        BeforeValidator(_one_or_more, json_schema_input_type=Subject | list[Subject]),
        Field(min_length=1),
    ] = ("common_name", "email", "dns", "uri")
    """Where the user's id stands: the common name of the subject, or the first alternative name of a kind. The first
    that is there counts."""
    users: dict[Identity, CertifiedUser] | None = None
    """Users by id; nobody else is let in then. Without it, whoever has a certificate is a user, without role and
    permissions."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ClientCertificateFields]) -> None: ...

    def plan(self) -> dict[str, Any]:
        """Its part of the plan."""
        users = None
        if self.users is not None:
            users = [_by_name(name, user.model_dump(mode="json")) for name, user in self.users.items()]
        return {"kind": "client_certificate", "id": list(self.id), "users": users}


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


def _function(given: Any) -> Any:
    if isinstance(given, str):
        return import_path(given)
    if not callable(given):
        raise refusal("must be a function", 'in a file its import path, "module:function"')
    return given


class AuthenticatorOptions(CallOptions):
    """How the function of an authenticator is asked."""

    key: (
        Annotated[
            tuple[Annotated[str, AfterValidator(_credential_part)], ...],
            BeforeValidator(split_words, json_schema_input_type=str | list[str]),
            Field(min_length=1),
        ]
        | None
    ) = None
    """What of a request the function sees: `header:NAME`, `query:NAME`, `cookie:NAME`, `client_certificate`, or several
    of them. It is not asked about a request that has none. Without it the function sees the whole request."""
    cache: Duration | None = None
    """How long it is remembered what the function has said, by what stands in `key`. Another configuration, and the
    revocation of the user, end it before."""
    challenge: Annotated[str, AfterValidator(_word)] | None = None
    """The scheme that a 401 names in `WWW-Authenticate`, such as `Bearer`; the authenticator's name if it is not
    given."""
    forward_credentials: bool = True
    """Whether instances see the header fields and query parameters of `key`."""
    paths: Annotated[tuple[Template, ...], BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])] = ()
    """Paths that are the authenticator's own, whatever routes there are: of each request to one of them the function
    sees everything, the body too if `body` is given, and it must answer."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AuthenticatorOptionsFields]) -> None: ...

    @model_validator(mode="after")
    def _can_be(self) -> AuthenticatorOptions:
        if self.cache is not None and self.key is None:
            hint = 'say by what, as in `key: "header:X-Token"`'
            raise refusal("`cache` needs `key`: by what would it be remembered?", hint)
        if self.body is not None and not self.paths:
            raise refusal("`body` is for `paths`", "a request is authenticated before its body is read")
        if not self.forward_credentials:
            kept = [part for part in self.key or () if not part.startswith(("header:", "query:"))]
            if self.key is None or kept:
                what = f"{kept[0]} cannot be taken out of a request" if kept else "it needs `key`"
                raise refusal(f"`forward_credentials: false`: {what}", "it is for `header:NAME` and `query:NAME`")
        return self


class FunctionAuthenticator(AuthenticatorOptions):
    """A Python function that says who the client is: `function(request)`, which returns a User, None, or a Response.

    An import path is short for `function`.
    """

    short = {"type": "string"}

    function: Annotated[Any, BeforeValidator(_function, json_schema_input_type=str), PlainSerializer(name_of)]
    """The function; in a file its import path, `module:function`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[FunctionAuthenticatorFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"function": value} if isinstance(value, str) or callable(value) else value

    @property
    def path(self) -> str:
        """The import path, or what stands for a function that a program has."""
        return name_of(self.function)

    def plan(self, name: str, call: Mapping[str, Any]) -> dict[str, Any]:
        """Its part of the plan, with the call of its function."""
        options = self.model_dump(mode="json", include={"key", "cache", "forward_credentials"})
        return {"kind": "function", "name": name, "challenge": self.challenge or name, **options, "call": call}


def _realm(text: str) -> str:
    if not re.fullmatch(r"[ !#-\[\]-~]{1,100}", text):
        raise refusal('must be 1 to 100 visible ASCII characters without " and \\')
    return text


Authenticator = Jwt | ApiKey | Basic | ClientCertificate | FunctionAuthenticator


def _no_limit(value: Any) -> Any:
    return None if value is False else value


class AuthConfig(Settings):
    """Authenticators by kind. A route that requires authentication is satisfied by any of them."""

    jwt: Annotated[tuple[Jwt, ...], BeforeValidator(_one_or_more, json_schema_input_type=Jwt | list[Jwt])] = ()
    """JSON Web Tokens; a list for several issuers, each with a `name`."""
    api_key: ApiKey | None = None
    """Keys of programs."""
    basic: Basic | None = None
    """User names and passwords."""
    client_certificate: Switch[ClientCertificate] = None
    """Certificates of clients."""
    functions: dict[AuthenticatorName, FunctionAuthenticator] = {}
    """Python functions that say who the client is, by the names by which routes choose them."""
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
            hint = "give each under `jwt` a `name`, and none under `functions` the name of another kind"
            raise refusal(f"two authenticators are called {twice}", hint)
        return self

    @property
    def authenticators(self) -> tuple[Authenticator, ...]:
        """All of them, in the order in which they are asked."""
        single = (self.api_key, self.basic, self.client_certificate)
        return (*self.jwt, *(one for one in single if one), *self.functions.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the same order."""
        single = [kind for kind in ("api_key", "basic", "client_certificate") if getattr(self, kind)]
        return (*(jwt.name for jwt in self.jwt), *single, *self.functions)

    @property
    def conceals(self) -> bool:
        """Whether there are credentials that instances are not to see."""
        kinds = (*self.jwt, self.api_key, self.basic, *self.functions.values())
        return any(one is not None and not one.forward_credentials for one in kinds)

    def plan(self, calls: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
        """Its part of the plan; none without any authenticator. `calls` are those of functions, by name."""
        if not self.authenticators:
            return None
        plans: list[tuple[tuple[Step, ...], dict[str, Any]]]
        plans = [(("jwt", index), jwt.plan()) for index, jwt in enumerate(self.jwt)]
        single = (("api_key", self.api_key), ("basic", self.basic), ("client_certificate", self.client_certificate))
        plans += [((kind,), one.plan()) for kind, one in single if one]
        plans += [(("functions", name), one.plan(name, calls[name])) for name, one in self.functions.items()]
        return {
            **self.model_dump(mode="json", include={"realm", "failure_limit"}),
            "authenticators": [PlanPart(plan, Origin(("auth", *path), from_root=True)) for path, plan in plans],
        }


def key_hash(key: str) -> str:
    """What stands in the configuration for an API key."""
    return hashlib.sha256(key.encode()).hexdigest()
