"""Gateways with hooks, in this process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pylae import Gateway, Route, engine
from pylae.hooks import Request
from support.exchanges import DEADLINE


def hooked(url: str, **settings: Any) -> Gateway:
    """A gateway with the routes `orders` (/orders/{id}) and `others` to the service `shop` at this address."""
    gateway = Gateway(**{"listeners": ["127.0.0.1:0"], "workers": 1, **settings})
    common = {"service": "shop", "service_url": url, "auth_required": False}
    gateway.add_route(Route(name="orders", path="/orders/{id}", **common))
    gateway.add_route(Route(name="others", prefix="/", **common))
    return gateway


@contextmanager
def running(gateway: Gateway) -> Iterator[str]:
    """Runs it and gives its address. When it has stopped, Python holds no request any more."""
    (address,) = gateway.start()
    try:
        yield address
    finally:
        gateway.stop(drain=False)
        until(_holds_no_request)


def _holds_no_request() -> bool:
    if engine.live_requests():
        gc.collect()
    return engine.live_requests() == 0


def until(condition: Callable[[], Any]) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.005)


def calls(gateway: Gateway, route: str = "others") -> dict[str, dict[str, Any]]:
    """What the engine knows of the calls of each hook of a route, by the function's name."""
    figures = gateway.stats()["hooks"]["calls"]
    return {one["hook"].rpartition(".")[2]: one for one in figures if one["route"] == route}


def sleepy(_request: Request) -> None:
    """A hook that keeps a worker for some milliseconds. A configuration names it."""
    time.sleep(0.005)
