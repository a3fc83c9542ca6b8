"""The ordinary OpenTelemetry API inside hooks.

While a hook runs for an exchange whose spans are sent, the span of its call is the current one. If the program has set
no tracer provider of its own, the one here is set: spans that hooks make are sent with those of their exchange. Without
the distribution `opentelemetry-api` nothing happens.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from random import getrandbits
from typing import Any

from pylae.engine import Request, record_span

enter: Callable[[Request, int, int, int], None] | None = None
"""Makes the span of a hook's call the current one: of a request, with the ids of trace and span, and the flags of the
trace context. None without the OpenTelemetry API."""

MOST = 128
"""Most attributes and events of a span; those beyond are left out."""

MOST_TEXT = 1024
"""Most characters of a text; the rest is cut off. Of those, so many bytes are sent."""

try:
    from opentelemetry import context, trace
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    # As a decorator of an async function too it lasts as long as the function does.
    from opentelemetry.util._decorator import _agnosticcontextmanager
except ImportError:
    pass
else:

    class CurrentHook(trace.NonRecordingSpan):
        """The span of a hook's call, below which the hook can make others. The gateway records it itself."""

        def __init__(self, own: SpanContext, request: Request) -> None:
            super().__init__(own)
            self.request = request

    class OwnSpan(trace.Span):
        """A span that a hook makes."""

        def __init__(self, name: str, parent: CurrentHook | OwnSpan, kind: SpanKind, start: int | None) -> None:
            above = parent.get_span_context()
            self.request: Request = parent.request
            self._parent = above.span_id
            self._own = SpanContext(above.trace_id, getrandbits(64) or 1, False, above.trace_flags, above.trace_state)
            self._name = name
            self._kind = kind
            self._start = start or time.time_ns()
            self._attributes: dict[str, Any] = {}
            self._events: list[tuple[str, int, list[tuple[str, Any]]]] = []
            self._failed = False
            self._ended = False

        def get_span_context(self) -> SpanContext:
            return self._own

        def is_recording(self) -> bool:
            return not self._ended

        def update_name(self, name: str) -> None:
            self._name = name

        def set_attribute(self, key: str, value: Any) -> None:
            if len(self._attributes) < MOST or key in self._attributes:
                self._attributes[key] = value

        def set_attributes(self, attributes: Mapping[str, Any]) -> None:
            for key, value in attributes.items():
                self.set_attribute(key, value)

        def add_event(
            self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None
        ) -> None:
            if len(self._events) < MOST:
                self._events.append((_text(name), timestamp or time.time_ns(), _plain(attributes or {})))

        def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
            """Does nothing: spans of hooks have no links."""

        def set_status(self, status: Status | StatusCode, *_: Any, **__: Any) -> None:
            self._failed = (status.status_code if isinstance(status, Status) else status) is StatusCode.ERROR

        def record_exception(
            self,
            exception: BaseException,
            attributes: Mapping[str, Any] | None = None,
            timestamp: int | None = None,
            *_: Any,
            **__: Any,
        ) -> None:
            # Its end says most.
            text = "".join(traceback.format_exception(exception, limit=8))[-MOST_TEXT:]
            about = {"exception.type": type(exception).__qualname__, "exception.message": str(exception)}
            self.add_event("exception", {**about, "exception.stacktrace": text, **(attributes or {})}, timestamp)

        def end(self, end_time: int | None = None) -> None:
            if self._ended:
                return
            self._ended = True
            ids = (self._own.span_id, self._parent)
            times = (self._start, end_time or time.time_ns())
            what = (self._kind is SpanKind.CLIENT, self._failed)
            record_span(self.request, (_text(self._name), ids, times, what, _plain(self._attributes), self._events))

    class OwnTracer(trace.Tracer):
        """Makes spans below the calls of hooks, and none elsewhere."""

        def start_span(
            self,
            name: str,
            context: Any = None,
            kind: SpanKind = SpanKind.INTERNAL,
            attributes: Mapping[str, Any] | None = None,
            links: Sequence[Any] | None = None,  # noqa: ARG002
            start_time: int | None = None,
            record_exception: bool = True,  # noqa: ARG002
            set_status_on_exception: bool = True,  # noqa: ARG002
        ) -> trace.Span:
            parent = trace.get_current_span(context)
            if not isinstance(parent, (CurrentHook, OwnSpan)):
                return trace.NonRecordingSpan(parent.get_span_context())
            span = OwnSpan(name, parent, kind, start_time)
            span.set_attributes(attributes or {})
            return span

        @_agnosticcontextmanager
        def start_as_current_span(
            self,
            name: str,
            context: Any = None,
            kind: SpanKind = SpanKind.INTERNAL,
            attributes: Mapping[str, Any] | None = None,
            links: Sequence[Any] | None = None,
            start_time: int | None = None,
            record_exception: bool = True,
            set_status_on_exception: bool = True,
            end_on_exit: bool = True,
        ) -> Iterator[trace.Span]:
            span = self.start_span(name, context, kind, attributes, links, start_time)
            with trace.use_span(span, end_on_exit, record_exception, set_status_on_exception):
                yield span

    class OwnTracerProvider(trace.TracerProvider):
        """Gives tracers for hooks."""

        def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
            return OwnTracer()

    def _plain(attributes: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """What can be sent of attributes. Values of other kinds are left out, as OpenTelemetry's SDK does it."""
        values = ((key, _value(value)) for key, value in attributes.items() if key and isinstance(key, str))
        return [(_text(key), value) for key, value in values if value is not None][:MOST]

    def _value(value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return value if -(2**63) <= value < 2**63 else None
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, (list, tuple)):
            items = (_value(one) for one in value[:MOST] if not isinstance(one, (list, tuple)))
            return [item for item in items if item is not None]
        return value if isinstance(value, (bool, float)) else None

    def _text(text: str) -> str:
        # What cannot be encoded, such as half of a surrogate pair, would be an exception in the hook.
        return text[:MOST_TEXT].encode("utf-8", "replace").decode()

    def _enter(request: Request, trace_id: int, span_id: int, flags: int) -> None:
        provide()
        own = SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(flags))
        context.attach(trace.set_span_in_context(CurrentHook(own, request)))

    @cache
    def provide() -> None:
        """Sets the provider, if the program has set none."""
        # As late as can be: the program may set its own until then.
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(OwnTracerProvider())

    enter = _enter
