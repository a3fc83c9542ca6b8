"""A gateway that runs for a test, on a free port, with services and keys of the test."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self

import yaml
from pydantic import SecretStr, ValidationError

from pylae import Gateway
from pylae.auth import TOKEN_LIFE, issue_token
from pylae.config.builder import ConfigBuilder
from pylae.config.checks.explain import problems_of
from pylae.config.document.sources import Below, CallSources, calling, shown
from pylae.config.models.auth import AuthConfig
from pylae.config.models.authenticators.jwt import Jwt
from pylae.config.models.config import Config, Listener, has_authenticator
from pylae.config.models.instance import Instance
from pylae.config.models.route import Route
from pylae.config.models.service import Service
from pylae.engine import shift_clock
from pylae.errors import ConfigError, Problem
from pylae.testing.client import PATIENCE, Client, Who
from pylae.testing.tokens import SECRET
from pylae.units import DurationLike, parse_duration

__all__ = ["Configuration", "Instances", "RunningGateway", "StartedGateway", "prepared"]


class HasUrl(Protocol):
    """An object that can be an instance."""

    @property
    def url(self) -> str: ...


Configuration = Gateway | Path | str | Mapping[str, Any]
"""A `Gateway`, the path of a configuration (YAML or Python), YAML as a text, or the equivalent Python objects."""
Instances = HasUrl | str | Sequence[HasUrl | str]
"""Instances of a service, as fake services or addresses."""


def prepared(
    configuration: Configuration = "", services: Mapping[str, Instances] | None = None, *, state: str
) -> Gateway:
    """Returns a gateway with this configuration, changed for a test.

    - It listens on one free port of 127.0.0.1, without TLS, and has one worker unless the configuration says otherwise.
    - It has no admin API, unless the configuration mentions it; then that is on a free port too.
    - What outlives a restart is in the folder `state`.
    - `services` replaces the instances of services. Names may have `_` for `-`. If the configuration has services, the
      names must be among them; the other services keep their instances.
    - Tokens are those of the test: each `jwt` authenticator gets the key `SECRET`. If routes require users and no
      authenticator is configured, such an authenticator is added.
    - Without routes, every path goes to the first of `services` and requires no user.

    Raises ConfigError.
    """
    gateway = _read(configuration)
    config = _for_test(gateway.config, services or {}).model_copy(update={"state": state})
    gateway.builder.take(gateway.builder.with_config(config))
    return gateway


def _read(configuration: Configuration) -> Gateway:
    if isinstance(configuration, Gateway):
        return configuration
    if isinstance(configuration, Path) or _is_path(configuration):
        return Gateway.from_file(Path(str(configuration)))
    given = yaml.safe_load(configuration) if isinstance(configuration, str) else configuration
    if not isinstance(given or {}, Mapping):
        message = f"must be a mapping; found {shown(given, hidden=False)}"
        raise ConfigError([Problem(*calling(), None, "the configuration", message)])
    return Gateway(**(given or {}))


def _is_path(configuration: str | Mapping[str, Any]) -> bool:
    return (
        isinstance(configuration, str)
        and "\n" not in configuration
        and configuration.endswith((".yaml", ".yml", ".py"))
    )


def _for_test(config: Config, given: Mapping[str, Instances]) -> Config:
    services, routes = dict(config.services), config.routes
    known = _service_names(config)
    for called, instances in given.items():
        name = _known(called, known)
        listed = _listed(name, instances)
        if name in services:
            services[name] = services[name].model_copy(update={"instances": listed, "app": None})
        elif any(route.service_key == name and route.service_url for route in routes):
            breaker = next((route.circuit_breaker for route in routes if route.service_key == name), None)
            services[name] = Service(instances=listed, circuit_breaker=breaker)
            own = {"service": name, "service_url": None, "circuit_breaker": None}
            routes = tuple(route.model_copy(update=own) if route.service_key == name else route for route in routes)
        else:
            services[name] = Service(instances=listed)
    if not routes and services:
        routes = (Route(name="all", prefix="/", service=next(iter(services)), auth_required=False),)
    changes = {
        "listeners": (Listener(address="127.0.0.1:0"),),
        "admin": config.admin.model_copy(update={"address": "127.0.0.1:0"}) if config.admin else False,
        # Requests without a special Host, as most tests send them, must be allowed.
        "hosts": (*config.hosts, "127.0.0.1") if config.hosts else (),
        "workers": config.workers or 1,
        "services": services,
        "routes": routes,
        "auth": _auth(config, routes),
    }
    return config.model_copy(update=changes)


def _service_names(config: Config) -> list[str]:
    """Returns the names of the services that the configuration has or names."""
    mirrors = [policies.mirror.service for policies in (*config.routes, config.policies) if policies.mirror]
    return sorted({*config.services, *(name for route in config.routes for name in route.targets), *mirrors})


def _known(called: str, names: Sequence[str]) -> str:
    """Returns the name of the service that a test means. Raises ConfigError if the configuration has others but not
    this one.
    """
    dashed = called.replace("_", "-")
    if called in names or not names:
        return called
    if dashed in names:
        return dashed
    near = difflib.get_close_matches(dashed, names, 1, 0.6)
    message = f"there is no service `{called}`; there are {', '.join(names)}"
    hint = f"did you mean `{near[0]}`?" if near else None
    raise ConfigError([Problem(*calling(), None, f"services.{called}", message, hint)])


def _listed(name: str, instances: Instances) -> tuple[Instance, ...]:
    try:
        return Service.model_validate({"instances": urls(instances)}).instances
    except ValidationError as error:
        raise ConfigError(
            problems_of(error, Below(CallSources({(): calling()}), ("services", name)), Service)
        ) from None


def urls(instances: Instances) -> list[str]:
    """Returns the addresses of instances."""
    listed: Sequence[Any] = (
        [instances] if isinstance(instances, str) or not isinstance(instances, Sequence) else instances
    )
    return [item if isinstance(item, str) else getattr(item, "url", item) for item in listed]


def _auth(config: Config, routes: Sequence[Route]) -> AuthConfig | None:
    key = (SecretStr(SECRET),)
    if config.auth is None or not has_authenticator(config):
        if not any(route.auth_required or route.auth for route in routes):
            return config.auth
        return (config.auth or AuthConfig()).model_copy(update={"jwt": (Jwt(secret=key),)})
    own = {"secret": key, "public_key": None, "jwks": None, "jwks_url": None, "algorithms": ()}
    return config.auth.model_copy(update={"jwt": tuple(jwt.model_copy(update=own) for jwt in config.auth.jwt)})


class StartedGateway:
    """A gateway that runs in this process until `stop`."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        """The gateway itself, for `stats()`, `revoke()` and all else."""
        gateway.local_socket = False
        self.addresses = gateway.start()
        """`host:port` of each listener."""
        self._ahead = 0
        self._stopped = False

    @property
    def address(self) -> str:
        """`host:port` of the first listener."""
        return self.addresses[0]

    @property
    def url(self) -> str:
        """URL of the first listener, for a client of yours."""
        return f"http://{self.address}"

    def advance(self, span: DurationLike) -> None:
        """Lets time pass for the data plane at once: seconds, a text such as "1m", or a `timedelta`.

        Limits refill, breakers let test requests through, stored responses become stale, tokens expire, deadlines pass.
        This affects all gateways in this process. Real time continues as well, and `stop` undoes the change. Health
        checks and downloads of key sets follow real time only.
        """
        step = parse_duration(span) // timedelta(microseconds=1) * 1000
        self._ahead += step
        shift_clock(step)

    def stop(self, *, drain: bool = False) -> None:
        """Stops the gateway. A second call does nothing."""
        if not self._stopped:
            self._stopped = True
            self.gateway.stop(drain)
            shift_clock(-self._ahead)


class RunningGateway(StartedGateway, Client):
    """A gateway with a client for it: `gateway.get("/orders", user="42").json()`.

    For configuration and services see `prepared`. Use it as a context manager, or call `stop`; after that, a `Gateway`
    that you passed is as it was before. Raises ConfigError or EngineError.
    """

    def __init__(
        self,
        configuration: Configuration = "",
        services: Mapping[str, Instances] | None = None,
        *,
        timeout: float = PATIENCE,
    ) -> None:
        self._before: ConfigBuilder | None = None
        if isinstance(configuration, Gateway):
            self._before = Gateway().builder
            self._before.take(configuration.builder)
        self._state = TemporaryDirectory(prefix="pylae-")
        try:
            gateway = prepared(configuration, services, state=self._state.name)
            StartedGateway.__init__(self, gateway)
        except BaseException:
            self._clean_up(configuration)
            raise
        Client.__init__(self, self.address, timeout=timeout, sign=self.token)

    def token(self, user: Who, ttl: DurationLike = TOKEN_LIFE) -> str:
        """Returns a token that this gateway accepts, valid for `ttl`. Raises ConfigError if it has no `jwt`
        authenticator.
        """
        ahead = timedelta(microseconds=self._ahead // 1000)
        config = self.gateway.config
        if not has_authenticator(config):
            # Otherwise, with routes that require users, the token would be signed with a secret of this machine.
            config = config.model_copy(update={"routes": ()})
        return issue_token(user, config=config, ttl=parse_duration(ttl) + ahead)

    def apply(self, configuration: Configuration, services: Mapping[str, Instances] | None = None) -> None:
        """Applies another configuration, changed for a test in the same way. Raises as `Gateway.apply` does."""
        self.gateway.apply(prepared(configuration, services, state=self._state.name))

    def stop(self, *, drain: bool = False) -> None:
        """Stops the gateway. A second call does nothing."""
        super().stop(drain=drain)
        self._clean_up(self.gateway)

    def _clean_up(self, configuration: Configuration) -> None:
        self._state.cleanup()
        if self._before is not None and isinstance(configuration, Gateway):
            configuration.builder.take(self._before)
            self._before = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
