"""TLS for clients and for instances. Certificates and keys are PEM files."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pylae.config.document.files import MAX_SECRET_BYTES, read_bytes, reason
from pylae.config.document.nodes import Finding, Step
from pylae.config.models.base import Settings, refusal
from pylae.errors import Problem
from pylae.state.local_tls import bundle
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import CertifiedKeyFields, ClientAuthFields, ListenerTlsFields, ServiceTlsFields


def _file(text: str) -> str:
    if "-----BEGIN" in text:
        raise refusal("must be the name of a file, not its content", "leave out `${file:…}`", secret=True)
    if not text or "\0" in text:
        raise refusal("must be the name of a file")
    return text


PemFile = Annotated[str, AfterValidator(_file)]
"""Name of a PEM file, relative to the configuration's folder."""


def _version(value: Any) -> Any:
    # Without quotes YAML reads a number.
    return str(value) if isinstance(value, float) else value


Version = Annotated[
    Literal["1.2", "1.3"], BeforeValidator(_version, json_schema_input_type=Literal["1.2", "1.3", 1.2, 1.3])
]
"""A version of TLS."""


class CertifiedKey(Settings):
    """A certificate chain and its private key."""

    cert: PemFile
    """PEM file with the certificate and the intermediate certificates, in this order."""
    key: PemFile
    """PEM file with the private key, without a passphrase."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[CertifiedKeyFields]) -> None: ...


class ClientAuth(Settings):
    """Client certificates. A file is short for `ca`."""

    short = {"type": "string"}

    ca: PemFile
    """PEM file with the certificates of the trusted authorities."""
    mode: Literal["required", "optional"] = "required"
    """`required` refuses clients without a certificate. With `optional`, each route decides, by the authenticator
    `client_certificate`. Invalid certificates are refused in both modes."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ClientAuthFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"ca": value} if isinstance(value, str) else value


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, dict | CertifiedKey) else value


class ListenerTls(Settings):
    """TLS for clients. `{cert: …, key: …}` is short for one certificate, and `auto` for `{auto: true}`."""

    short = {
        "anyOf": [
            {"const": "auto"},
            {
                "type": "object",
                "properties": {"cert": {"type": "string"}, "key": {"type": "string"}},
                "required": ["cert", "key"],
            },
        ]
    }

    certificates: Annotated[
        tuple[CertifiedKey, ...],
        BeforeValidator(_one_or_more, json_schema_input_type=CertifiedKey | list[CertifiedKey]),
    ] = ()
    """Certificates. The server name that the client asks for decides which one it gets; clients that ask for no known
    name get the first. You can replace the files while the gateway runs."""
    auto: bool = False
    """Create a certificate for this machine and keep it in the user's state directory. For development."""
    min_version: Version = "1.2"
    """Oldest TLS version to accept."""
    client_auth: ClientAuth | None = None
    """Client certificates. Not requested unless given."""
    session_tickets: bool = True
    """Let clients resume a session. This saves them a round trip, and both sides a signature."""
    handshake_timeout: Duration = timedelta(seconds=10)
    """Total time for a handshake."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ListenerTlsFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if value == "auto":
            return {"auto": True}
        if not isinstance(value, dict) or "certificates" in value or not value.keys() & {"cert", "key"}:
            return value
        pair = {name: value[name] for name in ("cert", "key") if name in value}
        return {"certificates": [pair], **{name: rest for name, rest in value.items() if name not in pair}}

    @model_validator(mode="after")
    def _fits(self) -> ListenerTls:
        if self.auto == bool(self.certificates):
            text = "has `auto` and certificates; only one can be given" if self.auto else "needs a certificate"
            raise refusal(
                text, None if self.auto else "e.g. {cert: example.pem, key: example.key}, or auto on your own machine"
            )
        return self

    def plan(self, texts: Texts, path: tuple[Step, ...]) -> dict[str, Any]:
        """Returns its part of the plan. `path` is its place in the model."""
        pairs = (
            [dict.fromkeys(("cert", "key"), bundle(create=texts.create))]
            if self.auto
            else [
                {
                    name: texts.read(getattr(pair, name), (*path, "certificates", index, name))
                    for name in ("cert", "key")
                }
                for index, pair in enumerate(self.certificates)
            ]
        )
        auth = self.client_auth
        asked = auth and {"ca": texts.read(auth.ca, (*path, "client_auth", "ca")), "mode": auth.mode}
        same = {"min_version", "session_tickets", "handshake_timeout"}
        return {"certificates": pairs, "client_auth": asked, **self.model_dump(mode="json", include=same)}


class ServiceTls(Settings):
    """TLS for instances: whom the gateway trusts, and which certificate it presents."""

    verify: bool = True
    """Verify the certificates of instances. Without this, anyone on the network can pose as an instance."""
    ca: PemFile | None = None
    """PEM file with the trusted authorities, or with self-signed certificates of instances. The default is the system's
    authorities."""
    server_name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Server name to ask for, which the certificate must contain. The default is the host of each instance's URL."""
    cert: PemFile | None = None
    """PEM file with the gateway's own certificate and intermediate certificates, for instances that request one."""
    key: PemFile | None = None
    """PEM file with the private key of `cert`."""
    min_version: Version = "1.2"
    """Oldest TLS version to accept."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ServiceTlsFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> ServiceTls:
        if (self.cert is None) != (self.key is None):
            raise refusal("`cert` and `key` belong together")
        if not self.verify and self.ca is not None:
            raise refusal("`ca` has no effect with `verify: false`", "leave out one of them")
        return self

    def plan(self, texts: Texts, path: tuple[Step, ...]) -> dict[str, Any]:
        """Returns its part of the plan. `path` is its place in the model."""
        pair = {name: texts.read(file, (*path, name)) for name in ("cert", "key") if (file := getattr(self, name))}
        return {
            **self.model_dump(mode="json", include={"verify", "server_name", "min_version"}),
            "ca": self.ca and texts.read(self.ca, (*path, "ca")),
            "certificate": pair or None,
        }


class Texts:
    """Reads the files that settings name, while the plan is made.

    Attributes:
        create: Whether it may create and store a certificate for this machine.
        files: The files that were read, with the hashes of their content.
        findings: The files that could not be read.
        problems: What is wrong inside a file.
    """

    def __init__(self, folder: Path | None = None, *, create: bool = False) -> None:
        self.create = create
        self._folder = folder or Path()
        self.files: dict[Path, str | None] = {}
        self.findings: list[Finding] = []
        self.problems: list[Problem] = []

    def read(self, name: str, path: tuple[Step, ...]) -> str:
        """Returns the text of a file. If it cannot be read, notes a finding at `path` and returns an empty text."""
        return (self._read(name, path, MAX_SECRET_BYTES) or b"").decode("ascii", "replace")

    def read_utf8(self, name: str, path: tuple[Step, ...], limit: int) -> str | None:
        """Returns the text of a file of at most `limit` bytes. If it cannot be read, notes a finding at `path` and
        returns None.
        """
        data = self._read(name, path, limit)
        try:
            return None if data is None else data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.find(path, f"the file {name} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}")
            return None

    def _read(self, name: str, path: tuple[Step, ...], limit: int) -> bytes | None:
        try:
            return read_bytes(self.file(name), limit, self.files)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            hint = f"looked for it at {self.file(name).absolute()}" if missing else None
            self.find(path, f"the file {name} cannot be read: {reason(error)}", hint)
            return None

    def find(self, path: tuple[Step, ...], message: str, hint: str | None = None) -> None:
        """Notes what is wrong at `path`."""
        self.findings.append(Finding(path, message, hint))

    def file(self, name: str) -> Path:
        """The path of a file by its name."""
        return self._folder / name
