"""Compiles a configuration into the plan, the one document that the native side is given.

The plan's shape is `crates/core/src/plan.rs`; nothing there has a default, so all of it is written out here. Parts that
come from another path of the configuration than their own say so: see `pylae.config.origin`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pylae.config.models.authenticators.function import AuthenticatorOptions
from pylae.config.models.config import Config, Listener, available_cores
from pylae.config.models.instance import Instance
from pylae.config.models.route import Route
from pylae.config.models.service import LoadBalancer, Service
from pylae.config.models.tls import Texts
from pylae.config.origin import Origin, PlanPart
from pylae.config.pages import Pages
from pylae.config.routes import HOOKS, Call, Common, CompiledRoutes
from pylae.config.tables import policies_with
from pylae.policies import PolicySet

VERSION = 1
"""Shape of the plan."""


def compile_plan(config: Config, texts: Texts | None = None, calls: Sequence[Call] = ()) -> dict[str, Any]:
    """The plan of a configuration that passed `pylae.config.checks.check`.

    `texts` reads the files that it names; `calls` are the hooks in the order in which a request meets them.
    """
    return plain(compiled(config, texts, calls))


def plain(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a plan in which the routes are a list, too."""
    routes = plan["routes"]
    return {**plan, "routes": [routes[index] for index in range(len(routes))]}


def compiled(
    config: Config, texts: Texts | None = None, calls: Sequence[Call] = (), routes: CompiledRoutes | None = None
) -> dict[str, Any]:
    """The same with routes that are kept as JSON (`CompiledRoutes`), for plans that may be large.

    `routes` are still empty, and may know those of an earlier plan.
    """
    texts, routes = texts or Texts(), CompiledRoutes() if routes is None else routes
    config.store.look(texts, ("store",))
    config = _asked_as(config, calls)
    names = route_names(config)
    early = _early(config, calls)
    unrouted = _unrouted(config, early)
    asked = {call.authenticator: call.hook for call in calls if call.authenticator}
    pages = Pages(texts)
    errors = pages.plan(config.errors, ("errors",))
    routes.compile(config.routes, names, Common.of(config, calls, early), pages)
    for authenticator, at, path in config.auth.paths if config.auth else ():
        name = f"{authenticator}: {path}"
        call = Call((name,), False, asked[authenticator])
        origin = Origin(("auth", *at), from_root=True, whole=True)
        routes.add_own_path(name, path, call, origin)
    return {
        "version": VERSION,
        "workers": config.workers or available_cores(),
        "listeners": [_listener(index, listener, config, texts) for index, listener in enumerate(config.listeners)],
        "admin": config.admin.plan(texts, ("admin",)) if config.admin else None,
        "trusted_proxies": list(config.trusted_proxies),
        "hosts": list(config.hosts),
        "via": config.via,
        "cluster": config.cluster and config.cluster.plan(texts, ("cluster",)),
        "telemetry": config.telemetry and config.telemetry.plan(texts, ("telemetry",), names),
        "limits": config.limits.model_dump(mode="json"),
        "auth": config.auth.plan(asked) if config.auth else None,
        "services": [
            PlanPart(service_plan(name, service, texts), _origin_of_service(name, config))
            for name, service in all_services(config).items()
        ],
        "errors": errors,
        "routes": routes,
        "early": early,
        "unrouted": unrouted,
        "unused": _unused(config, unrouted, early),
    }


def json_of(plan: Mapping[str, Any]) -> str:
    """Returns a plan as the native side reads it."""
    routes = plan["routes"]
    if not isinstance(routes, CompiledRoutes):
        return json.dumps(plan)
    rest = json.dumps({key: value for key, value in plan.items() if key != "routes"})
    return f'{rest[:-1]}, "routes": {routes.as_json()}}}'


_GATEWAY_WIDE = Origin(("policies",), entries={"hooks": HOOKS})


def _asked_as(config: Config, calls: Sequence[Call]) -> Config:
    """The same where each authenticator of a plugin is asked as it says itself."""
    asked = ((call.authenticator, call.options) for call in calls)
    options = {name: said for name, said in asked if name and isinstance(said, AuthenticatorOptions)}
    return config.model_copy(update={"auth": config.auth.asked_as(options)}) if config.auth else config


def _listener(index: int, listener: Listener, config: Config, texts: Texts) -> dict[str, Any]:
    tls = listener.tls and listener.tls.plan(texts, ("listeners", index, "tls"))
    proxies = config.trusted_proxies if listener.proxy_protocol is True else listener.proxy_protocol
    return {
        "address": listener.address,
        "tls": tls,
        "http2": tls is not None if listener.http2 is None else listener.http2,
        "proxy_protocol": list(proxies) if proxies else None,
    }


def _early(config: Config, calls: Sequence[Call]) -> dict[str, Any]:
    """What runs before routing. Without early hooks, nothing does."""
    hooks = [call.hook for call in calls if call.early]
    if not hooks:
        return {}
    chosen = {name: getattr(config.policies, name) for name in policies_with("early")}
    written = {name: policy.model_dump(mode="json") for name, policy in chosen.items() if policy}
    return PlanPart({**written, "hooks": {"calls": hooks}}, _GATEWAY_WIDE)


def _unrouted(config: Config, early: Mapping[str, Any]) -> dict[str, Any]:
    """Policies for requests that match no route: they need no route to decide, or shape every answer."""
    names = [name for name in policies_with("unrouted") if name not in early]
    chosen = {name: getattr(config.policies, name) for name in names}
    return PlanPart({name: policy.model_dump(mode="json") for name, policy in chosen.items() if policy}, _GATEWAY_WIDE)


def _unused(config: Config, unrouted: Mapping[str, Any], early: Mapping[str, Any]) -> dict[str, Any]:
    """Gateway-wide policies that every route overrides or switches off. They are in the plan to be checked."""
    run = {*unrouted, *early}
    unused = {
        name: policy.model_dump(mode="json")
        for name in PolicySet.model_fields
        if name not in run
        and (policy := getattr(config.policies, name))
        and all(getattr(route, name) is not None for route in config.routes)
    }
    return PlanPart(unused, _GATEWAY_WIDE)


def all_services(config: Config) -> dict[str, Service]:
    """Services under `services`, then those that routes declare by `service_url`."""
    services = dict(config.services)
    breakers = {
        route.service_key: route.circuit_breaker for route in config.routes if route.circuit_breaker is not None
    }
    for route in config.routes:
        if route.service_url is not None and route.service_key not in services:
            services[route.service_key] = Service(
                instances=(Instance(url=route.service_url),), circuit_breaker=breakers.get(route.service_key)
            )
    return services


def route_names(config: Config) -> list[str]:
    """The name of each route: the given one, or one derived from methods, host and path, numbered where it is taken."""
    taken = {route.name for route in config.routes}
    seen: Counter[str] = Counter()
    names = []
    for route in config.routes:
        name = route.name
        if name is None:
            derived = _derived_name(route)
            while name is None or name in taken:
                seen[derived] += 1
                name = derived if seen[derived] == 1 else f"{derived} ({seen[derived]})"
            taken.add(name)
        names.append(name)
    return names


def _derived_name(route: Route) -> str:
    path = route.path or route.pattern or f"{(route.prefix or '').rstrip('/')}/*"
    where = ("|".join(route.host) + path)[:150]
    return " ".join(part for part in ("|".join(route.method), where) if part)


def service_plan(name: str, service: Service, texts: Texts | None = None) -> dict[str, Any]:
    """One service as the plan has it. `texts` reads the files that it names."""
    plan = service.model_dump(mode="json", exclude=_OTHERWISE_PLANNED)
    switched_off = {key: None for key, value in plan.items() if value is False and key != "preserve_host"}
    tls = service.tls.plan(texts or Texts(), ("services", name, "tls")) if service.secure else None
    tls = tls and PlanPart(tls, _SERVICE_TLS)
    if own := service.client_credentials:
        place = ("services", name, "client_credentials")
        plan["client_credentials"] = own.plan(texts or Texts(), place)
    return {"name": name, **with_instances(service, service.instances), **plan, **switched_off, "tls": tls}


_OTHERWISE_PLANNED = {"tls", "discovery", "app", "instances", "load_balancer", "client_credentials"}
_SERVICE_TLS = Origin(("tls",), entries={"certificate": Origin(("tls",))})


def _origin_of_service(name: str, config: Config) -> Origin:
    """Where a service is written: under `services`, or at the routes that declare it."""
    if name in config.services:
        return Origin(("services", name), from_root=True)
    declared = [index for index, route in enumerate(config.routes) if route.service_url and route.service_key == name]
    first = declared[0]
    with_breaker = next((index for index in declared if config.routes[index].circuit_breaker is not None), first)
    breaker = Origin(("routes", with_breaker, "circuit_breaker"), from_root=True)
    return Origin(("routes", first, "service_url"), from_root=True, whole=True, entries={"circuit_breaker": breaker})


def with_instances(service: Service, instances: Sequence[Instance]) -> dict[str, Any]:
    """The entries of a service that depend on its instances."""
    weighted = any(instance.weight != 1 for instance in instances)
    balancer = service.load_balancer or LoadBalancer(kind="weighted_round_robin" if weighted else "round_robin")
    listed = [{"url": instance.url, "weight": instance.weight} for instance in instances]
    return {"instances": listed, "load_balancer": balancer.model_dump(mode="json")}
