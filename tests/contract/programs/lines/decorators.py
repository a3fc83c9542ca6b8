"""Every decorator over what it cannot take, and with an option that it does not have."""

from collections.abc import AsyncIterator

from pylae import Gateway, Plugin, Request, Response
from pylae.hooks import CallNext, Event, middleware, on_request, on_response, on_response_body, on_response_events

Chunks = AsyncIterator[bytes]
gateway = Gateway()


@gateway.on_request  # wrong
async def answers_with_text(request: Request) -> str:
    return ""


@gateway.on_request(routes=5)  # wrong
def for_routes(request: Request) -> None: ...


@gateway.on_response  # wrong
def without_response(request: Request) -> None: ...


@gateway.on_response(timeout=None)  # wrong
def without_limit(request: Request, response: Response) -> None: ...


@gateway.on_response_body  # wrong
async def returns_once(request: Request, response: Response, chunks: Chunks) -> bytes:
    return b""


@gateway.on_response_body(body=True)  # wrong
async def with_option(request: Request, response: Response, chunks: Chunks) -> Chunks:
    async for chunk in chunks:
        yield chunk


@gateway.on_response_events  # wrong
async def takes_chunks(request: Request, response: Response, events: Chunks) -> Chunks:
    async for event in events:
        yield event


@gateway.middleware  # wrong
def with_more(request: Request, call_next: CallNext, more: int) -> Response:
    return Response()


@gateway.authenticator("two")  # wrong
def takes_two(request: Request, other: str) -> None: ...


@gateway.authenticator("slow", caches="1m")  # wrong
def misspelt(request: Request) -> None: ...


@gateway.authenticator()  # wrong
def nameless(request: Request) -> None: ...


def takes_nothing() -> None: ...


gateway.add_middleware(takes_nothing)  # wrong


class Audit(Plugin):
    """Its methods are marked by the decorators of `pylae.hooks`."""

    @on_request  # wrong
    def with_response(self, request: Request, response: Response) -> None: ...

    @on_response(timout=1)  # wrong
    def misspelt(self, request: Request, response: Response) -> None: ...

    @on_response_body(timeout=1)  # wrong
    async def limited(self, request: Request, response: Response, chunks: Chunks) -> Chunks:
        async for chunk in chunks:
            yield chunk

    @on_response_events  # wrong
    async def listed(self, request: Request, response: Response, events: AsyncIterator[Event]) -> list[Event]:
        return []

    @middleware  # wrong
    async def counts(self, request: Request, call_next: CallNext) -> int:
        return 1
