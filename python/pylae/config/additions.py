"""What a program adds to a gateway in code. It is added to every configuration that the gateway gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pylae.config.added import with_breakers
from pylae.config.document.nodes import Finding, Step
from pylae.config.document.sources import Sources
from pylae.config.models.auth import AuthConfig
from pylae.config.models.authenticators.function import FunctionAuthenticator
from pylae.config.models.config import Config
from pylae.config.models.route import Route
from pylae.config.models.service import Service
from pylae.hooks.hook import Hook

Caller = tuple[str, int]
"""File and line of a call."""


@dataclass(slots=True)
class Additions:
    """Routes, services, hooks and authenticators in the order in which they were added, each with the call that did."""

    routes: list[tuple[Route, Caller]] = field(default_factory=list)
    services: list[tuple[str, Service, Caller]] = field(default_factory=list)
    hooks: list[tuple[Hook, Caller]] = field(default_factory=list)
    authenticators: list[tuple[str, FunctionAuthenticator, Caller]] = field(default_factory=list)

    def __add__(self, later: Additions) -> Additions:
        """A copy with both."""
        return Additions(
            [*self.routes, *later.routes],
            [*self.services, *later.services],
            [*self.hooks, *later.hooks],
            [*self.authenticators, *later.authenticators],
        )

    def __len__(self) -> int:
        return len(self.routes) + len(self.services) + len(self.hooks) + len(self.authenticators)

    @property
    def names(self) -> list[str]:
        """What was added, for people."""
        return [
            *(f"route {route.name or route.prefix or ''}".rstrip() for route, _ in self.routes),
            *(f"service {name}" for name, _, _ in self.services),
            *(f"hook {hook.name}" for hook, _ in self.hooks),
            *(f"authenticator {name}" for name, _, _ in self.authenticators),
        ]

    def has_service(self, name: str) -> bool:
        """Whether a service of this name was added."""
        return any(known == name for known, _, _ in self.services)

    def over(self, config: Config) -> Config:
        """The configuration with these routes, services and authenticators after its own, if there are any."""
        if not (self.routes or self.services or self.authenticators):
            return config
        services = {name: service for name, service, _ in self.services}
        own: dict[str, Any] = {"services": {**config.services, **services}}
        routes = with_breakers((route for route, _ in self.routes), config.model_copy(update=own))
        own["routes"] = (*config.routes, *routes)
        if self.authenticators:
            auth = config.auth or AuthConfig()
            functions = {name: function for name, function, _ in self.authenticators}
            own["auth"] = auth.model_copy(update={"functions": {**auth.functions, **functions}})
        return config.model_copy(update=own)

    def hooks_over(self, config: Config) -> list[Hook]:
        """The hooks, numbered after those of the configuration."""
        first = len(config.hooks.use)
        return [replace(hook, source=("hooks", "use", first + index)) for index, (hook, _) in enumerate(self.hooks)]

    def calls_over(self, config: Config) -> dict[tuple[Step, ...], Caller]:
        """The calls by the path of what each added, in the configuration that `over` returns."""
        calls: dict[tuple[Step, ...], Caller] = {("services", name): caller for name, _, caller in self.services}
        calls |= {("auth", "functions", name): caller for name, _, caller in self.authenticators}
        first = len(config.routes)
        calls |= {("routes", first + index): caller for index, (_, caller) in enumerate(self.routes)}
        first = len(config.hooks.use)
        calls |= {("hooks", "use", first + index): caller for index, (_, caller) in enumerate(self.hooks)}
        return calls

    def clashes(self, config: Config, sources: Sources) -> Iterator[Finding]:
        """Services and authenticators whose names the configuration or an earlier call has already."""
        callers: dict[str, Caller] = {}
        for name, _, caller in self.services:
            if name in callers:
                place = "{}:{}".format(*callers[name])
            elif name in config.services:
                place = str(sources.locate(("services", name), key=True))
            else:
                callers[name] = caller
                continue
            hint = f"it is at {place}; give one of them another name"
            yield Finding(("services", name), "there is already a service with this name", hint)
        taken = set(config.auth.names if config.auth else ())
        for name, _, _ in self.authenticators:
            if name in taken:
                hint = "give one of them another name"
                yield Finding(("auth", "functions", name), "there is an authenticator of this name already", hint)
            taken.add(name)
