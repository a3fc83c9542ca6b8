"""Circuit breaker: stops requests that would fail anyway, and tests later whether they succeed again."""

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
    """Lets attempts through until too many fail, then none for a while, then a few as a test (M. Nygard, *Release
    It!*).

    The keywords are the settings of `circuit_breaker` in a service: `failure_threshold` (5), `timeout` ("60s"),
    `half_open_requests` (1), `failure_rate`, `window`, `minimum_requests`, `failure_statuses`. `service_name` is for
    messages. Raises ConfigError for a wrong setting.

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
        """Returns a permit for one attempt. Raises CircuitBreakerOpenError, an UnavailableError, if the breaker lets
        none through.
        """
        permit, wait = self._native.admit(now(self._clock))
        if permit is None:
            raise CircuitBreakerOpenError(f"{self._name} is open", wait / 1e9)
        return Attempt(self._native, permit, self._clock)

    @overload
    async def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Calls `function` with these arguments as one attempt, and awaits it if it is async. Returns its result.

        An exception counts as a failure and is raised again; any result counts as a success. Raises
        CircuitBreakerOpenError without a call if the breaker lets no attempt through.
        """
        with self.attempt():
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """`closed` lets all attempts through, `open` none, `half_open` a few as a test.

        After `timeout` it stays `open` until the next attempt is asked for.
        """
        return cast("Literal['closed', 'open', 'half_open']", self._native.position(now(self._clock))[0])

    @property
    def open_for(self) -> float:
        """Seconds until it lets an attempt through again."""
        return self._native.position(now(self._clock))[1] / 1e9


class Attempt:
    """An attempt that a breaker has let through. Only the first report counts.

    In a `with` block, an exception is a failure and a normal end is a success, unless the block reports something else.
    Exceptions that are not an `Exception`, such as a cancelled task or Ctrl-C, do not count, and neither does an
    attempt that is dropped.
    """

    def __init__(self, breaker: NativeCircuitBreaker, permit: NativePermit, clock: Clock) -> None:
        self._breaker, self._permit, self._clock = breaker, permit, clock

    def succeed(self) -> None:
        """Reports a success."""
        self._permit.report(now(self._clock), ok=True)

    def fail(self) -> None:
        """Reports a failure."""
        self._permit.report(now(self._clock), ok=False)

    def status(self, status: int) -> None:
        """Reports the status of a response. `failure_statuses` decides whether it is a failure."""
        self._permit.report(now(self._clock), ok=not self._breaker.is_failure(status))

    def release(self) -> None:
        """Ends the attempt without an outcome."""
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
