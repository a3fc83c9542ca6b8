"""Hides secrets in explanations, because these are pasted into tickets.

Values from the environment or a file are shown as their references.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from pylae.config.document.written import HIDDEN, is_credential, shown_reference
from pylae.config.origin import steps

if TYPE_CHECKING:
    from pylae.config.builder import ConfigBuilder
    from pylae.config.document.nodes import Node
    from pylae.config.document.sources import Place

ALWAYS_HIDDEN = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"),
        *("api_key", "apikey", "access_token", "refresh_token", "id_token", "token"),
        *("client_secret", "secret", "password", "signature"),
    }
)
"""Fields and parameters whose values are never shown, as in access logs."""
SHORTEST = 4
"""Shortest secret, in characters, that is searched for inside other texts."""


class Compiled(NamedTuple):
    """A configuration and its plan."""

    builder: ConfigBuilder
    plan: Mapping[str, Any]

    def locate(self, path: str, *, key: bool = False) -> Place:
        """Where what the plan has at `path` was written; see `ConfigBuilder.locate`."""
        return self.builder.locate(self.plan, path, key=key)


def setting(compiled: Compiled, path: str, name: str, value: object) -> object:
    """Returns how to show the value of the setting `name` at `path` of the plan."""
    place = compiled.locate(path)
    own = place.path[-1:] == steps(path)[-1:]
    return _shown(value, place.node, own, is_credential(name))


def _shown(value: object, node: Node | None, own: bool, secret: bool) -> object:
    """`own` says that the node is the value's own, and not that of a setting around it."""
    if isinstance(value, list):
        nodes = [item for _, item in node.items()] if node is not None and isinstance(node.value, list) else []
        paired = nodes if len(nodes) == len(value) else [node] * len(value)
        return [_shown(item, one, own, secret) for item, one in zip(value, paired, strict=True)]
    if value is None or isinstance(value, bool):
        return value
    if secret:
        return (shown_reference(node) if own else None) or HIDDEN
    # Numbers are shown, because people look for them. Texts may be secrets.
    if isinstance(value, str) and node is not None and node.interpolated and (own or value == node.value):
        return node.written
    return value


def match(compiled: Compiled, route: str, clauses: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the clauses of a route. Values of fields and parameters are shown as by `setting`."""
    tests = {
        key: [
            {**test, "value": _test(compiled, f'{route}.{key}["{test["name"]}"]', test["name"], test["value"])}
            for test in clauses[key]
        ]
        for key in ("headers", "query")
    }
    return {**clauses, **tests}


def _test(compiled: Compiled, path: str, name: str, test: object) -> object:
    if not isinstance(test, dict):
        return test
    return {kind: setting(compiled, path, name, value) for kind, value in test.items()}


def text(said: str, hidden: Mapping[str, str]) -> str:
    """Replaces the texts in `hidden` in a text of the native side."""
    for secret, shown in hidden.items():
        # Shorter ones would also match unrelated texts.
        said = said.replace(secret, shown) if len(secret) >= SHORTEST else said
    return said


def without_credentials(request: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the request without credentials, because explanations are pasted into tickets."""
    authenticators = plan["auth"]["authenticators"] if plan["auth"] else ()
    places = {place for one in authenticators for key in ("header", "query") if (place := one.get(key))}
    parts = [part.partition(":") for one in authenticators for part in one.get("key") or ()]
    places |= {name for kind, _, name in parts if kind in ("header", "query")}
    chains = [*(route["policies"] for route in plan["routes"]), plan["unrouted"]]
    masked = {name for chain in chains if (log := chain.get("access_log")) for name in log["mask"]}
    hidden = {name.lower() for name in places | masked} | ALWAYS_HIDDEN
    path, mark, query = request["target"].partition("?")
    pairs = [
        f"{pair.partition('=')[0]}=…" if unquote_plus(pair.partition("=")[0]).lower() in hidden else pair
        for pair in query.split("&")
    ]
    headers = [[name, "…" if name.lower() in hidden else value] for name, value in request["headers"]]
    return {**request, "target": path + mark + "&".join(pairs), "headers": headers}
