"""Tests your routes, policies and hooks with pytest against the real data plane, on a free port.

`pip install pylae[testing]` installs pytest and the fixtures `pylae_gateway`, `pylae_service` and `pylae_clock`:

    def test_orders(pylae_gateway, pylae_service):
        orders = pylae_service({"id": 7})
        gateway = pylae_gateway("gateway.yaml", orders=orders)
        assert gateway.get("/api/orders/7", user="42").json() == {"id": 7}
        assert orders.requests[0].headers["X-User-ID"] == "42"

Everything here also works without pytest.
"""

from __future__ import annotations

from pylae.testing.application import ApplicationService
from pylae.testing.client import Client, RequestOptions, Response, StreamedResponse
from pylae.testing.clock import FakeClock
from pylae.testing.gateway import RunningGateway, StartedGateway
from pylae.testing.headers import Headers
from pylae.testing.service import FakeService, Received, Reply
from pylae.testing.starting import StartGateway, StartService
from pylae.testing.tokens import SECRET, make_token

__all__ = [
    "SECRET",
    "ApplicationService",
    "Client",
    "FakeClock",
    "FakeService",
    "Headers",
    "Received",
    "Reply",
    "RequestOptions",
    "Response",
    "RunningGateway",
    "StartGateway",
    "StartService",
    "StartedGateway",
    "StreamedResponse",
    "make_token",
]
