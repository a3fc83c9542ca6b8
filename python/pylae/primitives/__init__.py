"""The engine's own limiters, breaker, balancers, cache and router, for code that wants them without a gateway.

They are the very code of the data plane, behind a Python face. They open no socket, a `HealthChecker` without a gateway
apart, and read no clock: the clock is handed in, any function that gives nanoseconds. All of them may be used from
several threads.
"""

from __future__ import annotations

from pylae.primitives.authentication import AuthenticationService
from pylae.primitives.balancer import LoadBalancer, Pick
from pylae.primitives.breaker import Attempt, CircuitBreaker
from pylae.primitives.cache import Cache, CacheLookup, CacheResponse
from pylae.primitives.given import Clock
from pylae.primitives.health import HealthChecker
from pylae.primitives.limit import Decision, SlidingWindow, TokenBucket
from pylae.primitives.rate_limiter import RateLimiter, SlidingWindowRateLimiter
from pylae.primitives.router import Found, Router

__all__ = [
    "Attempt",
    "AuthenticationService",
    "Cache",
    "CacheLookup",
    "CacheResponse",
    "CircuitBreaker",
    "Clock",
    "Decision",
    "Found",
    "HealthChecker",
    "LoadBalancer",
    "Pick",
    "RateLimiter",
    "Router",
    "SlidingWindow",
    "SlidingWindowRateLimiter",
    "TokenBucket",
]
