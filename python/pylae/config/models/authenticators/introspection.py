"""Tokens whose issuer is asked about them (RFC 7662)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import Field, SecretStr, model_validator

from pylae.config.document.nodes import Finding
from pylae.config.models.authenticators.asking import AskingAuthenticator, ServerUrl
from pylae.config.models.authenticators.binding import CertificateBound, Dpop, binding_mistakes, binding_plan
from pylae.config.models.authenticators.jwt import ClaimNames
from pylae.config.models.authenticators.kind import AuthenticatorName, Words
from pylae.config.models.base import refusal
from pylae.config.models.tls import ListenerTls
from pylae.config.origin import Origin, PlanPart
from pylae.units import ByteSize, Duration, Wait

if TYPE_CHECKING:
    from pylae.settings.fields import IntrospectionFields


class Introspection(AskingAuthenticator):
    """Tokens in `Authorization: Bearer` that only their issuer can read. The gateway asks it about each new one.

    `endpoint`, `issuer` or both are required.
    """

    name: AuthenticatorName = "introspection"
    """Name by which routes choose it. Required if there are several."""
    endpoint: ServerUrl | None = None
    """URL of the introspection endpoint. By default what the issuer's discovery document says."""
    issuer: ServerUrl | None = None
    """URL of the issuer. An answer that names another one (`iss`) is refused."""
    client_id: Annotated[str, Field(min_length=1, max_length=1024)]
    """The gateway's id at the issuer."""
    client_secret: SecretStr | None = None
    """The gateway's secret at the issuer. Without one, only `client_id` is sent."""
    client_auth: Literal["basic", "post"] = "basic"
    """How the secret is sent: in `Authorization: Basic`, or in the body."""
    audience: Words = ()
    """Accepted audiences (`aud`), one of which the answer must name. The default is all."""
    claims: ClaimNames = ClaimNames()
    """Names of the members of an answer that describe the user."""
    leeway: Wait = timedelta(seconds=30)
    """Allowed difference between the clocks of gateway and issuer."""
    cache: Duration = timedelta(minutes=1)
    """Longest time for which an answer is remembered, at most until the token expires. That a token is not active is
    remembered too. A token that is revoked at the issuer is accepted for this long."""
    jwt: bool = False
    """Ask for signed answers (RFC 9701) and accept no others. `issuer` is required, whose keys verify them."""
    max_size: Annotated[ByteSize, Field(ge=64, le=2**16)] = 8 * 1024
    """Largest token. Larger ones are refused."""
    dpop: Dpop | None = None
    """Proofs of possession of a token's key. Understood without this setting too, if the answer has `cnf`."""
    certificate_bound: CertificateBound = "accepted"
    """`required`: refuse tokens that are not bound to the client's certificate. A token that is bound to one is always
    refused without it."""
    forward_credentials: bool = True
    """Send the token to instances, on all routes, and the proof of DPoP with it."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[IntrospectionFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> Introspection:
        if self.endpoint is None and self.issuer is None:
            raise refusal("needs `endpoint` or `issuer`", "`issuer` finds the endpoint by discovery")
        if self.jwt and self.issuer is None:
            raise refusal("`jwt` needs `issuer`, whose keys verify the answers")
        if self.client_auth == "basic" and self.client_secret is None and "client_auth" in self.model_fields_set:
            raise refusal("`client_auth: basic` needs `client_secret`")
        return self

    @property
    def servers(self) -> Iterator[tuple[str, str]]:
        yield from ((key, url) for key in ("endpoint", "issuer") if (url := getattr(self, key)) is not None)

    def plan(self) -> dict[str, Any]:
        return {
            "kind": "introspection",
            "via": "introspection",
            "challenge": "Bearer",
            "key": ["bearer"],
            **self.model_dump(mode="json", include={"cache", "leeway", "forward_credentials"}),
            "binding": PlanPart(binding_plan(self.dpop, self.certificate_bound), Origin(())),
        }

    def mistakes(self, listeners: Sequence[ListenerTls | None], /) -> Iterator[Finding]:
        yield from binding_mistakes(self.certificate_bound, listeners)
