"""The shapes of hooks, for type checkers: what a function must take and give to be one of each kind.

A function fits by its parameters and what it returns; nothing has to be derived from these. Each kind may be `def` or
`async def`, except those that see bodies pass, which are async generators.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any, Protocol, TypeAlias, TypeVar

from pylae.engine import Request, Response, User
from pylae.hooks.events import Event

Answer: TypeAlias = Response | Request | None
"""What a hook returns: a Response, which is then the answer, or None (or the request itself) to go on."""
Identity: TypeAlias = User | Response | None
"""What the function of an authenticator returns."""
Piece: TypeAlias = bytes | bytearray | memoryview | str
"""What an async generator yields of a body."""


class RequestHook(Protocol):
    """`(request)`: sees a request before it is forwarded."""

    def __call__(self, request: Request, /) -> Answer | Awaitable[Answer]: ...


class ResponseHook(Protocol):
    """`(request, response)`: sees a response before it is sent."""

    def __call__(self, request: Request, response: Response, /) -> Answer | Awaitable[Answer]: ...


class IdentityFunction(Protocol):
    """`(request)`: says who the client is. None stands for nobody, and a Response is the answer."""

    def __call__(self, request: Request, /) -> Identity | Awaitable[Identity]: ...


class TransformHook(Protocol):
    """`(response, request)`: the same with the response first, known by the names of its parameters."""

    def __call__(self, response: Response, request: Request) -> Answer | Awaitable[Answer]: ...


class BodyHook(Protocol):
    """`(request, response, chunks)`: an async generator function that the body of a response passes."""

    def __call__(
        self, request: Request, response: Response, chunks: AsyncIterator[bytes], /
    ) -> AsyncIterator[Piece]: ...


class EventHook(Protocol):
    """`(request, response, events)`: an async generator function that server-sent events pass."""

    def __call__(
        self, request: Request, response: Response, events: AsyncIterator[Event], /
    ) -> AsyncIterator[Event | Piece]: ...


class CallNext(Protocol):
    """What an async middleware awaits to have the request go on."""

    def __call__(self, request: Request, /) -> Awaitable[Response]: ...


class BlockingCallNext(Protocol):
    """The same for a middleware that is not async: it waits, on a thread."""

    def __call__(self, request: Request, /) -> Response: ...


class AroundHook(Protocol):
    """`async (request, call_next)`: stands around an exchange."""

    def __call__(self, request: Request, call_next: CallNext, /) -> Awaitable[Answer]: ...


class BlockingAroundHook(Protocol):
    """`(request, call_next)`, not async: the same on a thread that it keeps meanwhile."""

    def __call__(self, request: Request, call_next: BlockingCallNext, /) -> Answer: ...


Middleware: TypeAlias = RequestHook | AroundHook | BlockingAroundHook | TransformHook
"""What `add_middleware` takes."""


class RequestMethod(Protocol):
    """A `RequestHook` as a method of a plugin, where its class is made."""

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
