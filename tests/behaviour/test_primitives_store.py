"""Limits that processes of Python share, over a real store."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from pylae.primitives import CounterStore, RateLimiter, SlidingWindow, SlidingWindowRateLimiter, TokenBucket
from support.pages.blocks import ROOT, blocks
from support.peer import raw, wait_until
from support.programs import run_python
from support.relay import Relay
from support.valkey import Valkey
from support.valkeys import Group, Sentinels, StoreCluster

PROCESSES = 4
PATIENT = {"timeout": "2s"}
"""On a machine that is busy with other tests an answer may take longer than the default."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


@pytest.fixture
def opened(server: Valkey) -> Iterator[Callable[..., CounterStore]]:
    """Opens stores: each is a node, as if it were in a process of its own."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            CounterStore(settings.pop("url", server.url), **{"name": "test", **PATIENT, **settings})
        )


PROGRAM = """
import asyncio, json, random, sys, threading
from pylae.primitives import *

store = CounterStore(sys.argv[1], name="test", timeout="2s")

def take(limiter, count):
    admitted = []
    def run():
        admitted.append(sum(bool(limiter.take()) for _ in range(count)))
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return sum(admitted)

async def spend(limiter, count):
    async def one():
        reserved = await limiter.reserve_async(20)
        if not reserved:
            return 0
        await asyncio.sleep(random.uniform(0, 0.01))
        cost = random.randrange(21)
        reserved.settle(cost)
        return cost
    return sum(await asyncio.gather(*(one() for _ in range(count))))

for line in sys.stdin:
    command, *given = json.loads(line)
    if command == "nodes":
        found = store.nodes
    elif command == "limit":
        limiter, found = globals()[given[0]](1000, "365d", store=store, name=given[1], mode=given[2]), 0
    elif command == "take":
        found = take(limiter, *given)
    else:
        found = asyncio.run(spend(limiter, *given))
    print(found, flush=True)
"""


class Programs:
    """Processes that share the limits of a store."""

    def __init__(self, server: Valkey) -> None:
        command = [sys.executable, "-c", PROGRAM, server.url]
        pipe = subprocess.PIPE
        self._processes = [
            subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) for _ in range(PROCESSES)
        ]

    def ask(self, *command: object) -> int:
        """Tells all of them something, and adds their answers."""
        for process in self._processes:
            assert process.stdin
            process.stdin.write(json.dumps(command) + "\n")
        return sum(int(process.stdout.readline()) for process in self._processes if process.stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin
            process.stdin.close()
        for process in self._processes:
            assert process.stdout
            process.stdout.close()
            process.wait()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    with Valkey(tmp_path_factory.mktemp("store")) as server, Programs(server) as programs:
        # Until then each has the whole margin and share.
        wait_until(lambda: programs.ask("nodes") == PROCESSES * PROCESSES)
        yield programs


@pytest.mark.parametrize("kind", ["TokenBucket", "SlidingWindow"])
def test_processes_admit_an_exact_limit_and_not_one_more(programs: Programs, kind: str) -> None:
    programs.ask("limit", kind, "exact", "exact")
    admitted = programs.ask("take", 200)
    assert admitted <= 1000

    def more() -> int:
        nonlocal admitted
        admitted += programs.ask("take", 10)
        return admitted

    # What a process has leased and does not use comes back.
    wait_until(lambda: more() >= 1000)
    assert [more() for _ in range(3)] == [1000, 1000, 1000]


def test_processes_exceed_a_fast_limit_by_little(programs: Programs) -> None:
    programs.ask("limit", "TokenBucket", "fast", "fast")
    margin = 100
    assert 1000 <= programs.ask("take", 200) <= 1000 + margin + PROCESSES


def test_a_budget_is_never_overrun(programs: Programs) -> None:
    programs.ask("limit", "TokenBucket", "budget", "exact")
    spent = programs.ask("spend", 50)
    assert spent <= 1000

    def more() -> int:
        nonlocal spent
        spent += programs.ask("spend", 5)
        return spent

    # What was estimated too high comes back. The last estimates do not fit any more.
    wait_until(lambda: more() > 1000 - 20)
    assert spent <= 1000


def until(limiter: TokenBucket, admitted: bool) -> None:
    """Waits until the limiter decides so."""
    wait_until(lambda: limiter.take().admitted is admitted)


def test_without_the_store_a_process_has_its_share(server: Valkey, opened: Callable[..., CounterStore]) -> None:
    stores = [opened(timeout="200ms") for _ in range(2)]
    for store in stores:
        wait_until(lambda store=store: store.nodes == 2)  # type: ignore[misc]
    limiters = [TokenBucket(100, "365d", store=store, name="all", mode="exact") for store in stores]
    assert all(limiter.take() for limiter in limiters)
    server.freeze()
    admitted = [2, *(sum(bool(limiter.take()) for _ in range(100)) for limiter in limiters)]
    assert not any(store.available for store in stores)
    assert 90 <= sum(admitted) <= 100
    server.thaw()
    wait_until(lambda: all(store.available for store in stores))
    # What was admitted meanwhile is charged, and all is used.
    wait_until(lambda: sum(limiter.take().admitted for limiter in limiters) == 0)
    until(limiters[0], admitted=False)
    assert not limiters[1].take()


@pytest.mark.parametrize("then", ["allow", "deny"])
def test_without_the_store_everything_or_nothing_passes(
    server: Valkey, opened: Callable[..., CounterStore], then: str
) -> None:
    store = opened(timeout="200ms", on_store_error=then)
    limiter = TokenBucket(3, "365d", store=store, name="all", mode="exact")
    assert limiter.take()
    server.freeze()
    assert [bool(limiter.take()) for _ in range(5)] == [then == "allow"] * 5
    assert store.problem
    server.thaw()
    wait_until(lambda: store.available)
    assert store.problem is None
    until(limiter, admitted=then == "deny")
    until(limiter, admitted=False)


def test_a_store_that_is_not_there_is_no_error(
    server: Valkey, opened: Callable[..., CounterStore], caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    with caplog.at_level(logging.WARNING, "pylae"):
        limiter = TokenBucket(3, "365d", store=opened(timeout="200ms"), name="all")
        assert [bool(limiter.take()) for _ in range(4)] == [True, True, True, False]
        wait_until(lambda: "programs/test is not available" in caplog.text)
    assert server.start()
    # What was admitted meanwhile is told.
    other = TokenBucket(3, "365d", store=opened(), name="all")
    wait_until(lambda: other.take(0).remaining == 0 or not other.take(3))


def test_a_password_that_is_wrong_is_said(server: Valkey, opened: Callable[..., CounterStore]) -> None:
    server.ask("CONFIG", "SET", "requirepass", "right")
    assert "authentication failed" in (opened(password="wrong").problem or "")
    assert opened(password="right").available


@pytest.mark.long
@pytest.mark.parametrize("kind", [Sentinels, StoreCluster])
def test_a_primary_that_is_lost_is_no_error(
    kind: type[Group], tmp_path: Path, opened: Callable[..., CounterStore]
) -> None:
    folder = tmp_path / "group"
    folder.mkdir()
    with kind(folder) as group:
        stores = [opened(url=group.url, timeout="200ms") for _ in range(2)]
        for store in stores:
            wait_until(lambda store=store: store.available and store.nodes == 2)  # type: ignore[misc]
        limiters = [RateLimiter(100, store=store, name="all", mode="exact") for store in stores]

        def take(clients: int) -> int:
            names = [f"client {number}" for number in range(clients)]
            return sum(bool(limiter.take(name)) for name in names for limiter in limiters for _ in range(100))

        assert 900 <= take(10) <= 1100
        group.primary().kill()
        wait_until(lambda: take(1) >= 0 and not all(store.available for store in stores))
        wait_until(lambda: take(1) >= 0 and all(store.available for store in stores))
        # A share was admitted meanwhile, and a token comes back every 0.6 s.
        assert take(10) <= 400


def test_names_and_kinds_count_apart(server: Valkey, opened: Callable[..., CounterStore]) -> None:
    store, other = opened(), opened(name="other")
    limits: list[dict[str, Any]] = [
        {"store": store, "name": "a"},
        {"store": store, "name": "b"},
        {"store": other, "name": "a"},
    ]
    for arguments in limits:
        for limiter in (TokenBucket(2, "365d", **arguments), SlidingWindow(2, "365d", **arguments)):
            assert [bool(limiter.take()) for _ in range(3)] == [True, True, False]
        for many in (RateLimiter(2, **arguments), SlidingWindowRateLimiter(2, **arguments)):
            for client in ("x", "y"):
                assert [bool(many.take(client)) for _ in range(3)] == [True, True, False]
    # None of the keys can be one of a gateway, whatever its cluster is called.
    keys = server.ask("KEYS", "*")
    assert isinstance(keys, list)
    assert all(key.startswith((b"pylae:programs/", b"pylae:{programs/")) for key in keys)
    assert len(RateLimiter(2, store=store, name="a")) == 12


def test_the_same_name_is_the_same_limit_also_with_other_figures(opened: Callable[..., CounterStore]) -> None:
    first, second = opened(), opened()
    limits = [SlidingWindowRateLimiter(10, store=store, name="all", mode="exact") for store in (first, second)]
    for place in range(10):
        # What one has leased and does not use comes back.
        wait_until(lambda place=place: limits[place % 2].take("x").admitted)  # type: ignore[misc]
    assert not any(limiter.take("x") for limiter in limits)
    # All of it is used.
    assert not limits[0].take("x", 20)


@pytest.fixture
def slow(server: Valkey) -> Iterator[Relay]:
    with Relay(server.port) as relay:
        yield relay


def test_tasks_that_wait_do_not_block_the_loop(slow: Relay, opened: Callable[..., CounterStore]) -> None:
    # Nothing comes back within a minute.
    limiter = SlidingWindowRateLimiter(
        150, store=opened(url=f"valkey://127.0.0.1:{slow.port}"), name="all", mode="exact"
    )

    async def run() -> tuple[int, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.002)
                ticks += 1

        ticking = asyncio.create_task(tick())
        slow.delay = 0.3
        admitted = sum(await asyncio.gather(*(limiter.is_allowed(f"client {place % 3}") for place in range(600))))
        ticking.cancel()
        return admitted, ticks

    admitted, ticks = asyncio.run(run())
    assert admitted == 450
    assert ticks > 20


def test_a_task_that_is_cancelled_gives_back_what_it_took(slow: Relay, opened: Callable[..., CounterStore]) -> None:
    limiter = TokenBucket(10, "365d", store=opened(url=f"valkey://127.0.0.1:{slow.port}"), name="all")
    other = TokenBucket(10, "365d", store=opened(), name="all")

    async def run() -> None:
        slow.delay = 0.1
        waiting = [asyncio.create_task(limiter.take_async(2)) for _ in range(4)]
        await asyncio.sleep(0)
        for task in waiting[1:]:
            task.cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in found] == [False, True, True, True]

    asyncio.run(run())
    slow.delay = 0
    wait_until(lambda: bool(other.take(8)))
    assert not other.take(1)


def test_a_process_that_is_forked_begins_anew(server: Valkey) -> None:
    source = """
import os, sys, time, warnings
warnings.simplefilter("ignore")
from pylae.primitives import *

store = CounterStore(sys.argv[1], name="test", timeout="2s")
limiter = TokenBucket(10, "365d", store=store, name="all", mode="exact")
reserved = limiter.reserve(2)
assert sum(bool(limiter.take()) for _ in range(3)) == 3
children, (read, write) = [], os.pipe()
for _ in range(2):
    if (child := os.fork()) == 0:
        os.close(write)
        # What its parent has leased and does not use comes back.
        while not limiter.take():
            time.sleep(0.01)
        os.read(read, 1)
        try:
            reserved.settle(1)
        except ValueError as error:
            assert "forked" in str(error)
            sys.exit(7)
        sys.exit(1)
    children.append(child)
while store.nodes != 3:
    time.sleep(0.01)
reserved.settle(1)
# Of the ten, three and two are used, and one of the reserved.
left = 0
while left < 4:
    left += bool(limiter.take())
print(limiter.take().admitted)
os.close(write)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""
    found = run_python(source, server.url)
    assert (found.stdout, found.stderr, found.returncode) == ("False\n[7, 7]\n", "", 0)


def test_a_closed_store_is_used_no_more(opened: Callable[..., CounterStore]) -> None:
    store = opened()
    limiter = TokenBucket(100, "365d", store=store, name="all")
    assert limiter.take()
    store.close()
    store.close()
    with pytest.raises(ValueError, match="the store is closed"):
        limiter.take()
    with pytest.raises(ValueError, match="the store is closed"):
        asyncio.run(limiter.take_async())


def test_a_store_is_told_everything_at_the_end(server: Valkey, opened: Callable[..., CounterStore]) -> None:
    store = opened()
    limiter = TokenBucket(100, "365d", store=store, name="all")
    assert all(limiter.take() for _ in range(5))
    store.close()
    # So is it by a program that just ends.
    source = """
import sys
from pylae.primitives import *

limiter = TokenBucket(100, "365d", store=CounterStore(sys.argv[1], name="test", timeout="2s"), name="all")
print(all(limiter.take() for _ in range(5)))
"""
    assert run_python(source, server.url).stdout == "True\n"
    other = TokenBucket(100, "365d", store=opened(), name="all", mode="exact")
    assert other.take(90)
    assert not other.take()


def orders(listener: socket.socket) -> int:
    """The status of a request to the service, over a connection of its own."""
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    (answer,) = raw(address, b"GET /orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return answer.status


def test_a_service_limits_over_all_its_workers(server: Valkey, tmp_path: Path) -> None:
    """The service of the guide."""
    page = ROOT / "docs" / "guide" / "primitives.md"
    (service,) = (block.text for block in blocks(page) if "import Depends, FastAPI" in block.text)
    program = service.replace("valkey://10.0.0.5:6379", server.url).replace("RateLimiter(100", "RateLimiter(20")
    (tmp_path / "shop.py").write_text(program.replace('name="shop"', 'name="shop", timeout="2s"'))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Both workers accept from the same socket.
        command = [sys.executable, "-m", "uvicorn", "shop:app", "--workers", "2", "--fd", str(listener.fileno())]
        workers = subprocess.Popen(
            [*command, "--no-access-log"],
            cwd=tmp_path,
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        with workers, CounterStore(server.url, name="shop") as store:
            try:
                assert workers.stderr
                for _ in range(2):
                    assert any("startup complete" in line for line in workers.stderr)
                found = Counter(orders(listener) for _ in range(60))
                # Each connection may be taken by either of them.
                wait_until(lambda: orders(listener) == 429 and store.nodes == 3)
            finally:
                workers.terminate()
    # A token comes back every three seconds.
    assert 20 <= found[200] <= 20 + 2 + 2 + 10
    assert found[429] == 60 - found[200]
