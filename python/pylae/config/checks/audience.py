"""Where each setting is sent, and which settings decide that. Used to keep secrets from new recipients."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

from pylae.config.document.nodes import Step
from pylae.config.document.written import written
from pylae.config.models.application import name_of
from pylae.config.models.config import Config, Listener
from pylae.config.models.route import Route
from pylae.config.models.service import Service
from pylae.config.models.tls import ListenerTls, ServiceTls
from pylae.config.plan import route_names
from pylae.policies import PolicySet
from pylae.policies.mirror import Mirror
from pylae.registry.kinds import Discovery, is_loaded, kind

At = tuple[Step, ...]
Audience = Literal["instances", "clients", "plugin", "asked", "admin", "store", "collector"]
"""Who sees a setting: `instances` (services, mirrors, and code that handles requests), `clients`, `plugin` (whatever
the plugin's settings make it talk to), `asked` (the servers that authenticators of this kind ask), `admin` (users of
the admin API), `store` (the store of the cluster, or the gateway's own), `collector` (where telemetry goes)."""
ANY = "*"
"""The last word of a destination that is open: any Host, or any client."""
End = tuple[str, ...]
"""One destination. Equal destinations have equal words."""

_ASKING = ("oidc", "introspection", "forward_auth")
"""Kinds of authenticators that ask servers."""

_NOBODY: frozenset[Audience] = frozenset()
_INSTANCES: frozenset[Audience] = frozenset({"instances"})
_CLIENTS: frozenset[Audience] = frozenset({"clients"})
_EVERYBODY = _INSTANCES | _CLIENTS

_TUNING_OF_ROUTES = (
    *("name", "priority", "method", "host", "headers", "query", "service", "service_url", "split", "sticky"),
    *("circuit_breaker", "timeout", "idle_timeout", "deadline", "retries", "retry_on", "websocket"),
    *("auth_required", "auth", "permissions", "roles", "errors", *PolicySet.model_fields),
)
"""Settings of a route that do not affect which recipient at an instance's address gets a request."""
_TUNING_OF_SERVICES = (
    *(
        "instances",
        "discovery",
        "app",
        "tls",
        "load_balancer",
        "slow_start",
        "sticky",
        "health_check",
        "passive_health",
    ),
    *("panic_threshold", "circuit_breaker", "retry_budget", "connect_timeout", "max_in_flight", "queue", "protocol"),
    *("max_streams", "max_idle", "idle_timeout", "client_credentials"),
)
"""The same for services. `instances`, `discovery`, `app`, `tls` and `client_credentials` are compared separately."""
_ANSWERS: tuple[At, ...] = (("static_response",), ("redirect",))
"""What a route answers itself, and hooks and plugins may refuse before. Its other settings are in refusals too."""
_PATHS = ("path", "prefix", "pattern", "strip_prefix", "rewrite")

_OF_POLICIES: Mapping[str, frozenset[Audience]] = {
    "access_log": _NOBODY,
    "security_headers": _CLIENTS,
    "compression": _NOBODY,
    "transform.request": _INSTANCES,
    "transform.response": _CLIENTS,
    "ip_access": _NOBODY,
    "cors": _NOBODY,
    "address_limit": _NOBODY,
    "require": _NOBODY,
    "rate_limit": _NOBODY,
    "redirect": _CLIENTS,
    "static_response": _CLIENTS,
    "validation": _NOBODY,
    "cache": _NOBODY,
    "mirror": _NOBODY,
}
SEEN_BY: Mapping[tuple[str, ...], frozenset[Audience]] = {
    # The gateway only uses these itself.
    **{(key,): _NOBODY for key in ("auth", "listeners", "workers", "trusted_proxies", "limits", "health", "state")},
    ("user",): _NOBODY,
    ("group",): _NOBODY,
    ("hosts",): _NOBODY,
    ("errors",): _CLIENTS,
    ("include",): _NOBODY,
    ("hooks",): _NOBODY,
    ("plugins",): _NOBODY,
    ("plugins", "*", "settings"): _INSTANCES | {"plugin"},
    ("auth", "plugins", "*", "settings"): _INSTANCES | {"plugin"},
    **{("auth", kind): frozenset({"asked"}) for kind in _ASKING},
    **{("auth", "oidc", *one, "cookie_secret"): _NOBODY for one in ((), ("*",))},
    ("admin",): frozenset({"admin"}),
    ("cluster",): frozenset({"store"}),
    ("cluster", "tls", "ca"): _NOBODY,
    ("store",): frozenset({"store"}),
    ("store", "tls", "ca"): _NOBODY,
    ("telemetry",): frozenset({"collector"}),
    **{("telemetry", signal, "ca"): _NOBODY for signal in ("traces", "metrics", "logs")},
    **{("telemetry", "traces", key): _NOBODY for key in ("ratio", "parent", "routes", "keep")},
    ("services",): _INSTANCES,
    # An instance, or a list of them, is short for the service.
    ("services", "*", ""): _NOBODY,
    ("services", "*", "*"): _NOBODY,
    **{("services", "*", key): _NOBODY for key in _TUNING_OF_SERVICES},
    **{("services", "*", key): _INSTANCES for key in ("discovery", "tls", "health_check")},
    ("services", "*", "tls", "ca"): _NOBODY,
    # The token that is issued for these goes to the instances.
    ("services", "*", "client_credentials"): _INSTANCES | {"asked"},
    ("services", "*", "client_credentials", "ca"): _NOBODY,
    **{("routes", "*", key): _NOBODY for key in _TUNING_OF_ROUTES if key not in PolicySet.model_fields},
    # Paths, and the fields in conditions, are sent on with the request.
    **{("routes", "*", key): _INSTANCES for key in (*_PATHS, "headers", "query", "split")},
    ("routes", "*", "errors"): _CLIENTS,
    **{("routes", "*", "split", "*", key): _NOBODY for key in ("service", "weight")},
    **{
        (*root, *policy.split(".")): audience
        for root in (("policies",), ("routes", "*"))
        for policy, audience in _OF_POLICIES.items()
    },
    # Browsers are told these; an origin only if it is theirs.
    **{
        (*root, "cors", key): _CLIENTS
        for root in (("policies",), ("routes", "*"))
        for key in ("methods", "headers", "expose")
    },
}
"""Who sees the setting at a path. `*` stands for any name or index, and an empty word for the end of the path. The
longest matching row counts. A path without a row counts as seen by everyone, so that a new setting is not treated as
harmless by mistake."""
_NAMED: tuple[At, ...] = (("services",), ("auth", "plugins"))
"""Mappings whose keys are names that people choose."""


def seen_by(path: At) -> frozenset[Audience]:
    """Returns who sees the setting at a path of a configuration."""
    if path[:1] == ("services",) and path[2:3] == ("discovery",) and _stays(path[3:5]):
        return _NOBODY
    steps = ["*" if isinstance(step, int) or path[:place] in _NAMED else step for place, step in enumerate(path)]
    steps.append("")
    rows = (SEEN_BY.get(tuple(steps[:length])) for length in range(len(steps), 0, -1))
    return next((row for row in rows if row is not None), _EVERYBODY)


def _stays(path: At) -> bool:
    """Returns true if this setting of `discovery` is sent to no one, not even to the source that is asked for
    instances.
    """
    if not path or not is_loaded(str(path[0])):
        return False
    settings = kind(str(path[0])).Settings
    return set(path[1:] or settings.model_fields) <= set(settings.private)


class Audiences:
    """The destinations of the settings of one configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._names = cache(lambda: route_names(config))
        self._doors = cache(lambda: [_door(listener) for listener in config.listeners])
        # Settings of one item with the same audience have the same destinations, apart from answers of routes.
        self._known: dict[tuple[frozenset[Audience], At, bool], frozenset[End]] = {}

    def of(self, path: At) -> frozenset[End]:
        """Returns where the setting at a path is sent; empty if it stays in the gateway."""
        audiences = seen_by(path)
        item = path[:4] if path[2:3] == ("split",) else path[: 3 if path[:2] in _NAMED else 2]
        known = audiences, item, path[:1] == ("routes",) and path[2:3] in _ANSWERS
        if (ends := self._known.get(known)) is None:
            ends = frozenset(end for audience in audiences for end in _ENDS[audience](self, path))
            self._known[known] = ends
        return ends

    def _instances(self, path: At) -> Iterator[End]:
        config = self._config
        match path:
            case ("services", str(name), *_):
                yield from self._targets(name)
            case ("routes", int(index), *rest) if index < len(config.routes):
                route = config.routes[index]
                said = _said(route, _TUNING_OF_ROUTES)
                match rest:
                    case ["split", int(place), *_] if place < len(route.split):
                        yield from self._to_service(route, route.split[place].service, said)
                        yield from self._beside(index)
                    case _:
                        yield from self._way(index, said)
            case ("policies", str(policy), *_):
                for index, route in enumerate(config.routes):
                    if getattr(route, policy, None) is None:
                        yield from self._passing(index)
            case ("plugins", int(place), *_) if place < len(config.plugins):
                routes = config.plugins[place].routes
                for index, name in enumerate(self._names()):
                    if routes is None or name in routes:
                        yield from self._passing(index)
            case ("auth", "plugins", *_):
                # It says of every request who has sent it, and instances are told.
                for index in range(len(config.routes)):
                    yield from self._passing(index)

    def _passing(self, index: int) -> Iterator[End]:
        """As `_way`, for settings that apply to every route: the paths of the route do not matter."""
        yield from self._way(index, _said(self._config.routes[index], (*_TUNING_OF_ROUTES, *_PATHS)))

    def _way(self, index: int, said: str) -> Iterator[End]:
        """Yields who gets the requests of a route."""
        route = self._config.routes[index]
        for name in route.targets:
            yield from self._to_service(route, name, said)
        yield from self._beside(index)

    def _to_service(self, route: Route, name: str, said: str) -> Iterator[End]:
        for target in self._targets(name, route.service_url):
            yield from ((*target, said, host) for host in self._hosts(route, name, target))

    def _beside(self, index: int) -> Iterator[End]:
        """Yields who else gets the requests of a route: the service of a mirror, and hooks and plugins."""
        route, config = self._config.routes[index], self._config
        mirror = config.policies.mirror if route.mirror is None else route.mirror
        if isinstance(mirror, Mirror):
            for target in self._targets(mirror.service):
                yield from (("copy", *target, host) for host in self._hosts(route, mirror.service, target))
        for routes, name in [*((hook.routes, hook.path) for hook in config.hooks.use),
                             *((plugin.routes, plugin.use) for plugin in config.plugins)]:  # fmt: skip
            if routes is None or self._names()[index] in routes:
                yield ("code", name)
        yield from (("code", one.path) for _, _, one in (config.auth.asked if config.auth else ()))

    def _hosts(self, route: Route, name: str, target: End) -> tuple[str, ...]:
        """Yields the `Host` that an instance receives: any, or its own. Several instances may share an address."""
        service = self._config.services.get(name)
        said = route.preserve_host if route.preserve_host is not None or service is None else service.preserve_host
        is_clients = said if said is not None else not str(target[1]).startswith("https:")
        return (route.host or self._config.hosts or (ANY,)) if is_clients else ("",)

    def _targets(self, name: str, url: str | None = None) -> Iterator[End]:
        """Yields the instances of a service, which a route may declare with `service_url`."""
        service = self._config.services.get(name) or (Service(instances=(url,)) if url else None)
        if service is None:
            return
        said = _said(service, _TUNING_OF_SERVICES) + _said(service.tls, ("cert", "key", "min_version"))
        for instance in service.instances:
            yield ("instance", instance.url, said)
        if service.discovery is not None:
            yield ("discovery", _json(_deciding(service.discovery)), said)
        if service.app is not None:
            yield ("application", name_of(service.app), said)

    def _clients(self, path: At) -> Iterator[End]:
        """Yields who can read responses: anyone who can connect to a listener, or only those whom the route admits."""
        access = ANY
        match path:
            case ("routes", int(index), setting, *_) if index < len(self._config.routes):
                access = self._access(index, guarded=(setting,) in _ANSWERS)
        for door in self._doors():
            yield ("clients", door, access)

    def _access(self, index: int, *, guarded: bool) -> str:
        """Returns what a client must fulfil; for a `guarded` setting also the code that may refuse it."""
        route = self._config.routes[index]
        code = self._code(index) if guarded else []
        lists = self._config.policies.ip_access if route.ip_access is None else route.ip_access
        required = self._config.policies.require if route.require is None else route.require
        if not (route.auth_required or lists or required or route.headers or route.query or code):
            return ANY
        own = [getattr(route, name) for name in (*_PATHS, "host", "method", "headers", "query")]
        asked = [route.auth_required, route.auth, route.permissions, route.roles]
        return _json([own, asked, lists, required, self._config.auth, self._config.trusted_proxies, code])

    def _code(self, index: int) -> list[str]:
        """Returns the hooks and plugins of a route, each with its settings, in an order of their own."""
        name, config = self._names()[index], self._config
        hooks = [hook.path for hook in config.hooks.use if hook.routes is None or name in hook.routes]
        plugins = [one for one in config.plugins if one.routes is None or name in one.routes]
        return sorted([*hooks, *(_json([one.use, one.settings]) for one in plugins)])

    def _plugin(self, path: At) -> Iterator[End]:
        match path:
            case ("plugins", int(place), *_) if place < len(self._config.plugins):
                yield ("settings", _json(self._config.plugins[place]))
            case ("auth", "plugins", str(name), *_) if self._config.auth and name in self._config.auth.plugins:
                yield ("settings", _json(self._config.auth.plugins[name]))

    def _asked(self, path: At) -> Iterator[End]:
        """Yields the servers that authenticators of a kind ask, or the one that issues the token of a service, and who
        vouches for them.
        """
        if path[0] == "services":
            if own := self._config.services[str(path[1])].client_credentials:
                yield ("asked", own.token_url, own.ca or "")
            return
        for one in getattr(self._config.auth, str(path[1])) if self._config.auth else ():
            yield from (("asked", url, one.ca or "") for _, url in one.servers)

    def _admin(self, _path: At) -> Iterator[End]:
        if self._config.admin:
            yield ("admin", self._config.admin.address, _asked(self._config.admin.tls))

    def _store(self, path: At) -> Iterator[End]:
        own, cluster = self._config.store, self._config.cluster
        if path[0] == "store":
            yield ("store", own.url, _said(own.transport, ("cert", "key", "min_version")))
        elif cluster:
            yield ("cluster", cluster.store, _said(cluster.tls or ServiceTls(), ("cert", "key", "min_version")))

    def _collector(self, path: At) -> Iterator[End]:
        """Yields where a signal goes, or all that are sent for a setting that concerns all."""
        exports = self._config.telemetry.exports if self._config.telemetry else {}
        for name, export in exports.items():
            if path[1:2] == (name,) or path[1:2] not in [(known,) for known in exports]:
                yield ("collector", export.endpoint, export.ca or "")


_ENDS: Mapping[Audience, Callable[[Audiences, At], Iterator[End]]] = {
    "instances": Audiences._instances,
    "clients": Audiences._clients,
    "plugin": Audiences._plugin,
    "asked": Audiences._asked,
    "admin": Audiences._admin,
    "store": Audiences._store,
    "collector": Audiences._collector,
}


def _door(listener: Listener) -> str:
    return _json([listener.address, _asked(listener.tls), listener.proxy_protocol])


def _asked(tls: ListenerTls | None) -> str:
    """What clients are asked for in a handshake."""
    return _json(tls and [tls.auto, tls.client_auth])


def _said(model: Route | Service | ServiceTls, apart: Collection[str]) -> str:
    """Returns all settings of a model as text, except those in `apart`. Settings unknown to this module count too."""
    return _json({name: getattr(model, name) for name in type(model).model_fields if name not in apart})


def _deciding(discovery: Discovery) -> tuple[str, dict[str, Any]]:
    """What says who is asked for instances, and which these are; not how often, for example."""
    settings = discovery.settings
    apart = set(settings.private) - set(settings.files)
    return discovery.kind, {name: getattr(settings, name) for name in type(settings).model_fields if name not in apart}


def _json(value: Any) -> str:
    def whole(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return written(value, defaults=True)
        if isinstance(value, Mapping):
            return {key: whole(item) for key, item in value.items()}
        return [whole(item) for item in value] if isinstance(value, list | tuple) else written(value)

    return json.dumps(whole(value), sort_keys=True)
