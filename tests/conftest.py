"""What all tests share: the switch that rewrites golden files, running gateways and instances."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from pylae.testing import FakeService
from support.admin import Admin
from support.exchanges import nobody
from support.instance import OK, EchoInstance, RawInstance
from support.oidc_provider import OidcProvider
from support.running import Configuration, Instances, Process, Running, configure

# Gateways of tests have no admin API unless they ask for one; it would be the same address for all.
os.environ["PYLAE_ADMIN"] = "off"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected files with what came out")


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end. Whoever collects garbage need not look at them, which takes 0.25 s."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed (`PYLAE_TEST_REQUIRE_ALL`, set in CI) a skipped test has failed."""
    report = yield
    if report.skipped and os.environ.get("PYLAE_TEST_REQUIRE_ALL"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped where nothing may be: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What gateways keep over restarts is not kept in the home of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compares a text with a file, or writes the file if `--update-golden` is given."""

    def compare(file: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), f"{file} differs; --update-golden rewrites it"

    return compare


@pytest.fixture
def gateway() -> Iterator[Callable[..., Running]]:
    """Starts gateways in this process: `gateway("limits: {max_body: 10}", users=instance)`. See `configure`."""
    started: list[Running] = []

    def start(configuration: Configuration = "", **instances: Instances) -> Running:
        started.append(Running(configure(configuration, **instances)))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def gateway_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Process]]:
    """Starts `pylae run` as processes of their own; arguments as for `gateway`."""
    started: list[Process] = []

    def start(configuration: Configuration = "", **instances: Instances) -> Process:
        started.append(Process(configure(configuration, **instances), tmp_path_factory.mktemp("gateway")))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def admin(gateway: Callable[..., Running], tmp_path: Path) -> Callable[..., Admin]:
    """Starts a gateway with an admin API, as `gateway` does, and gives a client of it."""

    def start(configuration: Configuration = "", **instances: Instances) -> Admin:
        config = configure(configuration, **instances)
        return Admin(gateway({"admin": "127.0.0.1:0", "state": str(tmp_path / "state"), **config}))

    return start


@pytest.fixture
def instance() -> Iterator[RawInstance]:
    """An instance that answers every request with 200 and `ok`, and keeps what it got."""
    with RawInstance(OK) as instance:
        yield instance


@pytest.fixture
def echo() -> Iterator[EchoInstance]:
    """An instance that answers with a description of the request."""
    with EchoInstance() as instance:
        yield instance


@pytest.fixture
def service() -> Iterator[FakeService]:
    """A service that says hello until the test says otherwise."""
    with FakeService() as running:
        yield running


@pytest.fixture
def dead_url() -> Iterator[str]:
    """An address that refuses connections."""
    with nobody() as url:
        yield url


@pytest.fixture(scope="session")
def running_oidc_provider() -> Iterator[OidcProvider]:
    """A provider that a process of the tests starts once; what a test has made of it is there for the next one."""
    with OidcProvider() as provider:
        yield provider


@pytest.fixture
def oidc_provider(running_oidc_provider: OidcProvider) -> OidcProvider:
    """A real OpenID provider without clients yet: `oidc_provider.register(running.url)`."""
    running_oidc_provider.reset()
    return running_oidc_provider
