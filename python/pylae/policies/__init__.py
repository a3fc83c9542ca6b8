"""The policies: one file each, and `PolicySet`, which holds them by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from pylae.config.models.base import Settings, Switch
from pylae.policies.access_log import AccessLog
from pylae.policies.address_limit import AddressLimits
from pylae.policies.cache import Cache
from pylae.policies.compression import Compression
from pylae.policies.cors import Cors
from pylae.policies.ip_access import IpAccess
from pylae.policies.mirror import Mirror
from pylae.policies.rate_limit import RateLimits
from pylae.policies.redirect import Redirect
from pylae.policies.require import Require
from pylae.policies.security_headers import SecurityHeaders
from pylae.policies.static_response import StaticResponse
from pylae.policies.transform import Transform
from pylae.policies.validation import Validation

if TYPE_CHECKING:
    from pylae.settings.fields import PolicySetFields

__all__ = ["PolicySet"]


class PolicySet(Settings):
    """The policies of a gateway or a route, by name. `true` switches a policy on with its defaults, `false` switches it
    off.

    The order of the fields is the order in which a request meets the policies.
    """

    access_log: Switch[AccessLog] = None
    """Writes one line per request to a file or to standard output."""
    security_headers: Switch[SecurityHeaders] = None
    """Adds the response headers that make browsers stricter."""
    compression: Switch[Compression] = None
    """Compresses responses for clients that accept it."""
    transform: Switch[Transform] = None
    """Changes header fields of requests and responses."""
    ip_access: Switch[IpAccess] = None
    """Allows or denies clients by IP address."""
    cors: Switch[Cors] = None
    """Lets web pages of other origins call the gateway."""
    address_limit: Switch[AddressLimits] = None
    """Limits the requests of an IP address, before authentication."""
    require: Switch[Require] = None
    """Refuses requests whose user or circumstances are not as required."""
    rate_limit: Switch[RateLimits] = None
    """Limits the requests of a client, after authentication."""
    redirect: Switch[Redirect] = None
    """Answers with a redirect."""
    static_response: Switch[StaticResponse] = None
    """Answers with a fixed response, without a service."""
    validation: Switch[Validation] = None
    """Refuses requests whose body, fields or query are not what the route accepts."""
    cache: Switch[Cache] = None
    """Answers repeated reads from memory."""
    mirror: Switch[Mirror] = None
    """Sends copies of requests to another service."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[PolicySetFields]) -> None: ...
