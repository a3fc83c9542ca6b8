"""A service, a gateway in front of it that is read from a file, and a client: `pylae.testing` for tests of policies."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pylae import Gateway
from pylae.testing import Client, Response, StartedGateway
from pylae.testing.client import PATIENCE

DEADLINE = PATIENCE
"""Seconds after which a test gives up on a connection."""


@contextlib.contextmanager
def gateway(folder: Path, configuration: str | Mapping[str, Any]) -> Iterator[str]:
    """Runs a gateway with this configuration, on one worker, and gives its address."""
    with running(folder, configuration) as (_, address):
        yield address


@contextlib.contextmanager
def running(folder: Path, configuration: str | Mapping[str, Any]) -> Iterator[tuple[Gateway, str]]:
    """The same, with the gateway itself."""
    read = yaml.safe_load(configuration) if isinstance(configuration, str) else configuration
    file = folder / "pylae.yaml"
    file.write_text(yaml.safe_dump({"listeners": ["127.0.0.1:0"], "workers": 1, **read}))
    one = StartedGateway(Gateway.from_file(file))
    try:
        yield one.gateway, one.address
    finally:
        one.stop()


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """A URL at which connections are refused, and nobody else can listen meanwhile."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


def ask(
    address: str,
    target: str = "/",
    method: str = "GET",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes | Iterator[bytes] | None = None,
) -> Response:
    """One request on a connection of its own. A body that is an iterator is sent chunked."""
    return Client(address).request(method, target, headers=headers, body=body)
