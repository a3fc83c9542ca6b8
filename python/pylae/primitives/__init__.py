"""The engine's own limiters, breaker, balancers, cache and router, for use without a gateway.

They are the code of the data plane with a Python interface. Only a `HealthChecker` without a gateway and a
`CounterStore` open sockets. They read no clock: the caller provides one, as any function that returns nanoseconds;
limits in a store follow the clock of the store. All of them are thread-safe.
"""

from __future__ import annotations

from pylae.primitives.authentication import AuthenticationService
from pylae.primitives.balancer import LoadBalancer, Pick
from pylae.primitives.breaker import Attempt, CircuitBreaker
from pylae.primitives.cache import Cache, CacheLookup, CacheResponse
from pylae.primitives.decision import Decision, Reservation
from pylae.primitives.given import Clock
from pylae.primitives.health import HealthChecker
from pylae.primitives.limit import SlidingWindow, TokenBucket
from pylae.primitives.rate_limiter import RateLimiter, SlidingWindowRateLimiter
from pylae.primitives.router import Found, Router
from pylae.primitives.store import CounterStore

__all__ = [
    "Attempt",
    "AuthenticationService",
    "Cache",
    "CacheLookup",
    "CacheResponse",
    "CircuitBreaker",
    "Clock",
    "CounterStore",
    "Decision",
    "Found",
    "HealthChecker",
    "LoadBalancer",
    "Pick",
    "RateLimiter",
    "Reservation",
    "Router",
    "SlidingWindow",
    "SlidingWindowRateLimiter",
    "TokenBucket",
]
