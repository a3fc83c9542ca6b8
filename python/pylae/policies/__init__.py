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
from pylae.policies.security_headers import SecurityHeaders
from pylae.policies.static_response import StaticResponse
from pylae.policies.transform import Transform
from pylae.policies.validation import Validation

if TYPE_CHECKING:
    from pylae.settings.fields import PolicySetFields

__all__ = ["PolicySet"]


class PolicySet(Settings):
    """Policies by name: settings, `true` for the defaults, `false` for off. One line each, as the native
    table orders them."""

    access_log: Switch[AccessLog] = None
    """One line per exchange."""
    security_headers: Switch[SecurityHeaders] = None
    """Response fields that make browsers stricter."""
    compression: Switch[Compression] = None
    """Smaller responses for clients that understand them."""
    transform: Switch[Transform] = None
    """Changes fields of requests and responses."""
    ip_access: Switch[IpAccess] = None
    """Which client addresses may use it."""
    cors: Switch[Cors] = None
    """Lets pages of other origins call."""
    address_limit: Switch[AddressLimits] = None
    """How many requests an address may make, whoever sends them: decided before authentication."""
    rate_limit: Switch[RateLimits] = None
    """How many requests a client may make."""
    redirect: Switch[Redirect] = None
    """Sends clients elsewhere."""
    static_response: Switch[StaticResponse] = None
    """Answers without a service."""
    validation: Switch[Validation] = None
    """What requests must be like."""
    cache: Switch[Cache] = None
    """Answers repeated reads from memory."""
    mirror: Switch[Mirror] = None
    """Copies of requests to another service."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[PolicySetFields]) -> None: ...
