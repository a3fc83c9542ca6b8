"""Protocols of hooks for type checkers: the parameters and results of each kind.

A function fits by its signature; it need not inherit from these. Each kind may be `def` or `async def`, except for
those that process bodies, which are async generators.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any, Protocol, TypeAlias, TypeVar

from pylae.engine import Request, Response, User
from pylae.hooks.events import Event

Answer: TypeAlias = Response | Request | None
"""The result of a hook: a Response to answer the request, or None (or the request itself) to continue."""
Identity: TypeAlias = User | Response | None
"""The result of an authenticator's function."""
Piece: TypeAlias = bytes | bytearray | memoryview | str
"""What an async generator yields for a body."""


class RequestHook(Protocol):
    """`(request)`: runs before a request is forwarded."""

    def __call__(self, request: Request, /) -> Answer | Awaitable[Answer]: ...


class ResponseHook(Protocol):
    """`(request, response)`: runs before a response is sent."""

    def __call__(self, request: Request, response: Response, /) -> Answer | Awaitable[Answer]: ...


class IdentityFunction(Protocol):
    """`(request)`: identifies the user. Returns None if there is none, or a Response to answer the request."""

    def __call__(self, request: Request, /) -> Identity | Awaitable[Identity]: ...


class TransformHook(Protocol):
    """`(response, request)`: a response hook with the response first, recognised by the names of its parameters."""

    def __call__(self, response: Response, request: Request) -> Answer | Awaitable[Answer]: ...


class BodyHook(Protocol):
    """`(request, response, chunks)`: an async generator function that processes a response body in pieces."""

    def __call__(
        self, request: Request, response: Response, chunks: AsyncIterator[bytes], /
    ) -> AsyncIterator[Piece]: ...


class EventHook(Protocol):
    """`(request, response, events)`: an async generator function that processes server-sent events."""

    def __call__(
        self, request: Request, response: Response, events: AsyncIterator[Event], /
    ) -> AsyncIterator[Event | Piece]: ...


class CallNext(Protocol):
    """Awaited by an async middleware to continue the request."""

    def __call__(self, request: Request, /) -> Awaitable[Response]: ...


class BlockingCallNext(Protocol):
    """Called by a middleware that is not async. It blocks the middleware's thread until the response is there."""

    def __call__(self, request: Request, /) -> Response: ...


class AroundHook(Protocol):
    """`async (request, call_next)`: runs around an exchange."""

    def __call__(self, request: Request, call_next: CallNext, /) -> Awaitable[Answer]: ...


class BlockingAroundHook(Protocol):
    """`(request, call_next)`, not async: runs around an exchange and occupies a thread meanwhile."""

    def __call__(self, request: Request, call_next: BlockingCallNext, /) -> Answer: ...


Middleware: TypeAlias = RequestHook | AroundHook | BlockingAroundHook | TransformHook
"""The functions that `add_middleware` accepts."""


class RequestMethod(Protocol):
    """A `RequestHook` as a method of a plugin, in its class definition."""

    def __call__(self, plugin: Any, request: Request, /) -> Answer | Awaitable[Answer]: ...


class ResponseMethod(Protocol):
    """A `ResponseHook` as a method of a plugin."""

    def __call__(self, plugin: Any, request: Request, response: Response, /) -> Answer | Awaitable[Answer]: ...


class TransformMethod(Protocol):
    """A `TransformHook` as a method of a plugin."""

    def __call__(self, plugin: Any, response: Response, request: Request) -> Answer | Awaitable[Answer]: ...


class BodyMethod(Protocol):
    """A `BodyHook` as a method of a plugin."""

    def __call__(
        self, plugin: Any, request: Request, response: Response, chunks: AsyncIterator[bytes], /
    ) -> AsyncIterator[Piece]: ...


class EventMethod(Protocol):
    """An `EventHook` as a method of a plugin."""

    def __call__(
        self, plugin: Any, request: Request, response: Response, events: AsyncIterator[Event], /
    ) -> AsyncIterator[Event | Piece]: ...


class AroundMethod(Protocol):
    """An `AroundHook` as a method of a plugin."""

    def __call__(self, plugin: Any, request: Request, call_next: CallNext, /) -> Awaitable[Answer]: ...


class BlockingAroundMethod(Protocol):
    """A `BlockingAroundHook` as a method of a plugin."""

    def __call__(self, plugin: Any, request: Request, call_next: BlockingCallNext, /) -> Answer: ...


OnRequest = TypeVar("OnRequest", bound=RequestHook)
OnResponse = TypeVar("OnResponse", bound=ResponseHook | TransformHook)
OnBody = TypeVar("OnBody", bound=BodyHook)
OnEvents = TypeVar("OnEvents", bound=EventHook)
Around = TypeVar("Around", bound=Middleware)
Authenticating = TypeVar("Authenticating", bound=IdentityFunction)

MarkedRequest = TypeVar("MarkedRequest", bound=RequestHook | RequestMethod)
MarkedResponse = TypeVar("MarkedResponse", bound=ResponseHook | ResponseMethod | TransformHook | TransformMethod)
MarkedBody = TypeVar("MarkedBody", bound=BodyHook | BodyMethod)
MarkedEvents = TypeVar("MarkedEvents", bound=EventHook | EventMethod)
MarkedAround = TypeVar("MarkedAround", bound=Middleware | RequestMethod | AroundMethod | BlockingAroundMethod)
