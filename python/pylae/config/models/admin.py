"""Where the admin API listens, and who may use it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import AfterValidator, BeforeValidator, SecretStr, model_validator

from pylae.config.models.address import is_loopback, is_this_machine, listen_address, number_as_text
from pylae.config.models.base import Settings, refusal

if TYPE_CHECKING:
    from pylae.settings.fields import AdminFields

VARIABLE = "PYLAE_ADMIN"
"""Environment variable that gives the address, or switches the admin API off, where the configuration says nothing."""
DEFAULT_ADDRESS = "127.0.0.1:9901"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_REFERENCE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|file:[^{}\0]+")


def admin_address(text: str) -> str:
    """`ip:port`, or `unix:` and an absolute path."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path or len(path.encode()) > 107:
            raise refusal("a socket has an absolute path of at most 107 bytes", 'write it like "unix:/run/pylae.sock"')
        return text
    if text.strip().isdecimal():
        raise refusal("is a port without an address", 'write "127.0.0.1:{found}"')
    return listen_address(text)


def _token(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{16,512}", secret.get_secret_value()):
        raise refusal("a token is 16 to 512 visible ASCII characters", "openssl rand -hex 32 makes one", secret=True)
    return secret


def _host(text: str) -> str:
    name = text.lower()
    if not _NAME.fullmatch(name):
        raise refusal("is not a host name", "write it without scheme and port")
    return name


def _reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise refusal("is neither the name of a variable nor file:PATH", 'write it without ${ }: "NAME", "file:PATH"')
    return text


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Admin(Settings):
    """The admin API: everything about a running gateway, for those who have its token.

    An address alone is short for `address`. `admin: false` switches it off.
    """

    short = {"type": "string"}

    address: Annotated[
        str, BeforeValidator(number_as_text, json_schema_input_type=str), AfterValidator(admin_address)
    ] = DEFAULT_ADDRESS
    """`ip:port`, where port 0 takes a free one, or `unix:/path` for a socket that only its owner can use."""
    token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    """What every request must present; without it one is generated at the first start and kept in `token_file`."""
    token_file: str | None = None
    """File that holds the token, readable by its owner only; `admin-token` in the state folder if none is given."""
    hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = ()
    """Names besides localhost under which it is asked for. Requests for other names are refused: with names of their
    own (DNS rebinding) foreign web pages could reach it."""
    remote: bool = False
    """Allows an address that is not a loopback one. The token then crosses a network, and without TLS."""
    references: Annotated[
        tuple[Annotated[str, AfterValidator(_reference)], ...],
        BeforeValidator(_one_or_more, json_schema_input_type=str | list[str]),
    ] = ()
    """What configurations that come over the admin API may refer to wherever they like: variables as `NAME`, files as
    `file:PATH`, which settings may then name too. Everything else counts only where it stands already. Like `code`, it
    is of this node alone: only the node's own file changes it."""
    code: Annotated[tuple[str, ...], BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])] = ()
    """Hooks (`module:function`), plugins and sources of packages that they may use besides those that the configuration
    has already."""

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
            raise refusal("has `token` and `token_file`; only one of them")
        if not self.remote and not self.address.startswith("unix:") and not is_loopback(self.address):
            raise refusal(
                "the admin API listens on a loopback address or a unix socket",
                "`remote: true` allows others; the token then crosses the network in clear",
            )
        return self


def is_at(url: str, address: str) -> bool:
    """Whether the URL of an instance leads to an admin API on this address."""
    host, _, port = address.rpartition(":")
    at, _, its_port = url.partition("//")[2].rpartition(":")
    return its_port == port and (at == host or is_this_machine(at))


def default_admin() -> Admin | None:
    """What holds where the configuration says nothing about it. Raises ValueError if the environment is wrong."""
    given = os.environ.get(VARIABLE, "").strip()
    if given.lower() in ("off", "false", "0"):
        return None
    return Admin.model_validate(given or {})
