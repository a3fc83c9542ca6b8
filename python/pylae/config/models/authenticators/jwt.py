"""JSON Web Tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from pylae.config.document.nodes import Finding
from pylae.config.models.address import is_this_machine
from pylae.config.models.authenticators.binding import CertificateBound, Dpop, binding_mistakes, binding_plan
from pylae.config.models.authenticators.kind import AuthenticatorKind, AuthenticatorName, Words, one_or_more
from pylae.config.models.base import Settings, as_json, refusal
from pylae.config.models.tls import ListenerTls
from pylae.config.origin import Origin, PlanPart
from pylae.units import ByteSize, Duration, Wait

if TYPE_CHECKING:
    from pylae.settings.fields import ClaimNamesFields, JwtFields

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]

WEAK_SECRET = 32
"""Fewest bytes with which a secret is as strong as HS256 (RFC 7518 section 3.2)."""


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
    """Returns a JWK set as text, whether it is given as text or as a mapping."""
    return as_json(value) if isinstance(value, dict) else value


class ClaimNames(Settings):
    """Claims of a token that describe the user. The first claim that exists counts; `a.b` is `b` inside `a`."""

    id: Annotated[Words, Field(min_length=1)] = ("user_id", "sub")
    """The user's id: a text or a whole number."""
    email: Words = ("email",)
    """The e-mail address."""
    role: Words = ("role",)
    """The role: a text, or a list of texts for several."""
    permissions: Words = ("permissions", "scope")
    """The permissions: a list of texts, or one text separated by spaces."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ClaimNamesFields]) -> None: ...


class Jwt(AuthenticatorKind):
    """JSON Web Tokens in `Authorization: Bearer`. Exactly one of `secret`, `public_key`, `jwks` and `jwks_url` is
    required.
    """

    name: AuthenticatorName = "jwt"
    """Name by which routes choose it. Required if there are several."""
    secret: (
        Annotated[
            tuple[Annotated[SecretStr, AfterValidator(_secret)], ...],
            BeforeValidator(one_or_more, json_schema_input_type=str | list[str]),
            Field(min_length=1),
        ]
        | None
    ) = None
    """Secret for HS256, HS384 or HS512. If there are several, all are accepted, and the first one signs."""
    public_key: Annotated[Words, Field(min_length=1)] | None = None
    """Public keys in PEM: RSA, P-256, P-384, P-521 or Ed25519. `${file:key.pem}` reads a file."""
    jwks: Annotated[SecretStr, BeforeValidator(_document, json_schema_input_type=str | dict[str, Any])] | None = None
    """A JWK set (RFC 7517). `${file:keys.json}` reads a file."""
    jwks_url: Annotated[str, AfterValidator(_url)] | None = None
    """URL of a JWK set. The gateway fetches it every `refresh`, and when a token names an unknown key."""
    algorithms: Annotated[
        tuple[Algorithm, ...], BeforeValidator(one_or_more, json_schema_input_type=Algorithm | list[Algorithm])
    ] = ()
    """Accepted algorithms. The default is the usual one of each key: HS256, RS256, ES256, ES384, ES512 or EdDSA. The
    token itself never decides."""
    issuer: Words = ()
    """Accepted issuers (`iss`). The default is all."""
    audience: Words = ()
    """Accepted audiences (`aud`), one of which a token must name. The default is all."""
    required_claims: Words = ("exp",)
    """Claims that every token must have."""
    leeway: Wait = timedelta(seconds=30)
    """Allowed difference between the clocks of gateway and issuer."""
    claims: ClaimNames = ClaimNames()
    """Names of the claims that describe the user."""
    max_size: Annotated[ByteSize, Field(ge=64, le=2**16)] = 8 * 1024
    """Largest token. Larger ones are refused."""
    refresh: Duration = timedelta(minutes=10)
    """How often to fetch `jwks_url`. A token with an unknown key also triggers a fetch, at most every 30 seconds."""
    dpop: Dpop | None = None
    """Proofs of possession of a token's key. Understood without this setting too."""
    certificate_bound: CertificateBound = "accepted"
    """`required`: refuse tokens that are not bound to the client's certificate. A token that is bound to one is always
    refused without it."""
    forward_credentials: bool = True
    """Send the token to instances, on all routes, and the proof of DPoP with it."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[JwtFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> Jwt:
        sources = [name for name in ("secret", "public_key", "jwks", "jwks_url") if getattr(self, name) is not None]
        if len(sources) != 1:
            found = f"has {' and '.join(f'`{name}`' for name in sources)}; give only one" if sources else "needs one"
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
        same = {"name", "algorithms", "refresh", "max_size", "required_claims", "leeway", "claims"}
        return {
            "kind": "jwt",
            **self.model_dump(mode="json", include=same | {"forward_credentials"}),
            "keys": self._keys(),
            "binding": PlanPart(binding_plan(self.dpop, self.certificate_bound), Origin(())),
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

    def mistakes(self, listeners: Sequence[ListenerTls | None], /) -> Iterator[Finding]:
        yield from binding_mistakes(self.certificate_bound, listeners)

    def weaknesses(self) -> Iterator[Finding]:
        for secret in self.secret or ():
            length = len(secret.get_secret_value().encode())
            if length < WEAK_SECRET:
                text = f"the secret has {length} bytes; a secret below {WEAK_SECRET} bytes can be guessed from a token"
                yield Finding(("secret",), text, "e.g. `openssl rand -base64 48`")
        if self.jwks_url is not None and not self.audience:
            text = "without `audience`, tokens of this issuer for any service are accepted"
            yield Finding(("jwks_url",), text)
        parts = urlsplit(self.jwks_url or "")
        if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
            text = "anyone on the network can replace keys that come over http://"
            yield Finding(("jwks_url",), text, "use https://")


def _keys_from(setting: str, kind: str, value: object) -> PlanPart:
    origin = Origin((setting,))
    return PlanPart({"from": kind, "value": value}, Origin((setting,), entries={"from": origin, "value": origin}))
