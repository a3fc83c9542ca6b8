"""The words of `pylae explain`: the native answer, completed with settings and places, and printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pylae.cli.table import columns

if TYPE_CHECKING:
    from pylae.gateway import Gateway

Document = dict[str, Any]

#: Routes rejected by their path that are listed without `--all`.
SHOWN = 10
OUTCOMES = {
    "route": "goes to a route",
    "method_not_allowed": "405: the path exists under other methods",
    "not_found": "404: no route takes it",
    "bad_request": "400: it is malformed",
}
VERDICTS = {
    "chosen": "takes it",
    "shadowed": "takes it too, but is less specific",
    "host": "rejected by its host",
    "path": "rejected by its path",
    "method": "rejected by its method",
}


def complete(answer: Document, plan: Document, gateway: Gateway) -> Document:
    """Adds to the native answer the settings from the plan and the places from the file."""
    names = {route["name"]: (index, route) for index, route in enumerate(plan["routes"])}
    completed = {
        **answer,
        "considered": [
            {**considered, "match": names[considered["route"]][1]["match"]} for considered in answer["considered"]
        ],
    }
    if chosen := answer["route"]:
        index, route = names[chosen["name"]]
        completed["route"] = {
            **chosen,
            "place": _place(gateway, f"routes[{index}]"),
            **{key: route[key] for key in ("match", "timeout", "idle_timeout", "deadline", "retries")},
        }
        completed["policies"] = [
            {
                **policy,
                "settings": route["policies"].get(policy["name"]),
                "place": _place(gateway, f"routes[{index}].{policy['name']}", f"policies.{policy['name']}"),
            }
            for policy in answer["policies"]
        ]
    if service := answer["service"]:
        completed["service"] = {**service, "place": _place(gateway, f"services.{service['name']}")}
    return completed


def lines(request: Document, answer: Document, everything: bool) -> Iterator[str]:
    """The explanation for people."""
    yield f"{_strong(request['method'] + ' ' + request['target'])} from {request['client']}"
    if answer["canonical_path"] and answer["canonical_path"] != request["target"].partition("?")[0]:
        yield f"  path as everything sees it: {answer['canonical_path']}"
    yield f"  {OUTCOMES[answer['outcome']]}" + (f" ({answer['detail']})" if answer["detail"] else "")
    if answer["route"]:
        yield from _route(answer["route"])
    yield from _considered(answer["considered"], everything)
    if answer["route"]:
        yield from _policies(answer["policies"])
        yield from _upstream(request, answer)


def _route(route: Document) -> Iterator[str]:
    yield ""
    yield f"{_strong('Route ' + route['name'])}  {_faint(route['place'] or 'built in Python')}"
    yield f"  {_clauses(route['match'])}"
    for name, value in route["params"].items():
        yield f"  {name} = {value}"


def _considered(considered: list[Document], everything: bool) -> Iterator[str]:
    ranks = list(VERDICTS)
    by_path = [entry for entry in considered if entry["verdict"] == "path"]
    left_out = set() if everything else {entry["route"] for entry in by_path[SHOWN:]}
    rows = [
        (f"  {entry['route']}", _verdict(entry["verdict"]), _clauses(entry["match"]))
        for entry in sorted(considered, key=lambda entry: ranks.index(entry["verdict"].partition(":")[0])
                            if entry["verdict"] in ranks else 2)
        if entry["route"] not in left_out
    ]
    if rows:
        yield ""
        yield _strong("Considered")
        yield from list(columns(("", "", ""), rows))[1:]
    if left_out:
        yield f"  … and {len(left_out)} more rejected by their path (--all lists them)"


def _verdict(verdict: str) -> str:
    kind, _, name = verdict.partition(":")
    return f"rejected by its {kind} {name}" if name else VERDICTS[verdict]


def _policies(policies: list[Document]) -> Iterator[str]:
    yield ""
    yield _strong("Policies, in the order in which they run") if policies else _strong("No policies")
    for policy in policies:
        yield f"  {_strong(policy['name'])}  {_faint(policy['place'] or 'default')}"
        yield f"    would: {policy['decision']}"
        settings = policy["settings"]
        if isinstance(settings, dict):
            yield from (f"    {name}: {_value(value)}" for name, value in settings.items())
        elif settings is not None:
            yield f"    {_value(settings)}"


def _upstream(request: Document, answer: Document) -> Iterator[str]:
    service, route = answer["service"], answer["route"]
    if service is None:
        return
    yield ""
    yield f"{_strong('Service ' + service['name'])}  {_faint(service['place'] or 'built in Python')}"
    yield f"  {service['balancer']}: {service['how']}"
    for instance in service["instances"]:
        yield f"  - {_instance(instance)}"
    yield f"  sends {request['method']} {answer['upstream_path']}"
    deadline = "" if route["deadline"] is None else f", {route['deadline']:g} s over all attempts"
    yield f"  waits {route['timeout']:g} s for the head of the answer{deadline}; retries: {route['retries']}"


def _instance(instance: str | Document) -> str:
    if isinstance(instance, str):
        return instance
    more = ", ".join(f"{name} {_value(value)}" for name, value in instance.items() if name != "url")
    return f"{instance['url']} ({more})" if more else str(instance["url"])


def _clauses(match: Document) -> str:
    """What a route asks for, in one line."""
    clauses = [f"{match['path']['kind']} {match['path']['value']}", "|".join(match["methods"]) or "any method"]
    if match["hosts"]:
        clauses.append(f"host {'|'.join(match['hosts'])}")
    clauses += [f"{kind} {entry['name']}" for kind, key in (("header", "headers"), ("query", "query")) for entry in match[key]]
    return ", ".join(clauses)


def _place(gateway: Gateway, *paths: str) -> str | None:
    """`file:line` of the first of the paths that is written in the configuration."""
    for path in paths:
        if place := gateway.place(path):
            return place
    return None


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _strong(text: str) -> str:
    return click.style(text, bold=True)


def _faint(text: str) -> str:
    return click.style(text, dim=True)
