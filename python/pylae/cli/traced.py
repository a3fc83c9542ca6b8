"""The text of `pylae trace`: what has become of one exchange, in the same form as an explanation, and with times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pylae.cli import explanation
from pylae.cli.table import columns

if TYPE_CHECKING:
    from pylae.config.builder import ConfigBuilder

Document = dict[str, Any]


def complete(trace: Document, plan: Document, builder: ConfigBuilder) -> Document:
    """Adds settings and places to a trace, as to an explanation, if its routes and services are still in force."""
    routes = {route["name"] for route in plan["routes"]}
    named = {considered["route"] for considered in trace["considered"]}
    named |= {trace["route"]["name"]} if trace["route"] else set()
    services = {service["name"] for service in plan["services"]}
    gone = trace["service"] and trace["service"]["name"] not in services
    if named <= routes and not gone:
        return explanation.complete(trace, plan, builder)
    return {**trace, "considered": []}


def lines(trace: Document, everything: bool) -> Iterator[str]:
    """Yields the trace as lines for people; with `everything`, all routes, settings and fields."""
    seen = trace["exchange"]
    target = (seen["path"] or "") + (f"?{seen['query']}" if seen["query"] else "")
    head = f"{seen['method']} {target} from {trace['client']}"
    yield f"{click.style(head, bold=True)}  {_status(seen)} in {brief(seen['duration'])}"
    ids = [f"request {seen['request_id']}", f"trace {trace['id']}"]
    ids += [f"traceparent {trace['trace_id']}"] if trace["trace_id"] else []
    yield f"  {', '.join(ids)}"
    size = f"{seen['bytes_in']} bytes in, {seen['bytes_out']} out"
    yield f"  {seen['timestamp']}, {seen['protocol']}, {size}{'' if seen['complete'] else ', not complete'}"
    if seen["user"]:
        yield f"  user {seen['user']}"
    if everything:
        yield from _fields("Fields of the request", trace["request_headers"])
    if trace["early"]:
        yield from _policies("Before routing", trace["early"], everything)
    yield from _route(trace, everything)
    if trace["policies"]:
        yield from _policies("Policies, in the order in which they ran", trace["policies"], everything)
    yield from _upstream(seen, trace, everything)
    yield from _steps(trace)
    if everything:
        yield from _fields("Fields of the answer", trace["response_headers"])


def _status(seen: Document) -> str:
    colour = "green" if seen["status"] < 400 else "yellow" if seen["status"] < 500 else "red"
    return click.style(str(seen["status"]), fg=colour, bold=True) + (f" ({seen['code']})" if seen["code"] else "")


def _route(trace: Document, everything: bool) -> Iterator[str]:
    if trace["outcome"] in explanation.OUTCOMES and trace["outcome"] != "route":
        yield f"  {explanation.OUTCOMES[trace['outcome']]}"
    route = trace["route"]
    if route and "match" in route:
        yield from explanation.route_lines(route)
    elif route:
        yield f"  route {route['name']}, which is no longer in force as it was"
    if everything or not route:
        yield from explanation.considered_lines(trace["considered"], everything)
    elif also := [one for one in trace["considered"] if one["verdict"] == "shadowed"]:
        yield from explanation.considered_lines(also, everything)


def _policies(words: str, policies: list[Document], everything: bool) -> Iterator[str]:
    rows = [
        (
            f"  {policy['name']}",
            policy["decision"],
            brief(policy["seconds"]),
            _and("waited", policy["waited"]),
            _and("on the answer", policy["response_seconds"] + policy["body_seconds"]),
            click.style(policy.get("place") or "", dim=True),
        )
        for policy in policies
    ]
    yield ""
    yield click.style(words, bold=True)
    yield from list(columns(("",) * 6, rows))[1:]
    if everything:
        written = [{**policy, "settings": policy["settings"]} for policy in policies if policy.get("settings")]
        yield from explanation.policy_lines("Their settings", written, None)


def _and(what: str, seconds: float) -> str:
    return f"{what} {brief(seconds)}" if seconds else ""


def _upstream(seen: Document, trace: Document, everything: bool) -> Iterator[str]:
    service = trace["service"]
    if trace["cache"]:
        yield f"  cache: {trace['cache']}"
    if service is None:
        return
    yield ""
    place = click.style(service.get("place") or "", dim=True)
    yield f"{click.style('Service ' + service['name'], bold=True)}  {place}".rstrip()
    yield f"  {service['balancer']}: {service['how']}"
    for instance in service["instances"]:
        yield f"  - {explanation.instance(instance)}"
    if trace["upstream_path"] is not None:
        host = f" to the host {trace['upstream_host']}" if trace["upstream_host"] else ""
        yield f"  sent {seen['method']} {trace['upstream_path']}{host}"
    if everything:
        yield from _fields("Fields that the gateway added", trace["upstream_headers"])


def _steps(trace: Document) -> Iterator[str]:
    rows = [
        (f"  {brief(step['at'])}", brief(step["seconds"]), step["kind"], step["name"] or "", _outcome(step))
        for step in trace["steps"]
    ]
    if rows:
        yield ""
        yield click.style("Step by step", bold=True)
        yield from columns(("  AT", "TOOK", "STEP", "", ""), rows)
    if trace["missed"]:
        yield f"  … and {trace['missed']} more"


def _outcome(step: Document) -> str:
    """Returns what came of a step."""
    match step["kind"]:
        case "policy":
            return f"with the answer, {step['outcome']}" if step["part"] == "response" else step["outcome"]
        case "attempt":
            over = f"{step['connection']} connection, " if step["connection"] else ""
            return f"attempt {step['number']}, {over}{step['outcome'] or 'given up'}"
        case "hook":
            return f"with the {step['part']}{', failed' if step['failed'] else ''}"
        case "cache":
            return str(step["outcome"])
        case _:
            return ""


def _fields(words: str, fields: list[list[str]]) -> Iterator[str]:
    if fields:
        yield ""
        yield click.style(words, bold=True)
        yield from (f"  {name}: {value}" for name, value in fields)


def brief(seconds: float) -> str:
    """Returns a time in its best unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"
