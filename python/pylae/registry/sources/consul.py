"""Instances from Consul: blocking queries of `/v1/health/service/NAME`, which Consul answers when something changes.

Their rules: https://developer.hashicorp.com/consul/api-docs/features/blocking
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, Field, SecretStr, TypeAdapter, ValidationError, model_validator

from pylae.config.models.base import refusal
from pylae.config.models.instance import Instance
from pylae.registry.api import ApiAddress, ApiSettings, ApiSource
from pylae.registry.client import ApiError, RefusedError, Reply
from pylae.registry.source import SourceContext
from pylae.units import Duration, Wait

if TYPE_CHECKING:
    from pylae.settings.fields import ConsulDiscoveryFields

_SELDOM = 0.1
"""Least seconds between two queries: an index may change all the time although no instance does."""


def _token(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{0,4096}", secret.get_secret_value()):
        raise refusal("a token is visible ASCII characters", secret=True)
    return secret


def _longest(span: timedelta) -> timedelta:
    if span > timedelta(minutes=10):
        raise refusal("Consul waits for 10 minutes at most")
    return span


Word = Annotated[str, Field(min_length=1, max_length=256)]


class ConsulDiscovery(ApiSettings):
    """The instances of a service in Consul. The name of the service there is short for `service`."""

    short = {"type": "string"}
    main = ("service",)
    private = (*ApiSettings.private, "gone_after")

    address: ApiAddress = "http://127.0.0.1:8500"
    """The agent or server: `http://host:port`, `https://host:port` or `unix:/path`."""
    service: Word
    """Name of the service in Consul."""
    token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    """The token to send, unless it is empty. It needs `service:read` and `node:read`."""
    passing: bool = True
    """Whether all checks of an instance must pass. Otherwise instances with a warning count too, by their weight for
    warnings. An instance with a critical check never counts."""
    tags: tuple[Word, ...] = ()
    """Tags that an instance must have, all of them."""
    filter: Word | None = None
    """A filter expression of Consul, such as `Service.Meta.version == "2"`."""
    datacenter: Word | None = None
    """The datacenter to ask for; that of the agent by default."""
    namespace: Word | None = None
    """The namespace, in Consul Enterprise."""
    partition: Word | None = None
    """The admin partition, in Consul Enterprise."""
    stale: bool = False
    """Whether servers other than the leader may answer. That costs Consul less, and answers may be out of date."""
    scheme: Literal["http", "https"] = "http"
    """The scheme of the instances."""
    wait: Annotated[Duration, AfterValidator(_longest)] = timedelta(minutes=1)
    """How long Consul holds a query while nothing changes. It answers at once when something does."""
    gone_after: Wait = timedelta(0)
    """How long Consul must answer that there are no instances before they leave. By default they leave at once, because
    Consul's servers agree on that answer."""

    @property
    def secure(self) -> bool:
        """As `SourceSettings.secure`: the setting says what is spoken."""
        return self.scheme == "https"

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ConsulDiscoveryFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"service": value} if isinstance(value, str) else value


class _Node(BaseModel):
    Address: str = ""


class _Weights(BaseModel):
    Passing: int = 1
    Warning: int = 1


class _Service(BaseModel):
    ID: str = ""
    Address: str = ""
    Port: int = 0
    Weights: _Weights = _Weights()


class _Check(BaseModel):
    Status: str = "passing"


class _Entry(BaseModel):
    """The part of an item in Consul's answer that is needed."""

    Node: _Node = _Node()
    Service: _Service
    Checks: list[_Check] | None = None


_ENTRIES = TypeAdapter(list[_Entry])


class ConsulSource(ApiSource[ConsulDiscovery]):
    """Waits for Consul to answer that something changed."""

    Settings = ConsulDiscovery

    def __init__(self, settings: ConsulDiscovery, context: SourceContext) -> None:
        super().__init__(settings, context)
        self._path = f"/v1/health/service/{quote(settings.service, safe='')}"
        token = settings.token.get_secret_value() if settings.token else ""
        self._fields = {"X-Consul-Token": token} if token else {}
        self._index = 0
        """Consul's index of the state that is known; 0 asks for an answer at once."""
        self._asked = 0.0

    async def ask(self, now: float) -> bool:
        """As `ApiSource.ask`."""
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._asked + _SELDOM - clock())
        began = self._asked = clock()
        self.due = now
        try:
            reply = await self._reply(now)
            entries = self._entries(reply)
        except ApiError:
            self._index = 0
            raise
        index = self._index_of(reply)
        # An index goes back if Consul was restored. Then it does not tell any more what is known.
        self._index = index if index >= self._index else 0
        return self._take(entries, reply, now + clock() - began)

    async def _reply(self, now: float) -> Reply:
        settings, patience = self.settings, self.patience
        query = [*self._asked_for()]
        if self._index:
            wait = settings.wait.total_seconds()
            if self._gone_since is not None and self.instances:
                wait = min(wait, max(self._gone_since + settings.gone_after.total_seconds() - now, 0.001))
            query += [("index", str(self._index)), ("wait", f"{max(round(wait * 1000), 1)}ms")]
            # Consul adds up to a sixteenth, so that not all queries end at once.
            patience += wait * 17 / 16
        try:
            return await self.client.get(self._path, query, self._fields, patience=patience)
        except RefusedError as error:
            if error.reply.status in (401, 403):
                raise ApiError(f"{error} (`token` needs service:read for {settings.service})") from None
            raise

    def _asked_for(self) -> Iterator[tuple[str, str]]:
        settings = self.settings
        if settings.passing:
            yield "passing", "true"
        for tag in settings.tags:
            yield "tag", tag
        named = {"filter": settings.filter, "dc": settings.datacenter}
        named |= {"ns": settings.namespace, "partition": settings.partition}
        yield from ((name, value) for name, value in named.items() if value is not None)
        if settings.stale:
            yield "stale", ""

    def _entries(self, reply: Reply) -> list[_Entry]:
        try:
            return _ENTRIES.validate_python(reply.json())
        except (ValueError, ValidationError):
            raise ApiError(f"{self.settings.address} does not answer as Consul does") from None

    def _index_of(self, reply: Reply) -> int:
        text = reply.fields.get("X-Consul-Index", "")
        if not re.fullmatch(r"[0-9]{1,20}", text):
            raise ApiError(f"{self.settings.address} does not answer as Consul does: there is no X-Consul-Index")
        # 0 would not wait for anything.
        return max(int(text), 1)

    def _take(self, entries: list[_Entry], reply: Reply, now: float) -> bool:
        settings = self.settings
        found: list[Instance] = []
        wrong: list[str] = []
        for entry in entries:
            states = {check.Status for check in entry.Checks or ()}
            if not states <= ({"passing"} if settings.passing else {"passing", "warning"}):
                continue
            try:
                found.append(_instance(settings.scheme, entry, warns="warning" in states))
            except ValidationError:
                wrong.append(entry.Service.ID)
        if found:
            some = (
                f"{len(wrong)} of its instances in Consul have" if wrong[1:] else "one of its instances in Consul has"
            )
            return self.found(found, f"{some} no address that can be used ({wrong[0]})" if wrong else None)
        which = "passing instance" if settings.passing else "instance without a critical check"
        text = f"{settings.address} has no {which} of {settings.service}"
        if reply.fields.get("X-Consul-Results-Filtered-By-ACLs", "").lower() == "true":
            # There may be instances that the token may not see.
            return self.failed(f"{text} that `token` lets it see (it needs service:read and node:read)")
        return self.gone(text, now, settings.gone_after.total_seconds())


def _instance(scheme: str, entry: _Entry, *, warns: bool) -> Instance:
    service = entry.Service
    host = service.Address or entry.Node.Address
    weight = service.Weights.Warning if warns else service.Weights.Passing
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{service.Port}"
    return Instance.model_validate({"url": url, "weight": max(weight, 1)})
