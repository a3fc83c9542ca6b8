"""The engine's own limiters, breaker, balancers, cache and router, for code that wants them without a gateway.

They are the very code of the data plane, behind a Python face. They open no socket and read no clock: the clock is
handed in, any function that gives nanoseconds. All of them may be used from several threads.
"""

from __future__ import annotations

from pylae.primitives.balancer import LoadBalancer, Pick
from pylae.primitives.breaker import Attempt, CircuitBreaker
from pylae.primitives.cache import Cache, CacheLookup, CacheResponse
from pylae.primitives.given import Clock
from pylae.primitives.limit import Decision, SlidingWindow, TokenBucket
from pylae.primitives.router import Found, Router

__all__ = [
    "Attempt",
    "Cache",
    "CacheLookup",
    "CacheResponse",
    "CircuitBreaker",
    "Clock",
    "Decision",
    "Found",
    "LoadBalancer",
    "Pick",
    "Router",
    "SlidingWindow",
    "TokenBucket",
]
