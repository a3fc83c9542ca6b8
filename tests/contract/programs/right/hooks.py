"""Hooks of every kind, as the guides write them: with types, with some, and with none."""

from collections.abc import AsyncIterator, Awaitable, Callable

from pylae import Gateway, Plugin, Request, Response
from pylae.hooks import BlockingCallNext, CallNext, Event, User, middleware, on_request, on_response

gateway = Gateway()
gateway.add_route(name="orders", prefix="/orders", service_url="http://127.0.0.1:9001", auth_required=False)


@gateway.on_request
def plain(request: Request) -> Response | None:
    return Response("who?", status_code=400) if "X-Tenant" not in request.headers else None


@gateway.on_request(routes=["orders"], timeout="100ms", on_error="skip", body="64KB", budget=None)
async def suspended(request: Request) -> Response | None:
    request.user = User("7", role="admin", permissions=["orders:write"])
    request.state["tenant"] = request.query_params.get("tenant", "none") + (request.url.hostname or "")
    return Response.json({"error": await request.json()}, status=409) if request.cookies.get("seen") else None


@gateway.on_request(routes="orders")
def silent(request: Request) -> None:
    request.headers["X-Seen"] = "yes"


@gateway.authenticator("session", key=["header:X-Token", "cookie:sid"], cache="1m", timeout="100ms")
async def session(request: Request) -> User | None:
    return User(request.cookies["sid"]) if "sid" in request.cookies else None


@gateway.authenticator("login", paths="/login", body=True, blocking=True, challenge="Bearer", forward_credentials=True)
def login(request: Request) -> User | Response | None:
    certificate = request.client_certificate
    return User(certificate.common_name) if certificate else Response("log in", status_code=401)


@gateway.on_response
def brand(request: Request, response: Response) -> None:
    response.headers["X-Served-By"] = "pylae"
    response.status_code = 200


@gateway.on_response(blocking=True)
def other(request: Request, response: Response) -> Response:
    return Response(b"{}", 200, {"X-Other": "1"}, "application/json")


@gateway.on_response_body
async def upper(request: Request, response: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield chunk.upper()


@gateway.on_response_events(routes=["orders"])
async def public(request: Request, response: Response, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    async for event in events:
        if event.event != "internal":
            yield event


@gateway.middleware
async def around(request: Request, call_next: CallNext) -> Response:
    response = await call_next(request)
    response.headers["X-Around"] = "1"
    return response


@gateway.middleware(routes="orders", timeout=1)
def blocking(request: Request, call_next: BlockingCallNext) -> Response:
    return call_next(request)


async def starlette(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    return await call_next(request)


def alone(request: Request) -> Response | None:
    if request.method == "TRACK":
        return Response("no", status=405) if request.query else Response(body=b"", status_code=405)
    return Response(body="as before", status=200) if request.method == "TRACE" else None


class Checker:
    """An object that can be called."""

    def __call__(self, request: Request) -> None: ...


gateway.add_middleware(starlette)
gateway.add_middleware(alone, routes=["orders"], waits=False)
gateway.on_request(Checker())
gateway.on_request(timeout=2)(silent)


@on_request(timeout="1s")
def marked(request: Request) -> None: ...


class Audit(Plugin):
    """A plugin with marked methods."""

    @on_response(on_error="skip")
    def note(self, request: Request, response: Response) -> None: ...

    @middleware
    async def wrap(self, request: Request, call_next: CallNext) -> Response:
        return await call_next(request)

    def on_request(self, request: Request) -> None: ...
