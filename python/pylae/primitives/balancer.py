"""Load balancing: which instance of a service is next."""

from __future__ import annotations

import ipaddress
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from threading import Lock
from time import monotonic_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast

from pylae.config.models.instance import Instance, instance_url
from pylae.config.models.service import Service
from pylae.config.plan import service_plan
from pylae.config.tables import balancers_with
from pylae.engine import NativeLoadBalancer, NativePick
from pylae.errors import UnavailableError
from pylae.primitives.given import Clock, compiling, now, settings_of
from pylae.primitives.health import HealthChecker, url_of

__all__ = ["LoadBalancer", "Pick"]

if TYPE_CHECKING:
    from pylae.settings.fields import BalancerKind, InstanceLike

Instances: TypeAlias = "Service | Sequence[InstanceLike]"
"""A service with all its settings, or only its instances."""
Failure = Literal["connect_failed", "timeout", "reset", "cancelled"]
"""How an attempt ended without a response. `cancelled` does not count against the instance."""


_NOBODY = ("http://nobody.invalid",)
"""A placeholder while there are no instances."""
_MOST_SERVICES = 1024
"""Most services whose turns `select_instance` remembers."""


class LoadBalancer:
    """Picks instances of a service as the gateway does, with their health, circuit breakers and slow start.

        balancer = LoadBalancer(["http://a:8000", "http://b:8000"], "p2c")
        with balancer.pick() as pick:
            response = client.get(pick.url + "/orders")
            pick.report(response.status_code)

    For `select_instance`, which receives the instances with each call, give no instances: `LoadBalancer("p2c")`, or
    `LoadBalancer(algorithm="p2c")`.

    Args:
        service: A `Service` with all its settings, or only its instances: URLs, or mappings with `url` and `weight`.
        kind: The kind of balancer, as `load_balancer` of a service. The default is `round_robin`.
        algorithm: Another name of `kind`.
        health_checker: Used by `select_instance`, which skips the instances that it finds unhealthy.
        clock: Returns the time in nanoseconds.
        random: Source of random choices. A seeded one makes them repeatable.

    Raises ConfigError for wrong settings.
    """

    def __init__(
        self,
        service: Instances | BalancerKind = (),
        kind: BalancerKind | None = None,
        *,
        algorithm: BalancerKind | None = None,
        health_checker: HealthChecker | None = None,
        clock: Clock = monotonic_ns,
        random: Random | None = None,
    ) -> None:
        if isinstance(service, str):
            service, kind = (), kind or cast("BalancerKind", service)
        self._clock, self._random, self._kind_given = clock, random or Random(), kind or algorithm  # noqa: S311
        self._health, self._selected, self._lock = health_checker, OrderedDict[str, _Selected](), Lock()
        given = service if isinstance(service, Service) else settings_of(Service, self._settings(service or _NOBODY))
        plan = self._plan(given if service else given.model_copy(update={"instances": ()}))
        with compiling():
            self._native = NativeLoadBalancer(plan, now(clock))

    def _settings(self, instances: Sequence[Any]) -> dict[str, Any]:
        """Returns settings of a service for instances alone. The caller provides keys for `consistent_hash`."""
        settings: dict[str, Any] = {"instances": instances}
        if self._kind_given in balancers_with("key"):
            settings["load_balancer"] = {"kind": self._kind_given, "on": "user"}
        elif self._kind_given is not None:
            settings["load_balancer"] = self._kind_given
        return settings

    def _plan(self, service: Service) -> str:
        plan = service_plan("", service)
        self._by_address = plan["load_balancer"]["kind"] in balancers_with("address")
        return json.dumps(plan)

    def apply(self, service: Instances) -> None:
        """Replaces the instances or settings. Instances that stay keep their state, as at a reload. Raises
        ConfigError.
        """
        plan = self._plan(service if isinstance(service, Service) else settings_of(Service, self._settings(service)))
        with compiling():
            self._native.apply(plan, now(self._clock))

    def pick(self, key: str | bytes | None = None, *, cookie: str | None = None, avoid: Iterable[str] = ()) -> Pick:
        """Picks an instance for one attempt. Raises UnavailableError if none can be used, with the time to wait.

        Args:
            key: What `ip_hash` (an address), `consistent_hash` and `maglev` use. Without it, they pick at random.
            cookie: The value of the client's sticky cookie.
            avoid: Instances to pick only if there is no other, such as those that just failed. At most eight count.
        """
        tried = [_canonical(url) for url in avoid]
        at = now(self._clock)
        picked, why, wait = self._native.pick(at, self._random.getrandbits(64), self._key(key), cookie, tried)
        if picked is None:
            raise UnavailableError(why, wait / 1e9)
        return Pick(picked, self._clock, at)

    def select_instance(
        self, instances: Sequence[Mapping[str, Any]], client_ip: str | None = None
    ) -> Mapping[str, Any] | None:
        """Selects one of these instances by the balancer's kind. Returns None if none is healthy.

        An instance is a mapping with `host` and `port` (or `url`), and optionally `weight`, `service_name` and
        `active_connections`. Turns are per service and continue while its instances change. The balancer remembers the
        turns of 1,024 services and forgets the one that was unused longest. `ip_hash` uses `client_ip`.

        The balancer does not see the outcome: `least_connections` compares `active_connections` by `weight`, and
        latency and failures count only for `pick`. Raises ValueError for an invalid instance.
        """
        usable = [one for one in instances if self._health is None or self._health.is_healthy(one)]
        if not usable:
            return None
        if self._kind_given == "least_connections":
            loads = [one.get("active_connections", 0) / one.get("weight", 1) for one in usable]
            return self._random.choice([one for one, load in zip(usable, loads, strict=True) if load == min(loads)])
        by_url = {url_of(one): one for one in usable}
        with self._lock:
            balancer = self._selecting(str(usable[0].get("service_name", "")), by_url)
        with balancer.pick(client_ip or None) as pick:
            return by_url[pick.url]

    def _selecting(self, service: str, by_url: Mapping[str, Mapping[str, Any]]) -> LoadBalancer:
        """Returns the balancer of a service, with these instances."""
        weights = {url: one.get("weight", 1) for url, one in by_url.items()}
        held = [Instance(url=url, weight=weight) for url, weight in weights.items()]
        known = self._selected.pop(service, None)
        if known is None:
            known = _Selected(LoadBalancer(held, self._kind_given, clock=self._clock, random=self._random), weights)
        elif known.weights != weights:
            known.balancer.apply(held)
            known.weights = weights
        self._selected[service] = known
        while len(self._selected) > _MOST_SERVICES:
            self._selected.popitem(last=False)
        return known.balancer

    def _key(self, key: str | bytes | None) -> bytes | None:
        if isinstance(key, str) and self._by_address:
            address = ipaddress.ip_address(key)
            mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
            return (mapped or address).packed
        return key.encode() if isinstance(key, str) else key

    def check(self, url: str, *, healthy: bool) -> str | None:
        """Records the result of a health check of an instance, if the service has a `health_check`.

        Returns what it changed, as the gateway logs it, or nothing. Raises LookupError if there is no such instance.
        """
        return self._native.check(_canonical(url), now(self._clock), healthy)

    def set_draining(self, url: str, draining: bool = True) -> str | None:
        """Starts or ends the drain of an instance: while it drains, it is not picked.

        Returns what it changed, or nothing. Raises LookupError if there is no such instance.
        """
        return self._native.set_draining(_canonical(url), now(self._clock), draining)

    def stats(self) -> dict[str, Any]:
        """Returns the state of the service and its instances: exchanges in flight, attempts, failures, breakers."""
        return cast("dict[str, Any]", json.loads(self._native.stats(now(self._clock))))


@dataclass(slots=True)
class _Selected:
    """The balancer of a service for `select_instance`, and the weights of its instances by URL."""

    balancer: LoadBalancer
    weights: Mapping[str, int]


class Pick:
    """An instance in use. It counts as in flight until `end`, the end of the `with` block, or until this object is
    dropped.

    Without a report in the `with` block, the outcome is a success if it ends normally, `timeout` after TimeoutError,
    `connect_failed` after ConnectionRefusedError, `reset` after any other Exception, and `cancelled` after any other
    BaseException.
    """

    def __init__(self, native: NativePick, clock: Clock, began: int) -> None:
        self._native, self._clock, self._began = native, clock, began
        self._reported = False

    @property
    def url(self) -> str:
        """URL of the instance: `http://host:port`."""
        return self._native.url

    @property
    def cookie(self) -> str | None:
        """The value to set as the client's sticky cookie; None if it is right, or if the service has none."""
        return self._native.cookie

    def report(self, outcome: int | Failure, latency: float | None = None) -> tuple[str, ...]:
        """Reports the outcome of the attempt: the status of the response, or the failure.

        `latency` is in seconds; by default it is the time since the pick. You may report again, for example if a
        response that began well breaks off (`reset`). Returns what changed, as the gateway logs it: ejections,
        breakers.
        """
        at = now(self._clock)
        took = max(at - self._began, 0) if latency is None else int(latency * 1e9)
        status = outcome if isinstance(outcome, int) else None
        word = outcome if isinstance(outcome, str) else ""
        self._reported = True
        return tuple(self._native.report(at, took, status, word))

    def end(self) -> None:
        """Ends the attempt. Without a report, it does not count against the instance."""
        self._native.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._reported:
            self.report(200 if kind is None else _failure(kind))
        self.end()


def _failure(kind: type[BaseException]) -> Failure:
    if issubclass(kind, TimeoutError):
        return "timeout"
    if issubclass(kind, ConnectionRefusedError):
        return "connect_failed"
    return "reset" if issubclass(kind, Exception) else "cancelled"


def _canonical(url: str) -> str:
    """Returns the URL in the form of the plan. An invalid one matches no instance."""
    try:
        return instance_url(url)
    except ValueError:
        return url
