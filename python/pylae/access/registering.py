"""Which instances a token may register."""

from __future__ import annotations

import functools
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pylae.access.token import Token
from pylae.access.tokens import ScopeError

Address = IPv4Address | IPv6Address


def check_address(token: Token, host: str, caller: str | None) -> None:
    """Raises ScopeError unless instances at this host are in the networks of a token, or at the caller's address.

    `host` is that of a URL or of `host:port`, without brackets. `caller` is None at a socket of this machine.
    """
    address = _address(host)
    if address is None:
        raise ScopeError(f"with the token {token.name}, an instance is registered by its IP address, not by {host!r}")
    if token.networks:
        if not any(address in _network(one) for one in token.networks):
            raise ScopeError(f"the token {token.name} is for instances in {', '.join(token.networks)}, not {address}")
        return
    own = _address(caller or "")
    if own is None:
        raise ScopeError(f"the token {token.name} has no networks, and this caller has no address of its own")
    if address != own:
        raise ScopeError(f"with the token {token.name}, {own} can register instances at its own address, not {address}")


@functools.lru_cache(4096)
def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)


def _address(text: str) -> Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # The same address in another notation.
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
