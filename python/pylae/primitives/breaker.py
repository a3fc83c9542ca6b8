"""Circuit breaker: stops asking what would fail anyway, and finds out with a few probes when it would not."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar, Unpack, cast, overload

from pylae.config.models import service
from pylae.engine import NativeCircuitBreaker, NativePermit
from pylae.errors import CircuitBreakerOpenError
from pylae.primitives.given import Clock, compiling, now, settings_of

if TYPE_CHECKING:
    from pylae.settings.fields import CircuitBreakerFields

__all__ = ["Attempt", "CircuitBreaker"]

P = ParamSpec("P")
T = TypeVar("T")


class CircuitBreaker:
    """Lets attempts through until too many of them fail, then none for a while, then a few (M. Nygard, *Release It!*).

    Its keywords are those of `circuit_breaker` in a service: `failure_threshold` (5), `timeout` ("60s"),
    `half_open_requests` (1), `failure_rate`, `window`, `minimum_requests`, `failure_statuses`. Raises ConfigError for a
    wrong one. `service_name` is for messages.

        breaker = CircuitBreaker(failure_threshold=3, timeout="30s")
        with breaker.attempt() as attempt:
            response = client.get("/orders")
            attempt.status(response.status_code)
    """

    def __init__(
        self,
        *,
        service_name: str = "",
        clock: Clock = time.monotonic_ns,
        **settings: Unpack[CircuitBreakerFields],
    ) -> None:
        rules = settings_of(service.CircuitBreaker, settings)
        with compiling():
            self._native = NativeCircuitBreaker(rules.model_dump_json())
        self._clock = clock
        self._name = f"the circuit breaker of {service_name}" if service_name else "the circuit breaker"

    def attempt(self) -> Attempt:
        """The right to one attempt. Raises CircuitBreakerOpenError, an UnavailableError, while nothing may pass."""
        permit, wait = self._native.admit(now(self._clock))
        if permit is None:
            raise CircuitBreakerOpenError(f"{self._name} is open", wait / 1e9)
        return Attempt(self._native, permit, self._clock)

    @overload
    async def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `function` gives, called with these arguments and awaited if it is async, as one attempt.

        An exception of it is a failure and passes on; whatever it gives is a success. Raises CircuitBreakerOpenError
        while nothing may pass, without calling it.
        """
        with self.attempt():
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """`closed` lets everything pass, `open` nothing, `half_open` a few probes.

        After `timeout` it stays `open` until the first probe is asked for.
        """
        return cast("Literal['closed', 'open', 'half_open']", self._native.position(now(self._clock))[0])

    @property
    def open_for(self) -> float:
        """Seconds for which it still lets nothing pass."""
        return self._native.position(now(self._clock))[1] / 1e9


class Attempt:
    """One attempt that a breaker has let through. What is said first about it counts, and nothing after that.

    As a context: an exception is a failure, and the end without one a success, unless the block says otherwise.
    What is no `Exception`, such as a cancelled task or Ctrl-C, says nothing about the other side, and neither does an
    attempt that is dropped.
    """

    def __init__(self, breaker: NativeCircuitBreaker, permit: NativePermit, clock: Clock) -> None:
        self._breaker, self._permit, self._clock = breaker, permit, clock

    def succeed(self) -> None:
        """It went well."""
        self._permit.report(now(self._clock), ok=True)

    def fail(self) -> None:
        """It failed."""
        self._permit.report(now(self._clock), ok=False)

    def status(self, status: int) -> None:
        """An answer came; whether that is a failure is settled by `failure_statuses`."""
        self._permit.report(now(self._clock), ok=not self._breaker.is_failure(status))

    def release(self) -> None:
        """It ended without saying anything about the other side."""
        self._permit.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.succeed()
        elif issubclass(kind, Exception):
            self.fail()
        else:
            self.release()
