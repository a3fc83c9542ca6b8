"""Client certificates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import BeforeValidator, Field

from pylae.config.document.nodes import Finding
from pylae.config.models.authenticators.kind import AuthenticatorKind, Identity, Words, by_name, one_or_more
from pylae.config.models.base import Settings
from pylae.config.models.tls import ListenerTls

if TYPE_CHECKING:
    from pylae.settings.fields import CertifiedUserFields, ClientCertificateFields


class CertifiedUser(Settings):
    """A user with a certificate."""

    email: Identity | Literal[""] = ""
    """E-mail address."""
    role: Identity | Literal[""] = ""
    """Role."""
    permissions: Words = ()
    """Permissions of the user."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CertifiedUserFields]) -> None: ...


Subject = Literal["common_name", "dns", "email", "uri"]


class ClientCertificate(AuthenticatorKind):
    """Client certificates from the TLS handshake, on listeners whose `tls` has `client_auth`."""

    id: Annotated[
        tuple[Subject, ...],
        BeforeValidator(one_or_more, json_schema_input_type=Subject | list[Subject]),
        Field(min_length=1),
    ] = ("common_name", "email", "dns", "uri")
    """Parts of the certificate that contain the user's id: the common name of the subject, or the first alternative
    name of a kind. The first part that exists counts."""
    users: dict[Identity, CertifiedUser] | None = None
    """Users by id. If given, no one else is admitted. Without it, every client with a valid certificate is a user,
    without role and permissions."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ClientCertificateFields]) -> None: ...

    def plan(self) -> dict[str, Any]:
        users = None
        if self.users is not None:
            users = [by_name(name, user.model_dump(mode="json")) for name, user in self.users.items()]
        return {"kind": "client_certificate", "id": list(self.id), "users": users}

    def mistakes(self, listeners: Sequence[ListenerTls | None], /) -> Iterator[Finding]:
        if not any(tls and tls.client_auth for tls in listeners):
            hint = "add `client_auth: {ca: …}` to the `tls` of a listener"
            yield Finding((), "no listener asks clients for a certificate", hint)
