"""Hooks that a configuration names, so that hook hosts find them, and gateways that run them in hosts or themselves."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from pylae import Gateway, HookError, HTTPError, Request, Response, Route
from pylae.hooks import Event, User

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")
calls = 0
log = logging.getLogger("shop.hooks")


def hosted(url: str, processes: int, *use: dict[str, Any] | str, **settings: Any) -> Gateway:
    """A gateway with the routes `orders` (/orders/{id}) and `others`, whose request hooks are functions of this module.

    `use` are their names, or settings of hooks in which `@` stands for this module.
    """
    hooks: dict[str, Any] = {"processes": processes, **settings.pop("hooks", {})}
    hooks["use"] = [_named({"on_request": f"@{one}"} if isinstance(one, str) else one) for one in use]
    gateway = Gateway(**{"listeners": ["127.0.0.1:0"], "workers": 1, "hooks": hooks, **settings})
    common = {"service": "shop", "service_url": url, "auth_required": False}
    gateway.add_route(Route(name="orders", path="/orders/{id}", **common))
    gateway.add_route(Route(name="others", prefix="/", **common))
    return gateway


def _named(one: dict[str, Any]) -> dict[str, Any]:
    kinds = ("on_request", "on_response", "on_response_body", "on_response_events", "middleware")
    return {key: value.replace("@", f"{__name__}:") if key in kinds else value for key, value in one.items()}


def look(request: Request) -> Response:
    """Answers with what it sees."""
    user, state = request.user, dict(request.state)
    return Response.json(
        {
            "method": request.method,
            "path": request.path,
            "raw_path": request.get("raw_path"),
            "query": request.query,
            "params": request.params,
            "query_params": list(request.query_params.multi_items()),
            "cookies": request.cookies,
            "url": str(request.url),
            "accept": request.headers.get("accept"),
            "tags": request.headers.get_all("x-tag"),
            "names": request.headers.keys(),
            "client_ip": request.client_ip,
            "id": request.id,
            "route": request.route,
            "user": user and [user.id, user.email, user.role, list(user.permissions), user.claims, user.via],
            "service": request.service,
            "state": state,
            "colour": colour.get(),
            "keys": [key for key in request if key != "timestamp"],
        }
    )


def change(request: Request) -> None:
    """Changes all that can be changed."""
    request.headers["X-Tenant"] = "blue"
    request.headers.append("X-Many", "1")
    request.headers.append("X-Many", "2")
    del request.headers["Accept"]
    request.path = "/v2/other"
    request.query = "page=2"
    request.state["seen"] = ["change"]
    request["response_headers"] = {"X-Every": ["1", "2"]}
    request.user = User("u1", "u1@example.org", "admin", ["read"], {"team": 7})
    colour.set("blue")


async def wait(request: Request) -> None:
    """Waits on the loop."""
    await asyncio.sleep(0.001)
    request.state.setdefault("seen", []).append("wait")


def block(request: Request) -> None:
    """Blocks a thread of the pool."""
    time.sleep(0.001)
    request.state.setdefault("seen", []).append("block")


def brand(request: Request, response: Response) -> None:
    """Changes a response."""
    response.headers["X-Seen"] = json.dumps([request.state.get("seen"), colour.get(), request.path])
    response.headers["X-Was"] = f"{response.status} {response.headers.get('content-type')}"
    if response.status == 418:
        response.status = 419


async def around(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response | None:
    """Runs around an exchange."""
    if "X-Refuse" in request.headers:
        raise HTTPError(403, "not today", {"X-Why": "because"})
    if "X-Answer" in request.headers:
        return Response("mine", 201, {"X-Mine": "1"})
    request.state["around"] = "in"
    response = await call_next(request)
    response.headers["X-Around"] = f"{request.state['around']} {response.status}"
    return None


def around_blocking(request: Request, call_next: Callable[[Request], Response]) -> Response:
    """The same on a thread."""
    response = call_next(request)
    response.headers["X-Around"] = f"blocking {response.status}"
    return response


async def echo(request: Request) -> Response:
    """Answers with the body."""
    return Response(await request.body())


def shout(_: Request, response: Response) -> None:
    """Replaces a whole body."""
    response.body = response.body.upper()


async def upper(request: Request, response: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Changes a body as it passes."""
    async for chunk in chunks:
        yield chunk.upper()
    yield f"[{response.status} {request.state.get('seen')}]".encode()


async def broken(_request: Request, _response: Response, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Fails in the middle of a body."""
    async for chunk in chunks:
        yield chunk
        raise ValueError("enough")


async def numbered(_request: Request, _response: Response, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """Numbers events."""
    number = 0
    async for event in events:
        number += 1
        yield Event(event.data, id=str(number))


def fail(_: Request) -> None:
    """Fails."""
    raise ValueError("secret of the hook")


def fail_slowly(request: Request) -> None:
    """Fails, and it takes a while until that is logged."""

    def slowly(_: logging.LogRecord) -> bool:
        time.sleep(0.3)
        return True

    logging.getLogger("pylae.hooks").addFilter(slowly)
    fail(request)


def mistake(_: Request) -> Any:
    """Returns what is no answer."""
    return {"error": "no"}


async def linger(request: Request) -> None:
    """Waits too long, if it is asked to."""
    if "X-Linger" in request.headers:
        await asyncio.sleep(60)


def spin(request: Request) -> None:
    """Never returns, if it is asked to."""
    while "X-Spin" in request.headers:
        pass


def hold(request: Request) -> None:
    """Keeps the interpreter's lock, if it is asked to."""
    if "X-Hold" in request.headers:
        ctypes.PyDLL(None).sleep(60)


def choose(request: Request) -> None:
    """Chooses another service."""
    request.service = "other"


def route_early(request: Request) -> None:
    """Sets what is routed."""
    assert request.route is None
    request.path = f"/orders{request.path}"
    request.headers["Host"] = "other.test"
    request.state["early"] = True


def mark_early(request: Request, response: Response) -> None:
    """Sees every answer."""
    response.headers["X-Early"] = f"{response.status} {request.route} {request.state.get('early')}"


def explained(response: Response, request: Request) -> None:
    """Looks at the bodies of errors."""
    if response["status"] >= 400 and "body" in response:
        response["body"] = {"was": response["body"], "path": request["path"]}


def settle(request: Request, _: Response) -> None:
    """Tells the true cost."""
    request.settle(41)


kept: list[Request] = []


def keep(request: Request) -> None:
    """Uses the request of another exchange."""
    if "X-Forget" in request.headers:
        kept.clear()
        return
    kept.append(request)
    if len(kept) > 1:
        try:
            request.headers["X-Kept"] = kept[0].path
        except HookError as error:
            request.headers["X-Kept"] = str(error)


def count(_: Request) -> Response:
    """Answers with its process, and how often it was called there."""
    global calls
    calls += 1
    return Response.json({"process": os.getpid(), "calls": calls})


def tell(_: Request) -> None:
    """Writes a line of the log."""
    log.warning("a hook says %s", "hello")


def grow(_: Request) -> None:
    """Takes memory and keeps it."""
    kept.append(bytearray(64 * 1024 * 1024))  # type: ignore[arg-type]


def scribble(request: Request) -> None:
    """Writes all over the memory that the host shares with the gateway, if it is asked to."""
    if "X-Scribble" in request.headers:
        for line in Path("/proc/self/maps").read_text().splitlines():
            if "pylae-hooks" in line:
                start, end = (int(number, 16) for number in line.split()[0].split("-"))
                ctypes.memset(start, int(request.headers["X-Scribble"]), end - start)


async def pause(request: Request) -> None:
    """Waits until the file exists that is named."""
    name = request.headers.get("X-Until")
    # What it waits for happens in another process.
    while name is not None and not Path(name).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.005)
