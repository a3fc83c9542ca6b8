from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylae import EngineError, Gateway
from pylae.config.service import Instance
from pylae.registry import ServiceRegistry
from pylae.registry import registry as module

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
    said = [record for record in caplog.records if "tried again" in record.message]
    assert len(said) == 1, "said once"


def test_it_may_be_stopped_again(engine: Engine) -> None:
    engine.registry.stop()
    engine.registry.stop()
