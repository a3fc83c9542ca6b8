"""Why an exchange ended as it did: which policy has decided it, by the code of the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_DECIDED: Mapping[str, tuple[str, ...]] = {
    "unauthorized": ("authentication", "authorization", "require"),
    "invalid_token": ("authentication",),
    "invalid_request": ("authentication",),
    "authentication_unavailable": ("authentication",),
    "too_many_failures": ("authentication",),
    "cross_site_request": ("authentication",),
    "forbidden": ("authorization", "require"),
    "address_refused": ("ip_access",),
    "rate_limited": ("address_limit", "rate_limit"),
    "missing_header": ("validation",),
    "missing_parameter": ("validation",),
    "unsupported_media_type": ("validation",),
    "encoded_body": ("validation",),
    "invalid_json": ("validation",),
    "schema_mismatch": ("validation",),
}
"""The policies that answer with a code."""
_WHY = {
    "unauthorized": "The request brought no credentials that are accepted here.",
    "forbidden": "The user may not do this: a role, a permission or another requirement of the route is not met.",
    "address_refused": "The address of the client is not allowed.",
    "rate_limited": "A limit of the route was reached by this client.",
    "too_many_failures": "Too many wrong credentials came from this client.",
    "authentication_unavailable": "Who the user is could not be found out: a server that is asked did not answer.",
    "cross_site_request": "A page of another site sent the request with the user's session.",
    "no_route": "No route takes this path.",
    "method_not_allowed": "There are routes for this path, but not for this method.",
    "misdirected_request": "The gateway does not serve this host.",
    "service_unavailable": "No instance of the service could take the request.",
    "breaker_open": "The breaker of the service is open: it had failed too often.",
    "connect_failed": "No instance could be connected to.",
    "bad_gateway": "The instance broke off, or its answer was not valid HTTP.",
    "gateway_timeout": "The instance did not answer in time.",
    "overloaded": "The gateway had as many requests in flight as it takes.",
    "maintenance": "The gateway, the service or the route is switched to maintenance.",
    "client_gone": "The client has closed the connection.",
    "hook_failed": "A hook of the route failed.",
}


def why(exchange: Mapping[str, Any]) -> str:
    """Says in a sentence why an exchange ended as it did."""
    code, status = exchange.get("code"), exchange.get("status")
    if code:
        return _WHY.get(code, f"The gateway answered with `{code}`.")
    if exchange.get("instance"):
        return f"The instance {exchange['instance']} answered with {status}."
    return f"The gateway answered with {status}: from its cache, by a policy or by a hook."


def deciding(exchange: Mapping[str, Any], policies: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the explained policies of a route that may have given an answer with the code of an exchange."""
    names = _DECIDED.get(exchange.get("code") or "", ())
    return [policy for policy in policies if policy["name"] in names]
