"""Types of the fixtures, to annotate the arguments of tests with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pylae.testing.gateway import Configuration, Instances, RunningGateway
from pylae.testing.service import Answer, FakeService

__all__ = ["StartGateway", "StartService"]


class StartGateway(Protocol):
    """The fixture `pylae_gateway`."""

    def __call__(
        self, configuration: Configuration = "", services: Mapping[str, Instances] | None = None, **named: Instances
    ) -> RunningGateway: ...


class StartService(Protocol):
    """The fixture `pylae_service`."""

    def __call__(self, answer: Answer = None) -> FakeService: ...
