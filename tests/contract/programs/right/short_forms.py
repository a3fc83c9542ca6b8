"""Every short form that the guides show, and the full one beside it."""

from datetime import timedelta
from typing import Any

from pylae import Gateway, Route, Service
from pylae.settings import (
    ApiKey,
    Cache,
    CircuitBreaker,
    Compression,
    ConsulDiscovery,
    Cors,
    Discovery,
    HealthCheck,
    Instance,
    Jwt,
    Limits,
    Listener,
    LoadBalancer,
    RateLimit,
    Redirect,
    SecurityHeaders,
    StaticResponse,
    Transform,
    Validation,
)
from pylae.settings.fields import RateLimitLike, RouteFields, ServiceLike

Route(path="/a", service="a", method="GET|POST", timeout=30, rate_limit=100, circuit_breaker=True)
Route(path="/a", service="a", method=["GET", "POST"], timeout="5s", rate_limit="10/minute", cors=False)
Route(path="/a", service="a", methods=("GET",), timeout=timedelta(seconds=2.5), rate_limit=RateLimit(limit=5), cors="*")
Route(path="/a", service_name="a", retry_count=2, hosts="a.example|b.example", rate_limit={"limit": 5, "per": "1m"})
Route(path="/a", service="a", rate_limit=[5, "10/s", {"limit": 50, "per": "1h", "key": "ip+route"}], cache="5m")
Route(path="/a", service="a", rate_limit={"limit": 5, "concurrency": 2}, cache=60, mirror="b", address_limit=10)
Route(path="/a", service="a", cache=True, cors=["https://app.example"], compression="gzip", websocket=True)
Route(path="/a", service="a", cache=Cache(ttl="5m"), cors=Cors(origins="*"), compression=["br", "gzip"])
Route(path="/a", service="a", query={"v": "1", "x": True, "n": 3, "p": {"pattern": "a+"}}, retry_on="reset|timeout")
Route(path="/a", service="a", retry_on=["reset"], strip_prefix=False, roles="admin|owner", permissions=["a:b"])
Route(path="/a", service="a", transform={"request": {"set": {"X-Version": 2}, "remove": "X-Debug"}})
Route(path="/a", service="a", validation=Validation(max_body="2MB", json_body=True), ip_access={"allow": "10.0.0.0/8"})
Route(path="/a", service_url="http://127.0.0.1:9001", circuit_breaker={"failure_threshold": 5, "timeout": "1m"})
Route(path="/a", redirect="/b", auth_required=False)
Route(path="/a", redirect=Redirect(to="/b", status=301), auth_required=False)
Route(path="/a", static_response={"status": 410, "body": {"error": "gone"}}, auth_required=False)
Route(path="/a", static_response=StaticResponse(body=["a"]), auth_required=False)
Service(instances=["http://127.0.0.1:9001", {"url": "http://127.0.0.1:9002", "weight": 2}], load_balancer="p2c")
Service(instances=[Instance(url="http://127.0.0.1:9001")], load_balancer=LoadBalancer(kind="random"), sticky=True)
Service(instances=("http://127.0.0.1:9001",), health_check={"path": "/up", "interval": 10}, circuit_breaker=True)
Service(discovery={"dns": "users.internal:8000"}, health_check=HealthCheck(timeout=timedelta(seconds=1)))
Service(discovery={"consul": "users"})
Service(discovery=Discovery(consul=ConsulDiscovery(service="users", address="https://127.0.0.1:8501", wait="5m")))
Service(discovery={"docker": {"labels": ["pylae.service=users"], "port": 8000}})
Service(discovery={"file": "instances.yaml"}, circuit_breaker=CircuitBreaker(timeout="1m"), queue={"size": 10})

Gateway(listeners="127.0.0.1:8080")
Gateway(listeners=["127.0.0.1:8080", Listener(address="127.0.0.1:8081"), {"address": "127.0.0.1:8082", "http2": True}])
Gateway(listeners=[{"address": "127.0.0.1:8443", "tls": "auto"}])
Gateway(listeners=[{"address": "127.0.0.1:8443", "tls": {"cert": "a.pem", "key": "a.key"}}])
Gateway(limits=Limits(max_body="10MB", head_timeout=5), admin=False, health={"degraded_duration": None})
Gateway(limits={"max_body": 1024, "http2": {"max_streams": 10}}, admin="127.0.0.1:9901", trusted_proxies=["10.0.0.1"])
Gateway(auth={"jwt": {"secret": "s" * 40}, "failure_limit": False})
Gateway(auth={"jwt": [Jwt(name="a", secret="s" * 40), {"name": "b", "secret": ["t" * 40, "u" * 40]}]})
Gateway(auth={"api_key": ApiKey(consumers={"billing": "0" * 64, "shop": {"keys": ["1" * 64], "role": "admin"}})})
Gateway(policies={"cors": {}, "security_headers": SecurityHeaders(hsts="always", csp=False), "access_log": True})
Gateway(policies={"transform": Transform(response_time=True), "compression": Compression(min_size="4KB")})

# What is put together elsewhere: typed, or as a document gave it.
orders: RouteFields = {"path": "/orders", "service": "orders", "rate_limit": "10/s"}
limit: RateLimitLike = "100/minute"
service: ServiceLike = {"instances": ["http://127.0.0.1:9003"]}
loose: dict[str, Any] = {"path": "/loose", "service": "orders"}
urls = ["http://127.0.0.1:9001", "http://127.0.0.1:9002"]

gateway = Gateway()
gateway.add_service("orders", service)
gateway.add_service("users", urls, load_balancer="least_connections")
gateway.add_service("one", "http://127.0.0.1:9001")
gateway.add_service("named", instances=urls, connect_timeout="2s")
gateway.add_service("made", Service(instances=urls))
gateway.add_route(orders)
gateway.add_route(Route(**loose))
gateway.add_route({"prefix": "/users", "service": "users", "rate_limit": limit, "auth_required": False})
gateway.add_route(path="/one", service="one", auth_required=False, timeout=5)
