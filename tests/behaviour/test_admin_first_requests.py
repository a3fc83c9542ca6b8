"""The first requests to the admin APIs of several gateways in one process, at the same moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic import TypeAdapter

from support.admin import Admin
from support.instance import EchoInstance
from support.running import Running, configure


def test_validators_are_built_by_one_thread_at_a_time(echo: EchoInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    building: set[int] = set()
    together: list[int] = []
    built = TypeAdapter.__init__

    def noted(self: TypeAdapter[Any], *given: Any, **options: Any) -> None:
        # Pydantic may need another one for this one.
        outermost = threading.get_ident() not in building
        building.add(threading.get_ident())
        together.append(len(building))
        try:
            built(self, *given, **options)
        finally:
            if outermost:
                building.discard(threading.get_ident())

    with ExitStack() as stack:
        apis = [
            stack.enter_context(Admin(Running(configure({"admin": "127.0.0.1:0"}, all=echo)))) for _number in range(4)
        ]
        monkeypatch.setattr(TypeAdapter, "__init__", noted)
        ready = threading.Barrier(len(apis))

        def ask(api: Admin) -> int:
            ready.wait()
            return api.http.get("/maintenance").status_code

        with ThreadPoolExecutor(len(apis)) as threads:
            assert list(threads.map(ask, apis)) == [200] * len(apis)
    assert set(together) == {1}
