from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pylae import EngineError, Gateway, RegistryError
from pylae.config.models.instance import Instance
from pylae.registry import changes as module
from pylae.registry.registry import ServiceRegistry
from pylae.testing import RunningGateway

CONFIG = Gateway(services={"all": {"discovery": {"heartbeat": {}}}}).config
A, B = Instance(url="http://192.0.2.1:80"), Instance(url="http://192.0.2.2:80")


class Engine:
    """Takes what is handed over; the first times it cannot."""

    def __init__(self, registry_folder: Path, failures: int) -> None:
        self.failures = failures
        self.given: list[tuple[Instance, ...]] = []
        self.told = threading.Semaphore(0)
        self.registry = ServiceRegistry(registry_folder, registry_folder, self.hand_over)
        self.registry.adopt(self.registry.prepared(CONFIG))

    def hand_over(self) -> None:
        self.given.append(self.registry.instances("all"))
        self.told.release()
        if len(self.given) <= self.failures:
            raise EngineError("the gateway is not running")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(module, "_AGAIN", 0.001)
    monkeypatch.setattr(module, "_SELDOM", 0.001)
    made = Engine(tmp_path, 3)
    yield made
    made.registry.stop()


def test_what_cannot_be_handed_over_is_handed_over_later(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    engine.registry.register("all", A)
    for _ in range(4):
        assert engine.told.acquire(timeout=10)
    assert engine.given[-1] == (A,)
    engine.registry.register("all", B)
    assert engine.told.acquire(timeout=10)
    assert engine.given[-1] == (A, B)
    said = [record for record in caplog.records if "trying again" in record.message]
    assert len(said) == 1, "said once"


def test_it_may_be_stopped_again(engine: Engine) -> None:
    engine.registry.stop()
    engine.registry.stop()


def test_instances_of_every_service_can_be_asked_for(pylae_gateway: Callable[..., RunningGateway]) -> None:
    """Those that are written down too, of a service or of a route that declares its own."""
    running = pylae_gateway(
        {
            "services": {
                "static": {"instances": [A.url, {"url": B.url, "weight": 2}]},
                "beating": {"discovery": {"heartbeat": {}}},
            },
            "routes": [{"path": "/a", "service_url": A.url, "auth_required": False}],
        }
    )
    registry = running.gateway.registry
    assert registry.instances("static") == (A, Instance(url=B.url, weight=2))
    assert registry.instances("192.0.2.1:80") == (A,)
    assert registry.instances("beating") == ()
    registry.register("beating", "http://192.0.2.2")
    assert registry.instances("beating") == (B,)


@pytest.mark.parametrize("what", ["instances", "register", "heartbeat", "remove"])
def test_a_service_that_is_not_there_is_named(pylae_gateway: Callable[..., RunningGateway], what: str) -> None:
    gateway = pylae_gateway({"services": {"users": {"instances": [A.url]}, "mail": {"discovery": {"heartbeat": {}}}}})
    arguments: dict[str, Any] = {"register": [B], "heartbeat": ["192.0.2.2:80"], "remove": ["192.0.2.2:80"]}
    with pytest.raises(
        RegistryError, match=r"there is no service `userz`; there are mail, users; did you mean `users`\?"
    ):
        getattr(gateway.gateway.registry, what)("userz", *arguments.get(what, []))


def test_what_is_registered_is_an_instance(engine: Engine) -> None:
    for wrong in ("192.0.2.1:80", "http://192.0.2.1/x"):
        with pytest.raises(RegistryError, match="URL of an instance"):
            engine.registry.register("all", wrong)
    with pytest.raises(RegistryError, match="found 5"):
        engine.registry.register("all", 5)  # type: ignore[arg-type]
