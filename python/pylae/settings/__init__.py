"""The settings as Python classes: all models of a configuration, and the base class for settings of plugins.

Wherever a function takes one of them, it also takes its short form or a mapping. `pylae.settings.fields` has types for
this (`RateLimitLike`) and for the keywords alone (`RateLimitFields`), to annotate your own functions.
"""

from __future__ import annotations

from pylae.cluster.settings import Cluster
from pylae.config.models.admin import Admin
from pylae.config.models.auth import AuthConfig
from pylae.config.models.authenticators.api_key import ApiKey, Consumer
from pylae.config.models.authenticators.basic import Account, Basic
from pylae.config.models.authenticators.binding import Dpop
from pylae.config.models.authenticators.client_certificate import CertifiedUser, ClientCertificate
from pylae.config.models.authenticators.forward_auth import ForwardAuth, ForwardAuthHeaders
from pylae.config.models.authenticators.function import AuthenticatorOptions, AuthenticatorUse, FunctionAuthenticator
from pylae.config.models.authenticators.introspection import Introspection
from pylae.config.models.authenticators.jwt import ClaimNames, Jwt
from pylae.config.models.authenticators.oidc import Oidc
from pylae.config.models.base import Settings
from pylae.config.models.condition import ValueTest
from pylae.config.models.config import Config, Http2Limits, Limits, Listener
from pylae.config.models.hooks import CallOptions, HookOptions, HookSet, HookSettings, PluginUse
from pylae.config.models.instance import Instance
from pylae.config.models.route import Route
from pylae.config.models.service import (
    CircuitBreaker,
    ClientCredentials,
    HealthCheck,
    LoadBalancer,
    PassiveHealth,
    Queue,
    RetryBudget,
    Service,
    Sticky,
)
from pylae.config.models.split import MemberHeaders, SplitMember, SplitSticky, When
from pylae.config.models.tls import CertifiedKey, ClientAuth, ListenerTls, ServiceTls
from pylae.config.models.websocket import WebSocket
from pylae.fleet.settings import RolloutSettings
from pylae.logs.settings import LogSettings
from pylae.monitoring import Thresholds
from pylae.policies import PolicySet
from pylae.policies.access_log import AccessLog
from pylae.policies.address_limit import AddressConcurrency, AddressLimit, AddressLimits
from pylae.policies.cache import Cache
from pylae.policies.compression import Compression
from pylae.policies.cors import Cors
from pylae.policies.ip_access import IpAccess
from pylae.policies.mirror import Mirror
from pylae.policies.rate_limit import Concurrency, RateLimit, RateLimits
from pylae.policies.redirect import Redirect
from pylae.policies.require import ClaimTest, Require
from pylae.policies.security_headers import Hsts, SecurityHeaders
from pylae.policies.static_response import StaticResponse
from pylae.policies.transform import Changes, Transform
from pylae.policies.validation import JsonBody, Validation
from pylae.registry.kinds import Discovery
from pylae.settings import sources
from pylae.settings.sources import *  # noqa: F403 (one for each kind that there is)
from pylae.store.settings import StoreSettings
from pylae.telemetry.settings import ExportedLogs, ExportedMetrics, Keep, Telemetry, Traces

__all__ = [
    "AccessLog",
    "Account",
    "AddressConcurrency",
    "AddressLimit",
    "AddressLimits",
    "Admin",
    "ApiKey",
    "AuthConfig",
    "AuthenticatorOptions",
    "AuthenticatorUse",
    "Basic",
    "Cache",
    "CallOptions",
    "CertifiedKey",
    "CertifiedUser",
    "Changes",
    "CircuitBreaker",
    "ClaimNames",
    "ClaimTest",
    "ClientAuth",
    "ClientCertificate",
    "ClientCredentials",
    "Cluster",
    "Compression",
    "Concurrency",
    "Config",
    "Consumer",
    "Cors",
    "Discovery",
    "Dpop",
    "ExportedLogs",
    "ExportedMetrics",
    "ForwardAuth",
    "ForwardAuthHeaders",
    "FunctionAuthenticator",
    "HealthCheck",
    "HookOptions",
    "HookSet",
    "HookSettings",
    "Hsts",
    "Http2Limits",
    "Instance",
    "Introspection",
    "IpAccess",
    "JsonBody",
    "Jwt",
    "Keep",
    "Limits",
    "Listener",
    "ListenerTls",
    "LoadBalancer",
    "LogSettings",
    "MemberHeaders",
    "Mirror",
    "Oidc",
    "PassiveHealth",
    "PluginUse",
    "PolicySet",
    "Queue",
    "RateLimit",
    "RateLimits",
    "Redirect",
    "Require",
    "RetryBudget",
    "RolloutSettings",
    "Route",
    "SecurityHeaders",
    "Service",
    "ServiceTls",
    "Settings",
    "SplitMember",
    "SplitSticky",
    "StaticResponse",
    "Sticky",
    "StoreSettings",
    "Telemetry",
    "Thresholds",
    "Traces",
    "Transform",
    "Validation",
    "ValueTest",
    "WebSocket",
    "When",
]
__all__ += sources.__all__
