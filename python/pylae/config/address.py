"""Addresses that are listened on."""

from __future__ import annotations

import ipaddress
import re

from pylae.settings import refusal

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")
_ADDRESS_HINT = 'write it like "127.0.0.1:8080", "[::1]:8080", or ":8080" for all addresses'


def listen_address(text: str) -> str:
    """`ip:port` in canonical form. `localhost` is 127.0.0.1, and no host is all IPv4 addresses."""
    match = _ADDRESS.fullmatch(text.strip())
    if not match:
        raise refusal("is not an address with port", _ADDRESS_HINT)
    if int(match["port"]) > 65535:
        raise refusal("a port is at most 65535")
    host = {"": "0.0.0.0", "*": "0.0.0.0", "localhost": "127.0.0.1"}.get(match["host"], match["host"])  # noqa: S104
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise refusal("a listener needs an IP address, not a name", _ADDRESS_HINT) from None
    return f"[{ip}]:{int(match['port'])}" if ip.version == 6 else f"{ip}:{int(match['port'])}"
