"""What tests of hooks share."""

from __future__ import annotations

import pytest

from pylae import Gateway
from pylae.testing import FakeService
from support.hooked import hooked


@pytest.fixture
def gateway(service: FakeService) -> Gateway:
    """Not started: the test adds its hooks first."""
    return hooked(service.url)
