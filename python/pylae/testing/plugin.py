"""Fixtures for pytest, which finds them by the entry point `pytest11`. Nothing is imported before a fixture is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pylae.testing import FakeClock, FakeService, RunningGateway, StartGateway, StartService
    from pylae.testing.gateway import Configuration, Instances


@pytest.fixture
def pylae_gateway() -> Iterator[StartGateway]:
    """Starts gateways: `pylae_gateway("gateway.yaml", orders=service)`. See `pylae.testing.gateway.prepared`.

    The first argument is an optional configuration; the others are services by name. Use a mapping `services=` for
    names that are not Python names.
    """
    from pylae.testing import RunningGateway

    started: list[RunningGateway] = []

    def start(
        configuration: Configuration = "", services: Mapping[str, Instances] | None = None, **named: Instances
    ) -> RunningGateway:
        started.append(RunningGateway(configuration, {**(services or {}), **named}))
        return started[-1]

    yield start
    for gateway in reversed(started):
        gateway.stop()


@pytest.fixture
def pylae_service() -> Iterator[StartService]:
    """Starts services: `pylae_service({"id": 7})`, or `pylae_service(app)` with an ASGI application such as FastAPI's.

    See `pylae.testing.FakeService` and `ApplicationService`.
    """
    from pylae.testing import FakeService

    started: list[FakeService] = []

    def start(answer: Any = None) -> FakeService:
        started.append(_application(answer) or FakeService(answer))
        return started[-1]

    yield start
    for service in started:
        service.stop()


def _application(answer: Any) -> FakeService | None:
    """Returns a service for an ASGI application; None for other answers."""
    if not callable(answer):
        return None
    from pylae.config.models.application import why_not_asgi

    if why_not_asgi(answer) is not None:
        # A function of the request.
        return None
    from pylae.testing.application import ApplicationService

    return ApplicationService(answer)


@pytest.fixture
def pylae_clock() -> FakeClock:
    """A clock that stands still until a test moves it, for the primitives of `pylae`."""
    from pylae.testing import FakeClock

    return FakeClock()
