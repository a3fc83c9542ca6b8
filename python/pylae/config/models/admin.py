"""The admin API's address, token and permissions."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, BeforeValidator, SecretStr, model_validator

from pylae.config.document.nodes import Step
from pylae.config.models.address import is_loopback, is_this_machine, listen_address, number_as_text
from pylae.config.models.base import Settings, refusal
from pylae.config.models.tls import ListenerTls, Texts

if TYPE_CHECKING:
    from pylae.settings.fields import AdminFields

VARIABLE = "PYLAE_ADMIN"
"""Environment variable with the address of the admin API, or `off`. Used if the configuration does not set `admin`."""
DEFAULT_ADDRESS = "127.0.0.1:9901"
_HOW = "write `tls: {cert: admin.pem, key: admin.key}`, or `tls: auto` to have a certificate made for localhost"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_REFERENCE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|file:[^{}\0]+")


def admin_address(text: str) -> str:
    """Returns `ip:port` in canonical form, or `unix:` with an absolute path."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path or len(path.encode()) > 107:
            raise refusal("the path of a socket must be absolute and at most 107 bytes", 'e.g. "unix:/run/pylae.sock"')
        return text
    if text.strip().isdecimal():
        raise refusal("is a port without an address", 'write "127.0.0.1:{found}"')
    return listen_address(text)


def _token(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{16,512}", secret.get_secret_value()):
        raise refusal("a token is 16 to 512 visible ASCII characters", "`openssl rand -hex 32` makes one", secret=True)
    return secret


def _host(text: str) -> str:
    name = text.lower()
    if not _NAME.fullmatch(name):
        raise refusal("is not a host name", "write it without scheme and port")
    return name


def _reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise refusal(
            "is neither the name of a variable nor file:PATH", 'write it without ${ }, as in "NAME" or "file:PATH"'
        )
    return text


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Admin(Settings):
    """The admin API, which shows and controls the running gateway. Clients need its token.

    An address alone is short for `address`. `admin: false` switches it off.
    """

    short = {"type": "string"}
    removed = {"remote": f"off loopback the admin API speaks TLS: {_HOW}"}

    address: Annotated[
        str, BeforeValidator(number_as_text, json_schema_input_type=str), AfterValidator(admin_address)
    ] = DEFAULT_ADDRESS
    """`ip:port`, where port 0 picks a free port, or `unix:/path` for a socket that only its owner can use."""
    token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    """Token that every request must present: 16 to 512 visible ASCII characters. Without it, the gateway generates one
    at the first start and keeps it in `token_file`."""
    token_file: str | None = None
    """File with the token, readable by its owner only. The default is `admin-token` in the state folder."""
    hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = ()
    """Host names, besides localhost, by which clients may call the admin API. Requests for other names are refused, so
    that a web page cannot reach it through a name of its own (DNS rebinding)."""
    tls: ListenerTls | None = None
    """TLS, required unless the address is a loopback address or a socket. With `client_auth`, clients need a
    certificate besides the token."""
    references: Annotated[
        tuple[Annotated[str, AfterValidator(_reference)], ...],
        BeforeValidator(_one_or_more, json_schema_input_type=str | list[str]),
    ] = ()
    """Environment variables (`NAME`) and files (`file:PATH`) that configurations sent over the admin API may use
    anywhere. Other references are accepted only where the current configuration has them already. Like `code`, this
    setting belongs to the node: only the node's own file can change it."""
    code: Annotated[tuple[str, ...], BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])] = ()
    """Hooks (`module:function`), plugins and registry sources of packages that configurations sent over the admin API
    may use, besides those that the current configuration has already."""

    audit_log: bool = False
    """Write each line of the audit to the log too, as JSON, by the logger `pylae.audit`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[AdminFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        given = number_as_text(value)
        return {"address": given} if isinstance(given, str) else value

    @model_validator(mode="after")
    def _fits(self) -> Admin:
        if self.token is not None and self.token_file is not None:
            raise refusal("has `token` and `token_file`; only one of them can be given")
        if self.address.startswith("unix:"):
            if self.tls is not None:
                raise refusal("a unix socket speaks no TLS", "leave out `tls`")
        elif self.tls is None and not is_loopback(self.address):
            raise refusal("off loopback the admin API needs TLS, for its token", _HOW)
        if self.tls and self.tls.client_auth and self.tls.client_auth.mode != "required":
            raise refusal("the admin API cannot ask for certificates that are optional", "leave out `mode`")
        return self

    def plan(self, texts: Texts, path: tuple[Step, ...]) -> dict[str, Any]:
        """Returns its part of the plan. `path` is its place in the model."""
        return {"address": self.address, "tls": self.tls and self.tls.plan(texts, (*path, "tls"))}


def is_at(url: str, address: str) -> bool:
    """Returns true if the URL of an instance leads to an admin API at this address."""
    host, _, port = address.rpartition(":")
    at, _, its_port = url.partition("//")[2].rpartition(":")
    return its_port == port and (at == host or is_this_machine(at))


def default_admin() -> Admin | None:
    """Returns the settings if the configuration has none, from the environment variable `PYLAE_ADMIN`.

    Raises ValueError if the variable is not valid.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if given.lower() in ("off", "false", "0"):
        return None
    return Admin.model_validate(given or {})
