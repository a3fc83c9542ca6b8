"""The text of `pylae explain`: the native answer, with settings and places added, as lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pylae.cli import shown
from pylae.cli.shown import Compiled
from pylae.cli.table import columns
from pylae.config.document.written import was_written
from pylae.config.origin import origin_of

if TYPE_CHECKING:
    from pylae.config.builder import ConfigBuilder
    from pylae.config.document.sources import Place
    from pylae.hooks.hook import Hook

Document = dict[str, Any]

_HOOK_SETTING = re.compile(r"calls\[(\d+)\]\.(\w+)")
#: Number of routes rejected by their path to list without `--all`.
SHOWN = 10
OUTCOMES = {
    "route": "goes to a route",
    "method_not_allowed": "405: the path exists with other methods",
    "misdirected": "421: its host is not one of `hosts`",
    "not_found": "404: no route matches",
    "bad_request": "400: the request is malformed",
}
VERDICTS = {
    "chosen": "takes it",
    "host": "rejected by its host",
    "path": "rejected by its path",
    "method": "rejected by its method",
}

BEHIND = {
    "priority": "also matches, but has a lower priority",
    "host": "also matches, but its host is less specific",
    "path": "also matches, but its path is less specific (exact, template, pattern, then prefix)",
    "conditions": "also matches, but has fewer conditions",
    "declaration": "also matches, but comes later in the file",
    "head": "also matches, but as GET",
}


def complete(answer: Document, plan: Document, builder: ConfigBuilder) -> Document:
    """Adds the settings of the plan and their places to the native answer."""
    compiled = Compiled(builder, plan)
    names = {route["name"]: (index, route) for index, route in enumerate(plan["routes"])}
    asked = {considered["route"] for considered in answer["considered"]} | {answer["route"] and answer["route"]["name"]}
    matches = {
        name: shown.match(compiled, f"routes[{index}]", route["match"])
        for name, (index, route) in names.items()
        if name in asked
    }
    completed = {
        **answer,
        "considered": [{**considered, "match": matches[considered["route"]]} for considered in answer["considered"]],
    }
    hidden: dict[str, str] = {}
    completed["early"] = [
        _with_settings(policy, f"early.{policy['name']}", plan["early"], compiled, hidden) for policy in answer["early"]
    ]
    if chosen := answer["route"]:
        index, route = names[chosen["name"]]
        of_route = {key: route[key] for key in ("timeout", "idle_timeout", "deadline", "retries")}
        completed["route"] = {
            **chosen,
            "match": matches[chosen["name"]],
            **of_route,
            "defaults": [key for key in of_route if _is_default(compiled, f"routes[{index}].{key}")],
            "place": _place(compiled, f"routes[{index}]"),
        }
        policies = [
            _with_settings(policy, f"routes[{index}].policies.{policy['name']}", route["policies"], compiled, hidden)
            for policy in answer["policies"]
        ]
        completed["policies"] = [{**policy, "decision": shown.text(policy["decision"], hidden)} for policy in policies]
        if split := answer.get("split"):
            completed["split"] = _with_members(
                split, route["split"]["members"], _place(compiled, f"routes[{index}].split")
            )
    if (page := answer.get("page")) and page["key"]:
        path = f"errors.{page['key']}.{page['format']}"
        file = compiled.builder.config.errors[page["key"]][page["format"]]
        completed["page"] = {**page, "file": file, "place": _place(compiled, path)}
    if service := answer["service"]:
        number = [entry["name"] for entry in plan["services"]].index(service["name"])
        path = f"services[{number}]"
        # A service that a route declares has only an address.
        chosen_by_default = service["name"] not in compiled.builder.config.services or _is_default(
            compiled, f"{path}.load_balancer"
        )
        defaults = ["load_balancer"] if chosen_by_default else []
        completed["service"] = {**service, "defaults": defaults, "place": _place(compiled, path)}
    return completed


def _with_members(split: Document, members: list[Document], place: str | None) -> Document:
    """Adds to a split which fields the conditions and changes of its members name."""
    told = [
        {
            **standing,
            "when": list(_conditions(member["when"])) if member["when"] else [],
            "changes": [*member["headers"]["remove"], *member["headers"]["set"]],
        }
        for standing, member in zip(split["members"], members, strict=True)
    ]
    return {**split, "members": told, "place": place}


def _conditions(when: Document) -> Iterator[str]:
    """Yields what the conditions of a member are about."""
    for key in ("headers", "cookies"):
        yield from (f"{key.removesuffix('s')} {test['name']}" for test in when[key])
    if when["expression"] is not None:
        yield "expression"


def _with_settings(
    policy: Document, path: str, policies: Document, compiled: Compiled, hidden: dict[str, str]
) -> Document:
    """Returns a policy with its settings, each with its value and place.

    Texts that must not be shown are added to `hidden`, with their replacements.
    """
    settings = []
    for name, value in _leaves(policies.get(policy["name"])):
        told = shown.setting(compiled, f"{path}.{name}", name, value)
        of_hook = _HOOK_SETTING.fullmatch(name) if policy["name"] == "hooks" else None
        if of_hook:
            hook = compiled.builder.hooks[policies["hooks"]["calls"][int(of_hook[1])]["hook"]]
            origin = _origin_of_hook(compiled, hook, of_hook[2])
            if of_hook[2] == "run" and (hosts := compiled.builder.config.hooks.processes):
                told = f"{told}, in {'the' if hosts == 1 else f'one of {hosts}'} hook host{'s' if hosts > 1 else ''}"
        else:
            origin = _origin(compiled, path, name)
        settings.append({"name": name, "value": told, "from": origin})
        pairs = zip(value, told, strict=True) if isinstance(value, list) and isinstance(told, list) else [(value, told)]
        hidden.update({text: str(mark) for text, mark in pairs if isinstance(text, str) and text and text != mark})
    return {**policy, "place": _place(compiled, path), "settings": settings}


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yields the single settings of a policy with their paths."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{name}[{index}]")
    elif name:
        yield name, value


def _origin(compiled: Compiled, policy: str, setting: str) -> str | None:
    """Returns `file:line` of a setting, or `default` if it was not written."""
    path = f"{policy}.{setting}"
    place = compiled.locate(path, key=True)
    last = setting.rpartition(".")[2].partition("[")[0]
    # Settings that a model derives from others are in the model but not in the file.
    derived = place.node is not None and isinstance(place.node.value, dict) and last not in place.path
    return "default" if derived or _is_default(compiled, path) else _line(place)


def _is_default(compiled: Compiled, path: str) -> bool:
    return not was_written(compiled.builder.config, origin_of(compiled.plan, path))


def _origin_of_hook(compiled: Compiled, hook: Hook, setting: str) -> str | None:
    options = type(hook.options).model_fields
    if setting in options and setting not in hook.options.model_fields_set:
        return "default"
    return _line(compiled.builder.sources.locate(hook.source, key=True))


def _place(compiled: Compiled, path: str) -> str | None:
    """Returns `file:line` of a path of the plan; None if it was built in Python."""
    return _line(compiled.locate(path, key=True))


def _line(place: Place) -> str | None:
    return f"{place.file}:{place.line}" if place.file and place.line else None


def lines(request: Document, answer: Document, everything: bool) -> Iterator[str]:
    """Yields the explanation as lines for people."""
    yield f"{_strong(request['method'] + ' ' + request['target'])} from {request['client']}"
    if answer["canonical_path"] and answer["canonical_path"] != request["target"].partition("?")[0]:
        yield f"  canonical path: {answer['canonical_path']}"
    if answer["judged_path"] != answer["canonical_path"]:
        yield f"  path for routing and policies: {answer['judged_path']}"
    yield f"  {OUTCOMES[answer['outcome']]}" + (f" ({answer['detail']})" if answer["detail"] else "")
    if page := answer.get("page"):
        own = f"the gateway's own, because none is configured for {page['format']}"
        yield f"  error page: {page['file']}  {_faint(page['place'] or '')}" if page["key"] else f"  error page: {own}"
    if answer["early"]:
        yield from policy_lines("Before routing", answer["early"])
    if answer["route"]:
        yield from route_lines(answer["route"])
        if answer.get("websocket"):
            yield f"  WebSocket: {answer['websocket']}"
    yield from considered_lines(answer["considered"], everything)
    if answer["route"]:
        words = "Policies, in the order in which they run" if answer["policies"] else "No policies"
        yield from policy_lines(words, answer["policies"])
        if answer.get("split"):
            yield from _split(answer["split"])
        yield from _upstream(request, answer)


def route_lines(route: Document) -> Iterator[str]:
    """Yields the lines about the route that takes a request."""
    yield ""
    yield f"{_strong('Route ' + route['name'])}  {_faint(route['place'] or 'built in Python')}"
    yield f"  {_clauses(route['match'])}"
    for name, value in route["params"].items():
        yield f"  {name} = {value}"


def considered_lines(considered: list[Document], everything: bool) -> Iterator[str]:
    """Yields the lines about the routes that were compared with a request; without `everything`, not all of them."""
    by_path = [entry["route"] for entry in considered if entry["verdict"] == "path"]
    left_out = set() if everything else set(by_path[SHOWN:])
    rows = [
        (f"  {entry['route']}", _verdict(entry), _clauses(entry["match"]))
        for entry in sorted(considered, key=_nearness)
        if entry["route"] not in left_out
    ]
    if rows:
        yield ""
        yield _strong("Considered")
        yield from list(columns(("", "", ""), rows))[1:]
    if left_out:
        yield f"  … and {len(left_out)} more rejected by their path (--all lists them)"


def _nearness(considered: Document) -> int:
    """Sorts routes: the closer a route came to matching, the earlier it is listed."""
    order = ("chosen", "shadowed", "query", "header", "method", "path", "host")
    return order.index(considered["verdict"].partition(":")[0])


def _verdict(considered: Document) -> str:
    verdict = considered["verdict"]
    kind, _, name = verdict.partition(":")
    if name:
        return f"rejected by its {kind} {name}"
    return BEHIND[considered["by"]] if verdict == "shadowed" else VERDICTS[verdict]


def policy_lines(words: str, policies: list[Document], verb: str | None = "would") -> Iterator[str]:
    """Yields the lines about policies: where each was written, with `verb` what it decides, and its settings."""
    yield ""
    yield _strong(words)
    for policy in policies:
        yield f"  {_strong(policy['name'])}  {_faint(policy['place'] or 'default')}"
        if verb:
            yield f"    {verb}: {policy['decision']}"
        rows = [
            (f"    {setting['name']}", _value(setting["value"]), _faint(_elsewhere(setting["from"], policy["place"])))
            for setting in policy["settings"]
        ]
        yield from list(columns(("", "", ""), rows))[1:]


def _elsewhere(place: str | None, around: str | None) -> str:
    """Returns the place of a setting, unless it is in the same line as its policy."""
    return "" if place is None or place == around else place


def _split(split: Document) -> Iterator[str]:
    yield ""
    yield f"{_strong('Split')}  {_faint(split['place'] or 'built in Python')}"
    yield f"  {split['how']}"
    for place, member in enumerate(split["members"]):
        more = ["chosen"] if place == split["chosen"] else []
        more.append(f"weight {member['weight']}")
        if member["when"]:
            more.append(f"when {', '.join(member['when'])} ({'met' if member['met'] else 'not met'})")
        more += member["parts"]
        if member["changes"]:
            more.append(f"changes {', '.join(member['changes'])}")
        if not member["available"]:
            more.append("no instance can take a request")
        yield f"  - {member['service']} ({'; '.join(more)})"


def _upstream(request: Document, answer: Document) -> Iterator[str]:
    service, route = answer["service"], answer["route"]
    if service is None:
        return
    yield ""
    yield f"{_strong('Service ' + service['name'])}  {_faint(service['place'] or 'built in Python')}"
    yield f"  {service['balancer']}{_default('load_balancer', service)}: {service['how']}"
    for one in service["instances"]:
        yield f"  - {instance(one)}"
    to = f" to the host {answer['upstream_host']}" if answer["upstream_host"] else ""
    yield f"  sends {request['method']} {answer['upstream_path']}{to}"
    deadline = "" if route["deadline"] is None else f", {route['deadline']:g} s over all attempts"
    head = f"{route['timeout']:g} s for the head of the answer{_default('timeout', route)}"
    yield f"  waits {head}{deadline}; retries: {route['retries']}{_default('retries', route)}"


def _default(setting: str, around: Document) -> str:
    return " (default)" if setting in around["defaults"] else ""


def instance(one: str | Document) -> str:
    """Returns an instance with what sets it apart."""
    if isinstance(one, str):
        return one
    # The instance has not been used yet, so its counts are all 0.
    more = [f"weight {one['weight']}"] if one["weight"] != 1 else []
    more += [one["note"]] if one.get("note") else []
    return f"{one['url']} ({', '.join(more)})" if more else str(one["url"])


def _clauses(match: Document) -> str:
    """Returns the clauses of a route in one line."""
    clauses = [f"{match['path']['kind']} {match['path']['value']}", "|".join(match["methods"]) or "any method"]
    if match["hosts"]:
        clauses.append(f"host {'|'.join(match['hosts'])}")
    clauses += [
        f"{kind} {entry['name']}" for kind, key in (("header", "headers"), ("query", "query")) for entry in match[key]
    ]
    return ", ".join(clauses)


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.15g}"
    return value if isinstance(value, str) else json.dumps(value)


def _strong(text: str) -> str:
    return click.style(text, bold=True)


def _faint(text: str) -> str:
    return click.style(text, dim=True)
