"""Addresses to listen on, and those of servers to connect to."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from pylae.config.models.base import refusal

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_PORT = re.compile(r"[0-9]{1,5}")
_PORT_ALONE = (
    "is a port without an address",
    'write "127.0.0.1:{found}" for this machine alone, or "0.0.0.0:{found}" for all addresses',
)
_SERVER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}))(?::(?P<port>[0-9]{1,5}))?")
_ADDRESS_HINT = 'write it like "127.0.0.1:8080", "[::1]:8080", or ":8080" for all addresses'


def listen_address(text: str) -> str:
    """Returns `ip:port` in canonical form. `localhost` becomes 127.0.0.1; without a host, it is all IPv4 addresses.

    Raises what `refusal` makes if the text is not an IP address with port.
    """
    match = _ADDRESS.fullmatch(text.strip())
    port = _PORT.fullmatch(match["port"] if match else text.strip())
    if port and int(port[0]) > 65535:
        raise refusal("a port is at most 65535")
    if not match:
        raise refusal(*(_PORT_ALONE if port else ("is not an address with port", _ADDRESS_HINT)))
    host = {"": "0.0.0.0", "*": "0.0.0.0", "localhost": "127.0.0.1"}.get(match["host"], match["host"])  # noqa: S104
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise refusal("a listener needs an IP address, not a name", _ADDRESS_HINT) from None
    return f"[{ip}]:{int(match['port'])}" if ip.version == 6 else f"{ip}:{int(match['port'])}"


def server_of(text: str, port: int, hint: str) -> tuple[str, int]:
    """Returns the host, without brackets, and the port of `host` or `host:port`; `port` is the default.

    Raises what `refusal` makes, with this hint, if the text is neither.
    """
    found = _SERVER.fullmatch(text.strip())
    if not found or int(found["port"] or port) not in range(1, 65536):
        raise refusal("has a server that is not HOST or HOST:PORT", hint)
    host = found["host"]
    if host.startswith("["):
        try:
            host = str(ipaddress.IPv6Address(host.strip("[]")))
        except ValueError:
            raise refusal("has a server that is not HOST or HOST:PORT", hint) from None
    return host.lower(), int(found["port"] or port)


def is_loopback(address: str) -> bool:
    """Returns true if only this machine can connect to a listening address `ip:port`."""
    ip = ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    # Python 3.13 says of ::ffff:127.0.0.1 that it is, earlier ones that it is not.
    return ip.is_loopback and (ip.version == 4 or ip.ipv4_mapped is None)


def number_as_text(value: Any) -> Any:
    """Converts a number to text. A port alone, without quotes, is then reported as a text that is not an address."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ListenAddress = Annotated[
    str, BeforeValidator(number_as_text, json_schema_input_type=str), AfterValidator(listen_address)
]
"""`ip:port`."""


def is_this_machine(host: str) -> bool:
    """Returns true if the host of a URL is this machine, in any notation.

    IPv4 addresses may be shortened, hexadecimal or a single number (inet_aton), or mapped to IPv6 (RFC 4291 section
    2.5.5.2). The names are `localhost` and its subdomains (RFC 6761 section 6.3), and those that Debian adds.
    """
    name = host.strip("[]").lower().removesuffix(".")
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return True
    ip = _address(name)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    found = mapped or ip
    # A connection to "any address" is one to this machine.
    return found is not None and (found.is_loopback or found.is_unspecified)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except (OSError, ValueError):
        return None
