"""Tokens that only the owner of a key may use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from pylae.config.document.nodes import Finding
from pylae.config.models.authenticators.kind import one_or_more
from pylae.config.models.base import Settings, refusal
from pylae.config.models.tls import ListenerTls
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import DpopFields

ProofAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Algorithm of a proof: one that signs with a private key."""

CertificateBound = Literal["accepted", "required"]
"""Whether tokens must be bound to the client's certificate (RFC 8705 section 3)."""


def _age(value: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= value <= timedelta(hours=1):
        raise refusal("must be 1 second to 1 hour")
    return value


def _secret(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value().encode()) < 32:
        raise refusal("needs 32 bytes or more", "e.g. `openssl rand -base64 48`", secret=True)
    return value


class Dpop(Settings):
    """Tokens that are sent as `Authorization: DPoP`, with a proof in `DPoP` that their owner has signed for this one
    request (RFC 9449). The gateway understands them without this setting too.
    """

    required: bool = False
    """Refuse tokens that are not bound to a key."""
    max_age: Annotated[Duration, AfterValidator(_age)] = timedelta(minutes=1)
    """How old a proof may be, besides `leeway`. The gateway remembers used proofs as long."""
    nonce: bool = False
    """Demand that proofs repeat a value of the gateway (`DPoP-Nonce`), so that nobody can make them in advance."""
    nonce_secret: Annotated[SecretStr, AfterValidator(_secret)] | None = None
    """Secret of which nonces are made, 32 bytes or more: the same on all nodes behind one address. Without it, each
    process makes its own up."""
    algorithms: Annotated[
        tuple[ProofAlgorithm, ...],
        BeforeValidator(one_or_more, json_schema_input_type=ProofAlgorithm | list[ProofAlgorithm]),
        Field(min_length=1),
    ] = ("ES256", "ES384", "ES512", "EdDSA", "PS256", "RS256")
    """Accepted algorithms of proofs."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[DpopFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> Dpop:
        if self.nonce_secret is not None and not self.nonce:
            raise refusal("`nonce_secret` needs `nonce: true`")
        return self


def binding_plan(dpop: Dpop | None, certificate_bound: CertificateBound) -> dict[str, Any]:
    """Returns the part `binding` of an authenticator's plan, with the fields of `BindingConfig` in Rust."""
    used = dpop or Dpop()
    secret = used.nonce_secret
    return {
        "dpop": {
            **used.model_dump(mode="json", include={"required", "max_age", "nonce", "algorithms"}),
            "announced": dpop is not None,
            "nonce_secret": secret.get_secret_value() if secret else None,
        },
        "certificate_required": certificate_bound == "required",
    }


def binding_mistakes(certificate_bound: CertificateBound, listeners: Sequence[ListenerTls | None]) -> Iterator[Finding]:
    """Yields a finding if certificates are required that no listener asks for. Paths begin at the authenticator."""
    if certificate_bound == "required" and not any(tls and tls.client_auth for tls in listeners):
        hint = "add `client_auth: {ca: …}` to the `tls` of a listener"
        yield Finding(("certificate_bound",), "no listener asks clients for a certificate", hint)
