"""What tests of the dashboard share: gateways to look at, and people who look."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.admin import Admin
from support.dashboard import Dashboard, Reader, chromium, reading
from support.running import FromFile

Look = Callable[..., Reader]


@pytest.fixture
def look() -> Iterator[Look]:
    """Starts a dashboard for gateways, and has somebody log in: `look(api, token=…, path="/nodes")`.

    The token is that of the first gateway unless it is given. Instances and gateways have to be there before: where
    Playwright runs, no other loop of asyncio can begin.
    """
    with contextlib.ExitStack() as stack:
        browsers: list[Any] = []

        def start(*gateways: Admin, token: str | None = None, path: str = "/", **options: Any) -> Reader:
            dashboard = stack.enter_context(Dashboard(*(api.address for api in gateways)))
            if not browsers:
                browsers.append(stack.enter_context(chromium()))
            reader = stack.enter_context(reading(browsers[0], dashboard.url, **options))
            reader.log_in(token or gateways[0].token, path)
            return reader

        yield start


@pytest.fixture
def admin(admin: Callable[..., Admin]) -> Iterator[Callable[..., Admin]]:
    """As elsewhere, but what it gives is closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda *config, **instances: stack.enter_context(admin(*config, **instances))


@pytest.fixture
def from_file(tmp_path: Path) -> Iterator[Callable[[str], Admin]]:
    """Starts a gateway with a file of its own: `from_file(text)`."""
    with contextlib.ExitStack() as stack:

        def start(text: str) -> Admin:
            file = tmp_path / "pylae.yaml"
            file.write_text(text, encoding="utf-8")
            running = FromFile(file)
            stack.callback(running.stop)
            return stack.enter_context(Admin(running))

        yield start
