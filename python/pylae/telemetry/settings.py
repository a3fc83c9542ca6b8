"""What is sent to OpenTelemetry collectors, and how."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Unpack
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from pylae.config.document.nodes import Finding, Step
from pylae.config.models.address import is_this_machine
from pylae.config.models.base import Settings, Share, Switch, refusal
from pylae.config.models.tls import PemFile, Texts
from pylae.config.origin import Origin, PlanPart
from pylae.units import Duration, Wait, between

if TYPE_CHECKING:
    from pylae.settings.fields import (
        ExportedLogsFields,
        ExportedMetricsFields,
        KeepFields,
        TelemetryFields,
        TracesFields,
    )

_HINT = "write http://HOST:4318 or https://HOST:4318; with `protocol: grpc`, the port is most often 4317"
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_FIELD_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_MOST_FIELDS = 16
_OWN_FIELDS = frozenset(
    {
        *("connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive"),
        *("te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
    }
)
"""Fields that say how a message is sent, which the gateway writes itself."""
_ATTRIBUTE = re.compile(r"[^\s\x00-\x1f\x7f]{1,256}")
_MOST_ATTRIBUTES = 64


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    else:
        if valid and (parts.username is not None or parts.query or parts.fragment or "?" in text or "#" in text):
            raise refusal(
                "must not contain a user, a query or a fragment", "write credentials under `headers`", secret=True
            )
    if not valid or not text.isascii() or any(character <= " " for character in text):
        raise refusal("is not the URL of a collector", _HINT, secret="@" in text or "?" in text)
    return text


def _headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    if len(headers) > _MOST_FIELDS:
        raise refusal(f"has more than {_MOST_FIELDS} fields", secret=True)
    for name, value in headers.items():
        if not _FIELD_NAME.fullmatch(name):
            raise refusal("has a name that cannot be the name of a field", secret=True)
        if name.lower() in _OWN_FIELDS or name.lower().startswith("grpc-"):
            raise refusal(f"must not have the field `{name.lower()}`, which the gateway sets itself", secret=True)
        text = value.get_secret_value()
        if not _FIELD_VALUE.fullmatch(text) or len(text) > 8192:
            raise refusal(f"has a value that the field `{name}` cannot have: visible ASCII, at most 8192", secret=True)
    if len({name.lower() for name in headers}) < len(headers):
        raise refusal("has a field twice: names are the same in upper and lower case", secret=True)
    return headers


def _attributes(attributes: dict[str, str]) -> dict[str, str]:
    if len(attributes) > _MOST_ATTRIBUTES:
        raise refusal(f"has more than {_MOST_ATTRIBUTES} attributes")
    for name, value in attributes.items():
        if not _ATTRIBUTE.fullmatch(name):
            raise refusal("has a name with blanks or control characters, none, or one of more than 256 characters")
        if len(value) > 1024:
            raise refusal(f"has a value of more than 1024 characters: `{name}`")
    return attributes


class Export(Settings):
    """How something is sent to an OpenTelemetry collector, with OTLP."""

    short = {"type": "string"}
    signal: ClassVar[str]
    """The last word of the path of OTLP/HTTP."""

    endpoint: Annotated[str, AfterValidator(_endpoint)]
    """URL of the collector, `http://` or `https://`. With `protocol: http`, a URL without a path gets the one that OTLP
    has for it, such as `/v1/traces`."""
    protocol: Literal["http", "grpc"] = "http"
    """`http` sends protocol buffers over HTTP/1.1, `grpc` over gRPC."""
    headers: Annotated[dict[str, SecretStr], AfterValidator(_headers)] = {}
    """Fields to send with each request, for example `authorization`. At most 16."""
    compression: Literal["none", "gzip"] = "none"
    """How to compress what is sent."""
    ca: PemFile | None = None
    """PEM file with the authorities to trust. The default is the system's authorities. Only with `https://`."""
    timeout: Annotated[Duration, between(timedelta(milliseconds=100), timedelta(minutes=1))] = timedelta(seconds=10)
    """How long the collector may take for an answer."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"endpoint": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> Export:
        parts = urlsplit(self.endpoint)
        if self.ca is not None and parts.scheme != "https":
            raise refusal("`ca` has no effect without TLS", "write https:// in `endpoint`")
        if self.protocol == "grpc" and parts.path not in ("", "/"):
            raise refusal("with `protocol: grpc`, `endpoint` has no path", "write scheme, host and port only")
        return self

    def collector(self, texts: Texts, path: tuple[Step, ...]) -> PlanPart:
        """Returns what the plan has of the collector. `path` is the place of the setting in the model."""
        parts = urlsplit(self.endpoint)
        bare = self.endpoint.rstrip("/")
        plain = self.protocol == "grpc" or parts.path not in ("", "/")
        collector = {
            **self.model_dump(mode="json", include={"protocol", "compression", "timeout"}),
            "endpoint": (bare if self.protocol == "grpc" else self.endpoint) if plain else f"{bare}/v1/{self.signal}",
            "headers": [[name.lower(), value.get_secret_value()] for name, value in self.headers.items()],
            "ca": self.ca and texts.read(self.ca, (*path, "ca")),
        }
        return PlanPart(collector, Origin())

    def weaknesses(self) -> Iterator[Finding]:
        """Yields settings that work but are probably insecure. Paths begin at this setting."""
        parts = urlsplit(self.endpoint)
        if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
            what = "the credentials and what is sent" if self.headers else "what is sent"
            yield Finding(("endpoint",), f"anyone on the network can read {what} over http://", "use https://")


class Keep(Settings):
    """Which exchanges are sent although they were not sampled, as seen when they are over. With this, each exchange
    keeps what it would send until then.
    """

    errors: bool = True
    """Those that fail: answers with a status of 5xx, and answers that did not get to the client whole."""
    slower_than: Wait | None = None
    """Those that take longer than this."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[KeepFields]) -> None: ...

    @model_validator(mode="after")
    def _something(self) -> Keep:
        if not self.errors and self.slower_than is None:
            raise refusal("keeps nothing", "name `errors` or `slower_than`, or leave out `keep`")
        return self


class Traces(Export):
    """Traces of exchanges, with the context of W3C Trace Context. A text is short for `endpoint`.

    Example:
        ```yaml
        telemetry:
          traces: {endpoint: "http://127.0.0.1:4318", ratio: 0.1, keep: {errors: true, slower_than: 1s}}
        ```
    """

    signal = "traces"

    ratio: Share = 1.0
    """Share of exchanges to sample, from 0 to 1, where the client does not say whether to."""
    parent: Literal["follow", "ignore"] = "follow"
    """Whether the client decides, by the flag `sampled` of its `traceparent`. `ignore` is for clients that you do not
    trust with that: the trace goes on, and the gateway alone decides."""
    routes: dict[str, Share] = {}
    """`ratio` of single routes, by their names."""
    keep: Switch[Keep] = None
    """Which exchanges to send although they were not sampled. Off by default."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[TracesFields]) -> None: ...


class ExportedMetrics(Export):
    """The metrics of the admin API's `/metrics`, as sums, gauges and histograms. A text is short for `endpoint`."""

    signal = "metrics"

    interval: Annotated[Duration, between(timedelta(seconds=1), timedelta(hours=1))] = timedelta(minutes=1)
    """How often to send them."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ExportedMetricsFields]) -> None: ...


class ExportedLogs(Export):
    """The access log, as log records. What `policies.access_log` writes is sent too, and with `output: otlp` only sent.
    A text is short for `endpoint`.
    """

    signal = "logs"

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ExportedLogsFields]) -> None: ...


class Telemetry(Settings):
    """What is sent to OpenTelemetry collectors. Nothing is by default. A collector that is slow or away slows down no
    request.

    Example:
        ```yaml
        telemetry:
          service_name: shop-gateway
          attributes: {deployment.environment.name: production}
          traces: http://127.0.0.1:4318
          metrics: {endpoint: "http://127.0.0.1:4317", protocol: grpc, interval: 30s}
        ```
    """

    service_name: Annotated[str, Field(min_length=1, max_length=256)] = "pylae"
    """Name of this gateway in what is sent: the attribute `service.name`."""
    attributes: Annotated[dict[str, str], AfterValidator(_attributes)] = {}
    """Further attributes of the gateway, for example `deployment.environment.name`. They replace those that the gateway
    finds out itself, such as `host.name`."""
    traces: Traces | None = None
    """Traces: where a request spends its time."""
    metrics: ExportedMetrics | None = None
    """Metrics, for those who do not collect them from `/metrics`."""
    logs: ExportedLogs | None = None
    """The access log."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[TelemetryFields]) -> None: ...

    @property
    def exports(self) -> dict[str, Export]:
        """What is sent, by the name of its setting."""
        found = {"traces": self.traces, "metrics": self.metrics, "logs": self.logs}
        return {name: export for name, export in found.items() if export is not None}

    def plan(self, texts: Texts, path: tuple[Step, ...], routes: Sequence[str]) -> dict[str, Any]:
        """Returns its part of the plan. `path` is its place in the model, `routes` are the names of all routes."""
        for name in self.traces.routes if self.traces else ():
            if name not in routes:
                near = difflib.get_close_matches(name, routes, 1, 0.6)
                hint = f"did you mean `{near[0]}`?" if near else None
                texts.find((*path, "traces", "routes", name), f"there is no route `{name}`", hint)
        own = {
            name: {
                **export.model_dump(mode="json", exclude={*Export.model_fields}),
                "collector": export.collector(texts, (*path, name)),
            }
            for name, export in self.exports.items()
        }
        if self.traces:
            own["traces"]["keep"] = own["traces"]["keep"] or None
        return {
            "service_name": self.service_name,
            "attributes": self.attributes,
            **{name: own.get(name) for name in ("traces", "metrics", "logs")},
        }

    def weaknesses(self) -> Iterator[Finding]:
        """Yields settings that work but are probably insecure. Paths begin at this setting."""
        for name, export in self.exports.items():
            yield from (finding.below((name,)) for finding in export.weaknesses())
