"""Compiles routes into their parts of the plan. A route that an earlier plan has already is not compiled again."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, overload

from pylae.config.models.auth import AuthConfig
from pylae.config.models.base import Settings
from pylae.config.models.condition import ValueTest
from pylae.config.models.config import Config
from pylae.config.models.hooks import CallOptions
from pylae.config.models.route import Route
from pylae.config.models.split import When
from pylae.config.origin import Origin, PlanPart
from pylae.config.pages import Pages
from pylae.config.tables import POLICIES
from pylae.policies import PolicySet
from pylae.policies.authentication import Authentication
from pylae.policies.authorization import Authorization

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


class Common(NamedTuple):
    """What all routes of a configuration are compiled with. If it is the same, so is the part of the same route."""

    policies: PolicySet
    """The policies of the gateway."""
    authenticators: tuple[str, ...]
    """The names of all authenticators, in their order."""
    conceals: bool
    """Whether credentials are kept from instances."""
    admin_role: str
    calls: tuple[Call, ...] = ()
    """The hooks of routes."""
    early: frozenset[str] = frozenset()
    """The policies that have run before routing."""

    @classmethod
    def of(cls, config: Config, calls: Sequence[Call] = (), early: Mapping[str, Any] | None = None) -> Common:
        """What the routes of a configuration have in common."""
        auth = config.auth or _NO_AUTH
        late = tuple(call for call in calls if not call.early and not call.authenticator)
        return cls(config.policies, auth.names, auth.conceals, auth.admin_role, late, frozenset(early or ()))


_NO_AUTH = AuthConfig()
_NOTHING = Common(PolicySet(), (), conceals=False, admin_role="")


class CompiledRoutes(Sequence[dict[str, Any]]):
    """The routes of a plan. They are kept as JSON, which takes a quarter of the memory, and those that a later plan has
    as well need not be compiled for it.

    A route that is asked for by its number knows the origins of its parts; those of an iteration do not.
    """

    def __init__(self, earlier: CompiledRoutes | None = None) -> None:
        """`earlier` are those of the plan before."""
        self._earlier = earlier
        self._routes: Sequence[Route] = ()
        self._names: Sequence[str] = ()
        self._common = _NOTHING
        self._gateways: dict[str, PlanPart] = {}
        """The gateway-wide policies as they are in the plan, which routes share."""
        self._errors: dict[int, dict[str, Any]] = {}
        """Their error pages, of those that have some."""
        self._texts: list[str] = []
        self._own: list[dict[str, Any]] = []
        """The paths of authenticators, which are behind the routes."""
        self._latest: tuple[int, dict[str, Any]] | None = None
        """What was asked for last: often several things are asked about it."""
        self.anew = 0
        """How many were compiled that no earlier plan had."""

    def compile(self, routes: Sequence[Route], names: Sequence[str], common: Common, pages: Pages) -> None:
        """Adds these routes, whose names are given. `pages` reads error pages."""
        self._routes, self._names, self._common = routes, names, common
        earlier, self._earlier = self._earlier, None
        known: Mapping[int, int] = {}
        if earlier is not None and earlier._common == common:
            # The files of error pages may have changed.
            known = {id(route): index for index, route in enumerate(earlier._routes) if not route.errors}
        forms: dict[tuple[Any, ...], _Form] = {}
        for index, (name, route) in enumerate(zip(names, routes, strict=True)):
            place = known.get(id(route))
            if earlier is not None and place is not None and earlier._names[place] == name:
                self._texts.append(earlier._texts[place])
                continue
            self.anew += 1
            if route.errors:
                self._errors[index] = pages.plan(route.errors, ("routes", index, "errors"))
            self._texts.append(self._text(index, forms))

    def add_own_path(self, name: str, path: str, call: Call, origin: Origin) -> None:
        """Adds the route of a path that an authenticator owns. It has no service, because the function answers."""
        # Whoever comes there is not known yet, so nobody would meet a condition on users.
        off: dict[str, Any] = dict.fromkeys(("cache", "mirror", "static_response", "require"), False)
        # Without the rules of a route, which ask for a service.
        plan = self._route(name, Route.model_construct(path=path, priority=FIRST, **off), (*self._common.calls, call))
        # There is no instance that credentials would have to be kept from, and the function reads them.
        plan["policies"].pop("authentication", None)
        self._own.append(PlanPart({**plan, "errors": {}}, origin))
        self._texts.append(json.dumps(self._own[-1]))

    def as_json(self) -> str:
        """Returns them as a list in JSON."""
        return f"[{','.join(self._texts)}]"

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | Sequence[dict[str, Any]]:
        at = range(len(self))[index]
        if isinstance(at, range):
            return [self[one] for one in at]
        if at >= len(self._routes):
            return self._own[at - len(self._routes)]
        if self._latest is None or self._latest[0] != at:
            self._latest = at, self._compiled(at)
        return self._latest[1]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(json.loads, self._texts)

    def _compiled(self, index: int) -> dict[str, Any]:
        route = self._route(self._names[index], self._routes[index], self._common.calls)
        return {**route, "errors": self._errors.get(index, {})}

    def _text(self, index: int, forms: dict[tuple[Any, ...], _Form]) -> str:
        """The route as JSON. Of most routes, all is the same but `name`, path and `service`: that is made once."""
        name, route = self._names[index], self._routes[index]
        path = _path(route)
        kind = None if index in self._errors else _kind(route)
        if kind is not None:
            calls = tuple(call.routes is None or name in call.routes for call in self._common.calls)
            form = forms.get(kind := (path["kind"], calls, *kind))
            if form is None and len(forms) < _MOST_FORMS:
                form = forms[kind] = _form(self._compiled(index))
            if form is not None:
                service = _as_json(route.service_key or None)
                return f"{form[0]}{_as_json(name)}{form[1]}{_as_json(path['value'])}{form[2]}{service}{form[3]}"
        return _as_json(self._compiled(index))

    def _route(self, name: str, route: Route, calls: Sequence[Call]) -> dict[str, Any]:
        return {
            "name": name,
            "match": _match(route),
            "service": route.service_key or None,
            "split": _split(route) if route.split else None,
            "priority": route.priority,
            "timeout": route.timeout.total_seconds(),
            "idle_timeout": route.idle_timeout.total_seconds(),
            "deadline": None if route.deadline is None else route.deadline.total_seconds(),
            "retries": route.retries,
            "retry_on": list(route.retry_on),
            "preserve_host": route.preserve_host,
            "rewrite": route.rewrite,
            "encoded_slash": route.encoded_slash,
            "strip_prefix": route.prefix if route.strip_prefix is True else route.strip_prefix or None,
            "websocket": route.websocket.model_dump(mode="json") if route.websocket else None,
            "policies": self._policies(name, route, calls),
        }

    def _policies(self, name: str, route: Route, calls: Sequence[Call]) -> PlanPart:
        """The policies of a route: its own, those that follow from other keys, and those of the gateway."""
        plan: dict[str, Any] = {}
        for policy, settings in policies_of(route, self._common).items():
            is_own = policy not in _DERIVED and getattr(route, policy) is not None
            # What has run early by the gateway's settings does not run again.
            if is_own or policy in _DERIVED:
                written = settings.model_dump(mode="json")
                plan[policy] = written if is_own else PlanPart(written, _ELSEWHERE[policy])
            elif policy not in self._common.early:
                if (shared := self._gateways.get(policy)) is None:
                    shared = PlanPart(settings.model_dump(mode="json"), _ELSEWHERE[policy])
                    self._gateways[policy] = shared
                plan[policy] = shared
        own_calls = [call.hook for call in calls if call.routes is None or name in call.routes]
        if own_calls:
            plan["hooks"] = {"calls": own_calls}
        return PlanPart(plan, _ROUTE_POLICIES)


_as_json = json.JSONEncoder().encode

_Form = tuple[str, str, str, str]
"""The JSON of a route without its name, its path and its service, which are between these pieces."""
_MOST_FORMS = 256
_OWN = frozenset(
    ("name", "path", "prefix", "pattern", "service", "service_url", "circuit_breaker")  # the last is the service's
)
"""Keys of a route that say nothing else about its part of the plan."""


def _kind(route: Route) -> tuple[Any, ...] | None:
    """What routes of one form have in common; None of those that may be the only one."""
    if route.strip_prefix is True:
        return None
    kind: list[Any] = []
    for name in route.model_fields_set:
        if name in _OWN:
            continue
        value = getattr(route, name)
        if isinstance(value, Settings):
            value = _as_json(value.model_dump(mode="json"))
        elif (isinstance(value, tuple) and not all(isinstance(one, str) for one in value)) or isinstance(value, dict):
            if value:
                return None
            value = ()
        # 1 is not true.
        kind.append((name, type(value), value))
    return tuple(kind)


def _form(route: Mapping[str, Any]) -> _Form:
    mark = secrets.token_hex(16)
    match = {**route["match"], "path": {**route["match"]["path"], "value": mark}}
    text = _as_json({**route, "name": mark, "match": match, "service": mark})
    first, second, third, fourth = text.split(f'"{mark}"')
    return first, second, third, fourth


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

HOOKS = Origin(("hooks",), from_root=True, whole=True)
"""Where hooks are written."""
_ROUTE_POLICIES = Origin(entries={"hooks": HOOKS})
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


def _authentication(route: Route, common: Common) -> Settings | None:
    if common.authenticators and (route.auth_required or route.auth):
        # In the order of the fields, whatever the route's is: who can tell by itself goes before who must ask.
        names = common.authenticators
        chosen = tuple(name for name in names if name in route.auth) if route.auth else names
        return _asking(chosen, route.auth_required)
    # What clients send for the gateway is kept from instances on open routes too.
    return _asking((), False) if common.conceals else None


@lru_cache(256)
def _asking(authenticators: tuple[str, ...], required: bool) -> Authentication:
    """Routes have few different ones, and there may be many routes."""
    return Authentication(authenticators=authenticators, required=required)


def _authorization(route: Route, common: Common) -> Settings | None:
    if not route.permissions and not route.roles:
        return None
    return Authorization(permissions=route.permissions, roles=route.roles, admin_role=common.admin_role)


_DERIVED: dict[str, Callable[[Route, Common], Settings | None]] = {
    "authentication": _authentication,
    "authorization": _authorization,
}
"""Policies without a key of their own, and how they follow from other keys of a route."""


def effective_policies(route: Route, config: Config) -> dict[str, Settings]:
    """The policies that a route has: its own, and the gateway's that it neither overrides nor switches off."""
    return policies_of(route, Common.of(config))


def policies_of(route: Route, common: Common) -> dict[str, Settings]:
    """The same, for many routes of a configuration."""
    policies: dict[str, Settings] = {}
    for name in _IN_ORDER:
        if (derive := _DERIVED.get(name)) is not None:
            settings: Any = derive(route, common)
        elif (settings := getattr(route, name)) is None:
            settings = getattr(common.policies, name)
        if settings:
            policies[name] = settings
    return policies


# Hooks are no settings of a route: they are calls.
_IN_ORDER = tuple(name for name in POLICIES if name != "hooks")
