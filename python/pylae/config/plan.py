"""Compiles a configuration into the plan, the one document that the native side is given.

The plan's shape is `crates/core/src/plan.rs`; nothing there has a default, so all of it is written out here. Parts that
come from another path of the configuration than their own say so: see `pylae.config.origin`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pylae.config.models.auth import AuthConfig
from pylae.config.models.authenticators.function import AuthenticatorOptions
from pylae.config.models.base import Settings
from pylae.config.models.condition import ValueTest
from pylae.config.models.config import Config, Listener, available_cores
from pylae.config.models.hooks import CallOptions
from pylae.config.models.instance import Instance
from pylae.config.models.route import Route
from pylae.config.models.service import LoadBalancer, Service
from pylae.config.models.split import When
from pylae.config.models.tls import Texts
from pylae.config.origin import Origin, PlanPart
from pylae.config.pages import Pages
from pylae.config.tables import POLICIES, policies_with
from pylae.policies import PolicySet
from pylae.policies.authentication import Authentication
from pylae.policies.authorization import Authorization

VERSION = 1
"""Shape of the plan."""

FIRST = 2**31 - 1
"""Priority of the paths that belong to authenticators: the highest there is."""


class Call(NamedTuple):
    """A hook as it goes into the plan."""

    routes: tuple[str, ...] | None
    """The names of the routes that have it; None stands for all."""
    early: bool
    hook: dict[str, Any]
    """The hook as the plan has it."""
    authenticator: str | None = None
    """The name of the authenticator whose function it is; there are no routes then."""
    options: CallOptions = CallOptions()
    """How it is called."""


def compile_plan(config: Config, texts: Texts | None = None, calls: Sequence[Call] = ()) -> dict[str, Any]:
    """The plan of a configuration that passed `pylae.config.checks.check`.

    `texts` reads the files that it names; `calls` are the hooks in the order in which a request meets them.
    """
    texts = texts or Texts()
    config.store.look(texts, ("store",))
    config = _asked_as(config, calls)
    names = route_names(config)
    early = _early(config, calls)
    unrouted = _unrouted(config, early)
    asked = {call.authenticator: call.hook for call in calls if call.authenticator}
    late = [call for call in calls if not call.early and not call.authenticator]
    pages = Pages(texts)
    errors = pages.plan(config.errors, ("errors",))
    routes = [
        {**_route(name, route, config, late, early), "errors": pages.plan(route.errors, ("routes", index, "errors"))}
        for index, (name, route) in enumerate(zip(names, config.routes, strict=True))
    ]
    for authenticator, at, path in config.auth.paths if config.auth else ():
        name = f"{authenticator}: {path}"
        call = Call((name,), False, asked[authenticator])
        origin = Origin(("auth", *at), from_root=True, whole=True)
        routes.append(PlanPart(_own_path(name, path, config, [*late, call], early), origin))
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


_HOOKS = Origin(("hooks",), from_root=True, whole=True)
_GATEWAY_WIDE = Origin(("policies",), entries={"hooks": _HOOKS})


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
    used = {name for route in config.routes for name in PolicySet.model_fields if getattr(route, name) is None}
    unused = {
        name: policy.model_dump(mode="json")
        for name in PolicySet.model_fields
        if name not in used and name not in run and (policy := getattr(config.policies, name))
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


def _route(name: str, route: Route, config: Config, calls: Sequence[Call], early: Mapping[str, Any]) -> dict[str, Any]:
    own_calls = [call.hook for call in calls if call.routes is None or name in call.routes]
    policies = effective_policies(route, config)
    # What has run early by the gateway's settings does not run again.
    for policy in early:
        if policy in policies and getattr(route, policy) is None:
            del policies[policy]
    kept = (
        *("priority", "timeout", "idle_timeout", "deadline", "retries", "retry_on"),
        *("preserve_host", "rewrite", "encoded_slash"),
    )
    return {
        "name": name,
        "match": _match(route),
        "service": route.service_key or None,
        "split": _split(route) if route.split else None,
        **route.model_dump(mode="json", include=set(kept)),
        "strip_prefix": route.prefix if route.strip_prefix is True else route.strip_prefix or None,
        "websocket": route.websocket.model_dump(mode="json") if route.websocket else None,
        "policies": _policies(route, policies, own_calls),
    }


def _match(route: Route) -> PlanPart:
    kind = next((kind for kind in ("prefix", "pattern") if getattr(route, kind) is not None), "path")
    clauses = {
        "path": _path(route),
        "methods": list(route.method),
        "hosts": list(route.host),
        "headers": _tests(route.headers),
        "query": _tests(route.query),
    }
    return PlanPart(clauses, _MATCH[kind])


_MATCH = {
    kind: Origin(
        entries={"path": Origin((kind,), whole=True), "methods": Origin(("method",)), "hosts": Origin(("host",))}
    )
    for kind in ("path", "prefix", "pattern")
}
"""Where the clauses of a match are written, by the key that gives the path."""


def _policies(route: Route, policies: Mapping[str, Settings], calls: Sequence[dict[str, Any]]) -> PlanPart:
    """The policies of a route: its own, those that follow from other keys, and those of the gateway."""
    plan: dict[str, Any] = {}
    for name, settings in policies.items():
        written = settings.model_dump(mode="json")
        is_own = name not in _DERIVED and getattr(route, name) is not None
        plan[name] = written if is_own else PlanPart(written, _ELSEWHERE[name])
    return PlanPart({**plan, **({"hooks": {"calls": list(calls)}} if calls else {})}, _ROUTE_POLICIES)


_ROUTE_POLICIES = Origin(entries={"hooks": _HOOKS})
_ELSEWHERE = {
    **{name: Origin(("policies", name), from_root=True) for name in PolicySet.model_fields},
    "authentication": Origin(("auth_required",), whole=True, entries={"authenticators": Origin(("auth",))}),
    "authorization": Origin(
        ("permissions",),
        whole=True,
        entries={
            "permissions": Origin(("permissions",)),
            "roles": Origin(("roles",)),
            "admin_role": Origin(("auth", "admin_role"), from_root=True),
        },
    ),
}
"""Where policies come from that the route does not have as keys of its own."""


def _own_path(name: str, path: str, config: Config, calls: Sequence[Call], early: Mapping[str, Any]) -> dict[str, Any]:
    """The route of a path that an authenticator owns. It has no service, because the function answers."""
    # Whoever comes there is not known yet, so nobody would meet a condition on users.
    off: dict[str, Any] = dict.fromkeys(("cache", "mirror", "static_response", "require"), False)
    # Without the rules of a route, which ask for a service.
    plan = _route(name, Route.model_construct(path=path, priority=FIRST, **off), config, calls, early)
    # There is no instance that credentials would have to be kept from, and the function reads them.
    plan["policies"].pop("authentication", None)
    return {**plan, "errors": {}}


def _path(route: Route) -> dict[str, str]:
    if route.prefix is not None:
        return {"kind": "prefix", "value": route.prefix}
    if route.pattern is not None:
        return {"kind": "pattern", "value": route.pattern}
    path = route.path or "/"
    return {"kind": "template" if "{" in path or "}" in path else "exact", "value": path}


def _split(route: Route) -> PlanPart:
    members = [
        {
            "service": member.service,
            "weight": member.share,
            "when": _when(member.when) if member.when else None,
            "headers": member.headers.model_dump(mode="json"),
        }
        for member in route.split
    ]
    sticky = route.sticky.model_dump(mode="json") if route.sticky else None
    return PlanPart({"members": members, "sticky": sticky}, _SPLIT)


_SPLIT = Origin(("split",), entries={"members": Origin(("split",)), "sticky": Origin(("sticky",))})


def _when(when: When) -> PlanPart:
    tests = {"headers": _tests(when.header), "cookies": _tests(when.cookie), "expression": when.expression}
    return PlanPart(tests, _WHEN)


_WHEN = Origin(("when",), entries={"headers": Origin(("when", "header")), "cookies": Origin(("when", "cookie"))})


def _tests(tests: dict[str, ValueTest]) -> list[PlanPart]:
    """Tests of fields, parameters or cookies. The configuration has each under its name."""
    found = []
    for name, test in tests.items():
        own = Origin((name,))
        found.append(
            PlanPart({"name": name, "value": _test(test)}, Origin((name,), entries={"name": own, "value": own}))
        )
    return found


def _test(test: ValueTest) -> str | dict[str, str]:
    if test.pattern is not None:
        return {"pattern": test.pattern}
    return "present" if test.equals is None else {"equals": test.equals}


def _authentication(route: Route, auth: AuthConfig) -> Settings | None:
    if auth.authenticators and (route.auth_required or route.auth):
        # In the order of the fields, whatever the route's is: who can tell by itself goes before who must ask.
        chosen = tuple(name for name in auth.names if name in route.auth) if route.auth else auth.names
        return Authentication(authenticators=chosen, required=route.auth_required)
    # What clients send for the gateway is kept from instances on open routes too.
    return Authentication(authenticators=(), required=False) if auth.conceals else None


def _authorization(route: Route, auth: AuthConfig) -> Settings | None:
    if not route.permissions and not route.roles:
        return None
    return Authorization(permissions=route.permissions, roles=route.roles, admin_role=auth.admin_role)


_DERIVED: dict[str, Callable[[Route, AuthConfig], Settings | None]] = {
    "authentication": _authentication,
    "authorization": _authorization,
}
"""Policies without a key of their own, and how they follow from other keys of a route."""


def effective_policies(route: Route, config: Config) -> dict[str, Settings]:
    """The policies that a route has: its own, and the gateway's that it neither overrides nor switches off."""
    policies: dict[str, Settings] = {}
    for name in POLICIES:
        if name == "hooks":
            # Not settings of a route: see `compile_plan`.
            continue
        if name in _DERIVED:
            settings = _DERIVED[name](route, config.auth or AuthConfig())
            policies.update({name: settings} if settings else {})
            continue
        own = getattr(route, name)
        settings = getattr(config.policies, name) if own is None else own
        if settings is not None and settings is not False:
            policies[name] = settings
    return policies
