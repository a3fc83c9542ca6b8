"""A store that several processes share: `CounterStore`."""

from __future__ import annotations

import json
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import SecretStr

from pylae.cluster.settings import Cluster
from pylae.config.document.nodes import show_path
from pylae.config.document.sources import calling
from pylae.config.models.tls import ServiceTls, Texts
from pylae.engine import NativeStore, PlanError
from pylae.errors import ConfigError, Problem
from pylae.primitives.given import count, settings_of
from pylae.primitives.store_client import StoreClient
from pylae.units import DurationLike

if TYPE_CHECKING:
    from pylae.settings.fields import ServiceTlsFields

__all__ = ["CounterStore"]


class CounterStore:
    """A Valkey or Redis server, several behind Sentinels, or a Cluster, in which processes count limits together.

    They share limits of the same name in stores of the same name. Nothing is connected before the first use or a `with`
    block, which wait half a second for the store at most. Then a thread keeps the connection. Several threads may use a
    store. A process that is forked later connects by itself.

    A program and a gateway never share limits, even if the store and the cluster have the same name.

        store = CounterStore("valkey://10.0.0.5:6379", name="shop")
        limiter = RateLimiter(100, store=store, name="api")

    Raises ConfigError, with the line of the call, for settings that are wrong. If the store does not answer, limits do
    what `on_store_error` says, and no exception is raised.

    Args:
        url: Where the store is, as `cluster.store` of a configuration.
        name: What separates programs that use one server.
        node: Name of this process, for people.
        user: User of the store. The default is the user `default`.
        password: Password of the user.
        sentinel_user: User of the Sentinels, if they have users.
        sentinel_password: Password of the Sentinels, if they have one.
        tls: TLS to the store, only with `valkeys://`.
        timeout: How long a limit waits for an answer, by default 50 ms.
        flush: How often the store is told what limits with `mode="fast"` have admitted, by default every 20 ms.
        on_store_error: What limits do while the store does not answer. "share", the default: each process enforces the
            limit divided by the number of processes. "allow" admits everything, "deny" nothing.
        wait_replicas: Number of replicas that must have what `mode="exact"` takes.
        max_keys: Number of keys of all limits that this process knows at a time.
    """

    def __init__(
        self,
        url: str,
        /,
        *,
        name: str,
        node: str | None = None,
        user: str | None = None,
        password: str | SecretStr | None = None,
        sentinel_user: str | None = None,
        sentinel_password: str | SecretStr | None = None,
        tls: ServiceTls | ServiceTlsFields | None = None,
        timeout: DurationLike | None = None,
        flush: DurationLike | None = None,
        on_store_error: Literal["share", "allow", "deny"] | None = None,
        wait_replicas: int = 0,
        max_keys: int = 100_000,
    ) -> None:
        given: dict[str, Any] = {
            "store": url,
            "name": name,
            "node": node,
            "user": user,
            "password": password,
            "sentinel_user": sentinel_user,
            "sentinel_password": sentinel_password,
            "tls": tls,
            "timeout": timeout,
            "flush": flush,
            "on_store_error": on_store_error,
            "wait_replicas": wait_replicas,
        }
        settings = settings_of(Cluster, {setting: value for setting, value in given.items() if value is not None})
        if max_keys < 1:
            raise ValueError("max_keys must be at least 1")
        self._client = StoreClient(_plan(settings), count(max_keys))

    @property
    def available(self) -> bool:
        """Whether the store answers."""
        return self._client.started().available

    @property
    def problem(self) -> str | None:
        """Why it does not answer, or None."""
        return self._client.started().problem

    @property
    def nodes(self) -> int:
        """Number of processes that use the store by this name, this one included. Others are known after a second."""
        return self._client.started().nodes

    def close(self) -> None:
        """Tells the store what it does not know yet, and closes the connection. Limits cannot be used any more.

        It happens by itself when the interpreter ends.
        """
        self._client.close()

    def __enter__(self) -> Self:
        self._client.started()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()


def client_of(store: CounterStore) -> StoreClient:
    """Returns what limiters use of a store."""
    return store._client


def _plan(settings: Cluster) -> str:
    """Returns the part of a plan that has these settings. Raises ConfigError for files that cannot be used."""
    texts = Texts()
    plan = settings.plan(texts, ())
    # No cluster of gateways can have this name: programs count apart from them.
    plan["name"] = f"programs/{settings.name}"
    compiled = json.dumps(plan)
    file, line = calling()
    problems = [
        *(Problem(file, line, None, show_path(one.path), one.message, one.hint) for one in texts.findings),
        *texts.problems,
    ]
    if not problems:
        try:
            NativeStore.check(compiled)
        except PlanError as error:
            found = json.loads(error.args[0])
            problems = [Problem(file, line, None, item["path"], item["message"]) for item in found]
    if problems:
        raise ConfigError(problems)
    return compiled
