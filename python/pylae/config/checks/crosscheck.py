"""Checks that concern several settings: names, references, and settings that conflict."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any

from pylae.config.checks.limits import LIMITS, limits_of_clusters, shared_limits, sources_of_clusters
from pylae.config.checks.outputs import unsent_logs, weak_collectors
from pylae.config.checks.splits import repeated_members, useless_splits
from pylae.config.document.nodes import Finding, Step
from pylae.config.document.sources import Sources, shown
from pylae.config.models.address import is_loopback
from pylae.config.models.admin import is_at
from pylae.config.models.authenticators.oidc import Oidc
from pylae.config.models.config import Config, has_authenticator
from pylae.config.models.route import Route
from pylae.config.models.service import CircuitBreaker
from pylae.config.tables import policies_with
from pylae.policies import PolicySet
from pylae.store.settings import store_url
from pylae.units import size


@dataclass(frozen=True)
class View:
    """A configuration, or the valid part of one that has errors.

    Attributes:
        config: The configuration.
        indices: The places of its routes in the source.
        known: The names under `services` in the source; None if they cannot be read.
        declared: Names of services that routes with errors declare.
        auth_known: Whether `auth` is valid.
    """

    config: Config
    indices: tuple[int, ...]
    known: frozenset[str] | None
    declared: frozenset[str] = frozenset()
    auth_known: bool = True

    @classmethod
    def whole_of(cls, config: Config) -> View:
        """Returns a view of the whole configuration."""
        return cls(config, tuple(range(len(config.routes))), frozenset(config.services))

    def routes(self) -> Iterator[tuple[int, Route]]:
        """Yields the routes with their places."""
        return zip(self.indices, self.config.routes, strict=True)

    def having(self, *fields: str) -> Sequence[tuple[int, Route]]:
        """Returns the routes that say something about one of these settings, with their places."""
        found = [routes for names, routes in self._by_settings.values() if not names.isdisjoint(fields)]
        # Each has its routes in their order, and no two have the same.
        return found[0] if len(found) == 1 else sorted(chain.from_iterable(found), key=itemgetter(0))

    @cached_property
    def _by_settings(self) -> Mapping[int, tuple[AbstractSet[str], list[tuple[int, Route]]]]:
        # Most checks concern settings that few routes have. Those of a document that have the same share the set.
        found: dict[int, tuple[AbstractSet[str], list[tuple[int, Route]]]] = {}
        for pair in self.routes():
            names = pair[1].model_fields_set
            if (known := found.get(id(names))) is None:
                known = found[id(names)] = names, []
            known[1].append(pair)
        return found

    def limited(self) -> Iterable[tuple[int, Route]]:
        """Returns the routes that may have limits, with their places."""
        whole = any(getattr(self.config.policies, name) for name in LIMITS)
        return self.routes() if whole else self.having(*LIMITS)


def cross_check(view: View, sources: Sources) -> Iterator[Finding]:
    """Yields the findings of all checks except `authentication`."""
    yield from _included(view.config)
    yield from _listeners(view.config, sources)
    yield from _account(view.config)
    yield from _instances(view.config, sources)
    yield from _admin_instances(view)
    yield from _route_names(view, sources)
    yield from _service_names(view, sources)
    yield from repeated_members(view.having("split"))
    yield from _declared_services(view, sources)
    yield from _breakers(view)
    yield from shared_limits(view.limited(), view.config)
    yield from limits_of_clusters(view.limited(), view.config)
    yield from sources_of_clusters(view.config)
    yield from unsent_logs(view.having("access_log"), view.config)
    yield from _websockets(view)
    yield from _authenticators(view, sources)
    yield from _authentication(view.config)
    yield from _sessions(view.config)
    yield from _required_claims(view)


def _shown(sources: Sources, path: tuple[Step, ...], value: Any) -> str:
    node = sources.locate(path).node
    return "(not shown)" if node is not None and node.interpolated else shown(value, hidden=False)


def _required_claims(view: View) -> Iterator[Finding]:
    """Finds open routes that the gateway's `require` refuses to everybody."""
    required = view.config.policies.require
    if not required or not required.claims:
        return
    for index, route in view.routes():
        if not route.auth_required and not route.auth and route.require is None:
            hint = "write `require: false` on this route, or leave out `auth_required: false`"
            text = "nobody gets through: `policies.require` needs claims of a user, and this route asks for none"
            yield Finding(("routes", index, "auth_required"), text, hint)


def _included(config: Config) -> Iterator[Finding]:
    """Finds an `include` that was not read. In the main file, reading has removed it by now."""
    if config.include:
        hint = "`Gateway.from_file` reads included files; elsewhere, write all services and routes in one document"
        yield Finding(("include",), "only the main file, with which a gateway is started, can include others", hint)


def _listeners(config: Config, sources: Sources) -> Iterator[Finding]:
    if not config.listeners:
        yield Finding(("listeners",), "at least one listener is needed", 'e.g. ["127.0.0.1:8080"]')
    seen = set()
    for index, listener in enumerate(config.listeners):
        if listener.address in seen:
            path: tuple[Step, ...] = ("listeners", index, "address")
            hint = (
                "even with port 0; use another address, such as 127.0.0.2:0"
                if listener.address.endswith(":0")
                else None
            )
            yield Finding(path, f"the address {_shown(sources, path, listener.address)} is given twice", hint)
        seen.add(listener.address)
        if listener.proxy_protocol == () or (listener.proxy_protocol is True and not config.trusted_proxies):
            hint = "name the proxies here or under `trusted_proxies`"
            yield Finding(
                ("listeners", index, "proxy_protocol"), "no client could connect, because no proxy is trusted", hint
            )


def _sessions(config: Config) -> Iterator[Finding]:
    """Finds logins whose sessions other nodes could not read."""
    shared = store_url(config.store.url).kind != "sqlite"
    for _, at, one in config.auth.own if config.auth else ():
        if not isinstance(one, Oidc):
            continue
        if config.cluster is not None and not shared:
            hint = "name PostgreSQL or etcd under `store: {url: …}`"
            yield Finding(("auth", *at), "the nodes of a cluster need a store that they share for its sessions", hint)
        if one.cookie_secret is None and (config.cluster is not None or shared):
            hint = "give all nodes the same, e.g. of `openssl rand -base64 48`: `cookie_secret: ${COOKIE_SECRET}`"
            text = "needs `cookie_secret`: each node would make its own, and refuse the sessions of others"
            yield Finding(("auth", *at), text, hint)


def _account(config: Config) -> Iterator[Finding]:
    if config.group is not None and config.user is None:
        yield Finding(("group",), "`group` needs `user`", "give the user that this group is for")


def _instances(config: Config, sources: Sources) -> Iterator[Finding]:
    for name, service in config.services.items():
        if "tls" in service.model_fields_set and service.instances and not service.secure:
            hint = "the gateway speaks TLS to URLs that begin with https://"
            yield Finding(("services", name, "tls"), "no instance speaks TLS", hint)
        if not service.instances and service.discovery is None and service.app is None:
            hint = "list `instances`, or set `discovery`"
            yield Finding(("services", name, "instances"), "a service needs at least one instance", hint)
        urls = [instance.url for instance in service.instances]
        for index, url in enumerate(urls):
            if url in urls[:index]:
                path: tuple[Step, ...] = ("services", name, "instances", index, "url")
                text = f"the instance {_shown(sources, path, url)} is given twice"
                yield Finding(path, text, "use `weight` to give it more load")


def _admin_instances(view: View) -> Iterator[Finding]:
    """Finds instances that are the admin API, which routes would make public."""
    admin = view.config.admin
    for name, index, url in admin_instances(view.config, admin.address) if admin else ():
        message = f"{url} is the admin API, which must not be reachable through a route"
        yield Finding(("services", name, "instances", index, "url"), message)


def admin_instances(config: Config, address: str) -> Iterator[tuple[str, int, str]]:
    """Yields the instances with the address of the admin API: service, index and URL."""
    for name, service in config.services.items():
        for index, instance in enumerate(service.instances):
            if is_at(instance.url, address):
                yield name, index, instance.url


def _route_names(view: View, sources: Sources) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, route in view.having("name"):
        if route.name is None:
            continue
        if route.name in seen:
            path: tuple[Step, ...] = ("routes", index, "name")
            first = sources.locate(("routes", seen[route.name], "name"))
            text = _shown(sources, path, route.name)
            yield Finding(path, f"two routes have the name {text}", f"the first is at {first}" if first.line else None)
        seen.setdefault(route.name, index)


def _service_names(view: View, sources: Sources) -> Iterator[Finding]:
    if view.known is None:
        return
    declared = {route.service_key for route in view.config.routes if route.service_url}
    names = view.known | declared | view.declared
    known = sorted(names)
    listed = f"; there are {', '.join(known[:20])}{' …' if len(known) > 20 else ''}" if known else "; there are none"
    for index, route in view.routes():
        if not route.split and route.service_key in names:
            continue
        for path, name in _named_services(index, route):
            if name in names:
                continue
            near = difflib.get_close_matches(name, known, 1, 0.6)
            instead = "" if route.split else ", or give `service_url`"
            hint = f"did you mean `{near[0]}`?" if near else f"add it under `services`{instead}"
            yield Finding(path, f"there is no service {_shown(sources, path, name)}{listed}", hint)


def _named_services(index: int, route: Route) -> Iterator[tuple[tuple[Step, ...], str]]:
    """Yields the services that a route names, each with its place."""
    if route.service_key:
        yield ("routes", index, "service"), route.service_key
    for place, member in enumerate(route.split):
        yield ("routes", index, "split", place, "service"), member.service


def _declared_services(view: View, sources: Sources) -> Iterator[Finding]:
    urls: dict[str, tuple[str, int]] = {}
    for index, route in view.having("service_url"):
        if route.service_url is None:
            continue
        name = route.service_key
        path: tuple[Step, ...] = ("routes", index, "service_url")
        if view.known is not None and name in view.known:
            service = view.config.services.get(name)
            if service and [instance.url for instance in service.instances] != [route.service_url]:
                message = (
                    f"the service {_shown(sources, ('routes', index, 'service'), name)} is declared under `services`"
                )
                yield Finding(path, f"{message} with other instances", "leave out `service_url`, or give another name")
            continue
        url, first = urls.setdefault(name, (route.service_url, index))
        if url != route.service_url:
            at = sources.locate(("routes", first, "service_url"))
            hint = f"the other is at {at}; declare a service with several instances under `services`"
            yield Finding(path, "the same service is declared with another `service_url`", hint)


def _breakers(view: View) -> Iterator[Finding]:
    """Finds routes that disagree about the circuit breaker of their service."""
    said: dict[str, Any] = {name: service.circuit_breaker or False for name, service in view.config.services.items()}
    for index, route in view.having("circuit_breaker"):
        own, name = route.circuit_breaker, route.service_key
        if own is None or not name or (view.known is not None and name in view.known and name not in said):
            continue
        theirs = said.setdefault(name, own)
        # `true` asks for a breaker with any settings.
        agrees = theirs == own or (own == CircuitBreaker() and theirs is not False)
        if not agrees:
            where = f"`services.{name}`" if name in view.config.services else "another route of the same service"
            message = f"the circuit breaker belongs to the service, and {where} has other settings for it"
            yield Finding(("routes", index, "circuit_breaker"), message, "set it once, on the service")


def _websockets(view: View) -> Iterator[Finding]:
    """Finds WebSocket routes to services that speak HTTP/2. The gateway uses HTTP/1.1 for WebSocket."""
    for index, route in view.having("websocket"):
        for name in route.targets if route.websocket else ():
            service = view.config.services.get(name)
            if service and service.protocol == "http2":
                message = f"WebSocket needs HTTP/1.1 to the instances, but those of {name} speak HTTP/2"
                hint = "give the route a service of its own, without `protocol: http2`"
                yield Finding(("routes", index, "websocket"), message, hint)


def _authenticators(view: View, sources: Sources) -> Iterator[Finding]:
    """Finds unknown names of authenticators. If no authenticator is configured, `authentication` reports that."""
    known = view.config.auth.names if view.config.auth and view.auth_known else ()
    for index, route in view.having("auth") if known else ():
        for place, name in enumerate(route.auth or ()):
            if name not in known:
                near = difflib.get_close_matches(name, known, 1, 0.6)
                path: tuple[Step, ...] = ("routes", index, "auth", place)
                message = f"there is no authenticator {_shown(sources, path, name)}; there are {', '.join(known)}"
                yield Finding(path, message, f"did you mean `{near[0]}`?" if near else None)


def _authentication(config: Config) -> Iterator[Finding]:
    """Finds settings of authenticators that conflict with other settings."""
    if config.auth:
        listeners = [listener.tls for listener in config.listeners]
        yield from (found.below(("auth",)) for found in config.auth.mistakes(listeners))


def authentication(view: View) -> Iterator[Finding]:
    """Finds routes that require a user although no authenticator is configured. Reports only the first."""
    if has_authenticator(view.config) or not view.auth_known:
        return
    closed = [index for index, route in view.routes() if route.auth_required]
    if closed:
        count = f"{len(closed)} routes require" if len(closed) > 1 else "the route requires"
        yield Finding(
            ("routes", closed[0], "auth_required"),
            f"{count} authentication, but no authenticator is configured",
            "add `auth:`, or `auth_required: false` on routes that are open to everyone",
        )
    named = [index for index, route in view.routes() if route.auth and not route.auth_required]
    if named:
        count = f"{len(named)} routes name authenticators" if len(named) > 1 else "the route names authenticators"
        yield Finding(
            ("routes", named[0], "auth"),
            f"{count}, but none is configured",
            "configure them under `auth:` (`auth: {jwt: {…}}` beside `routes:`), or leave out `auth` on the route",
        )


def weaknesses(config: Config) -> Iterator[Finding]:
    """Finds settings that work but are probably wrong or insecure."""
    yield from _open_routes(config)
    yield from _unanswered_hosts(config)
    yield from _literal_parameters(config)
    yield from _sizes_of_bodies(config)
    yield from useless_splits(config)
    for name, service in config.services.items():
        if service.secure and not service.tls.verify:
            text = "without `verify`, anyone on the network can pose as the instance"
            hint = "set `ca` to the certificate of the instance or of its authority"
            yield Finding(("services", name, "tls", "verify"), text, hint)
        if own := service.client_credentials:
            yield from (found.below(("services", name, "client_credentials")) for found in own.weaknesses())
    if config.auth:
        yield from (found.below(("auth",)) for found in config.auth.weaknesses())
    yield from weak_collectors(config)


def _open_routes(config: Config) -> Iterator[Finding]:
    """Finds routes that accept any Host on a listener that other machines can reach. Reports only the first."""
    reachable = [listener.address for listener in config.listeners if not is_loopback(listener.address)]
    takers = [index for index, route in enumerate(config.routes) if not route.host]
    if not reachable or not takers or config.hosts:
        return
    who = f"{len(takers)} routes take" if len(takers) > 1 else "the route takes"
    text = f"{who} requests for any host, on {reachable[0]}, and services may put that host into links and redirects"
    yield Finding(("routes", takers[0]), text, "list your hosts: `hosts: [shop.example]`, or `host` on each route")


def _unanswered_hosts(config: Config) -> Iterator[Finding]:
    """Finds hosts of routes that the gateway's `hosts` excludes."""
    for index, route in enumerate(config.routes if config.hosts else ()):
        for place, host in enumerate(route.host):
            if not any(_overlap(host, answered) for answered in config.hosts):
                text = f"the route never gets requests for {host}, because `hosts` does not contain it"
                yield Finding(("routes", index, "host", place), text, "add it there, or remove it here")


def _overlap(one: str, other: str) -> bool:
    """Returns true if some host matches both patterns. `*.` stands for any subdomain."""
    pairs = ((one, other), (other, one))
    return one == other or any(wide.startswith("*.") and host.endswith(wide[1:]) for wide, host in pairs)


def _literal_parameters(config: Config) -> Iterator[Finding]:
    """Finds paths with a notation that is a parameter in other frameworks but literal here."""
    for index, route in enumerate(config.routes):
        for key, path in (("path", route.path), ("prefix", route.prefix)):
            if path is None:
                continue
            if "/:" in path and re.search(r"/:[A-Za-z_]", path):
                text = "`:` does not start a parameter here; it matches only itself"
                yield Finding(("routes", index, key), text, "write `path` with `{id}` for `:id`")
            if path.endswith(("/*", "/**")):
                text = "`*` is not a wildcard here; it matches only itself"
                hint = "`prefix: /api` takes `/api` and everything below it"
                yield Finding(("routes", index, key), text, hint)


def _sizes_of_bodies(config: Config) -> Iterator[Finding]:
    """Finds a limit of `validation` that has no effect because the other one, which was not given, is lower."""
    having = ((("routes", index), route) for index, route in enumerate(config.routes) if route.validation)
    places: Iterable[tuple[tuple[Step, ...], PolicySet]] = chain([(("policies",), config.policies)], having)
    for place, policies in places:
        validation = policies.validation
        if not validation or validation.json_body is None:
            continue
        json, most = validation.json_body, validation.max_body
        said = "max_body" in validation.model_fields_set, "max_size" in json.model_fields_set
        if said == (True, False) and json.max_size < most:
            text = f"bodies above {size(json.max_size)} are still refused, because `json_body` keeps them in memory"
            yield Finding(
                (*place, "validation", "max_body"), text, f"`json_body: {{max_size: {size(most)}}}` lets them pass"
            )
        if said == (False, True) and most < json.max_size:
            text = f"bodies above {size(most)} are still refused by `max_body`"
            hint = f"`max_body: {size(json.max_size)}` beside `json_body` lets them pass"
            yield Finding((*place, "validation", "json_body", "max_size"), text, hint)


def overridden_early(config: Config) -> Iterator[Finding]:
    """Finds gateway-wide policies that a route overrides without effect, because early hooks make them run before
    routing.
    """
    for name in policies_with("early"):
        for index, route in enumerate(config.routes):
            if getattr(config.policies, name) and getattr(route, name) is not None:
                text = f"the gateway-wide `{name}` still applies here, because early hooks make it run before routing"
                hint = f"move the gateway-wide `{name}` to the routes that need it, or let the hooks be late"
                yield Finding(("routes", index, name), text, hint)


def bypassed_hooks(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Finds hooks on routes with a cache. Yields the path in the plan and a text."""
    for index, route in enumerate(plan["routes"]):
        policies = route["policies"]
        if "cache" in policies and "hooks" in policies:
            names = ", ".join(dict.fromkeys(call["name"] for call in policies["hooks"]["calls"]))
            text = (
                f"hooks of this route do not run for responses from the cache ({names}): so what they refuse, add or"
                " change applies only to requests that reach the service"
            )
            yield f"routes[{index}].policies.cache", text
