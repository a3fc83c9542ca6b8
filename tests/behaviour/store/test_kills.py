"""Processes and servers are killed, and connections are cut, wherever they are: nothing is half, nothing that was
acknowledged is lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pylae.errors import StoreError, StoreUnavailableError
from pylae.settings import StoreSettings
from pylae.store.engines import connected
from pylae.store.sqlite import FILE
from pylae.store.store import Compare, Event, Put, Store
from support.peer import wait_until
from support.store_writer import KEYS
from support.stores import Cutting, Engine


@contextmanager
def writer(settings: StoreSettings, folder: Path, *cuts: int) -> Iterator[subprocess.Popen[bytes]]:
    """See `support.store_writer`."""
    said = json.dumps(
        {**settings.model_dump(mode="json", exclude={"password", "tls"}), "password": _password(settings)}
    )
    with subprocess.Popen(
        [sys.executable, "-m", "support.store_writer", said, str(folder), *map(str, cuts)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _password(settings: StoreSettings) -> str | None:
    return settings.password.get_secret_value() if settings.password else None


def whole(store: Store) -> int:
    """The number in the store, which is whole: under both keys, at one revision. 0 without any."""
    found = [store.get(key) for key in KEYS]
    assert (found[0] is None) == (found[1] is None)
    if found[0] is None or found[1] is None:
        return 0
    assert (found[0].value, found[0].revision) == (found[1].value, found[1].revision)
    return int(found[0].value)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("tries", [2, pytest.param(20, marks=pytest.mark.long)])
def test_a_process_is_killed_while_it_writes(engine: Engine, tries: int) -> None:
    with engine.connect() as store:
        store.migrate()
        begin = store.range("").revision
        known = 0
        for _ in range(tries):
            with writer(engine.settings, engine.folder) as process:
                assert process.stdout
                for _ in range(random.randrange(1, 30)):
                    known = int(process.stdout.readline())
                process.kill()
                known = int(([str(known).encode(), *process.stdout.read().split()])[-1])
            now = whole(store)
            assert now - known in (0, 1)
        with store.watch("pair/", begin) as watch:
            seen: list[Event] = []
            while events := watch.wait(0.2):
                seen += events
        assert [int(one.value or b"") for one in seen if one.key == KEYS[0]] == list(range(1, now + 1))
        store.check()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", [25_000, pytest.param(1000, marks=pytest.mark.long)])
def test_a_process_is_killed_in_each_write_to_a_file(tmp_path: Path, step: int) -> None:
    """Of the first migration, and of transactions."""
    with writer(StoreSettings(), tmp_path, 10_000_000) as process:
        assert process.stdout
        (free,) = map(json.loads, process.stdout)
    assert not free["killed"]
    longest = 200_000
    cuts = sorted({*range(0, longest, step), *(random.randrange(longest) for _ in range(5))})
    with writer(StoreSettings(), tmp_path, *cuts) as process:
        assert process.stdout
        told = [json.loads(line) for line in process.stdout]
    assert [one["limit"] for one in told] == cuts
    assert sum(one["killed"] for one in told) > len(cuts) / 3
    assert len({len(one["acknowledged"]) for one in told}) > 3
    for one in told:
        with connected(StoreSettings(), tmp_path / str(one["limit"]), tmp_path) as store:
            if not one["acknowledged"]:
                assert store.schema() in (None, store.newest)
                store.migrate()
            store.check()
            assert whole(store) - max(one["acknowledged"], default=0) in (0, 1)
            # And it can be used.
            assert store.put("a", b"")
            store.migrate()
        left = {file.name for file in (tmp_path / str(one["limit"])).iterdir()}
        assert left <= {FILE, f"{FILE}-wal", f"{FILE}-shm"}


def test_a_full_disk_breaks_nothing(tmp_path: Path) -> None:
    """The write fails (a limit again, with the signal ignored), and later ones work once there is room."""
    import resource
    import signal

    with connected(StoreSettings(), tmp_path, tmp_path) as store:
        store.migrate()
        store.txn([], [Put(key, b"1") for key in KEYS])
        assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / f"{FILE}-wal").stat().st_size + 5000, before[1]))
        try:
            with pytest.raises(StoreUnavailableError, match=r"store\.db"):
                for number in range(2, 1000):
                    store.txn([], [Put(key, str(number).encode().ljust(9000)) for key in KEYS])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        whole(store)
        assert store.txn([], [Put(key, b"1000") for key in KEYS])
        assert whole(store) == 1000


def _changes(store: Store, through: Store, number: int) -> bool:
    """Whether a change of all keys is told to be done. `store` sees what there is of it."""
    before = whole(store)
    try:
        done = through.txn([], [Put(key, str(number).encode()) for key in KEYS]) is not None
    except StoreUnavailableError:
        done = False
    # It may have been done although nobody was told. It is never half, and what was told is true.
    assert whole(store) in ({number} if done else {before, number})
    return done


def _cut_everywhere(relay: Cutting, step: int, call: Callable[[], bool]) -> int:
    """Cuts after 0 bytes, `step` bytes, and so on, until a call comes through. Returns how many did not."""
    count = 0
    while True:
        relay.mend()
        relay.left = count * step + random.randrange(step)
        done = call()
        passed = relay.left != 0
        relay.left = None
        relay.mend()
        if passed:
            assert done
            return count
        count += 1


@pytest.mark.timeout(300)
def test_a_connection_is_cut_at_each_step_of_a_transaction(shared: Engine) -> None:
    assert shared.server
    with shared.connect() as store, Cutting(shared.server.port) as relay:
        store.migrate()
        number = 0

        def change() -> bool:
            nonlocal number
            number += 1
            with shared.connect(port=relay.port) as through:
                return _changes(store, through, number)

        assert _cut_everywhere(relay, 40, change) > 10


@pytest.mark.timeout(300)
def test_a_kept_connection_is_cut_at_each_step_of_a_transaction(shared: Engine) -> None:
    assert shared.server
    with shared.connect() as store, Cutting(shared.server.port) as relay, shared.connect(port=relay.port) as through:
        store.migrate()
        number = 0

        def change() -> bool:
            nonlocal number
            left, relay.left = relay.left, None
            through.get("a")
            relay.left = left
            number += 1
            return _changes(store, through, number)

        assert _cut_everywhere(relay, 20, change) > 10


@pytest.mark.timeout(300)
def test_a_connection_is_cut_at_each_step_of_a_migration(shared: Engine) -> None:
    assert shared.server
    with Cutting(shared.server.port) as relay:

        def migrate() -> bool:
            assert shared.server
            name = shared.server.new_name()
            with connected(shared.server.settings(name, relay.port), shared.folder, shared.folder) as through:
                try:
                    through.migrate()
                    done = True
                except StoreUnavailableError:
                    done = False
            with connected(shared.server.settings(name), shared.folder, shared.folder) as store:
                assert store.schema() in ((store.newest,) if done else (None, store.newest))
                store.migrate()
                store.check()
                assert store.put("a", b"", revision=0)
            return done

        assert _cut_everywhere(relay, 250, migrate) > 3


def test_a_watch_is_cut_again_and_again(shared: Engine) -> None:
    """It misses nothing, and has nothing twice."""
    assert shared.server
    with shared.connect() as store, Cutting(shared.server.port) as relay, shared.connect(port=relay.port) as through:
        store.migrate()
        begin = store.range("").revision
        stop = threading.Event()

        def put() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                store.put("a", str(number).encode())

        thread = threading.Thread(target=put)
        thread.start()
        seen: list[Event] = []
        with through.watch("", begin) as watch:
            for _ in range(60):
                relay.mend()
                relay.left = random.randrange(12_000)
                try:
                    for _ in range(10):
                        seen += watch.wait(0.05)
                except StoreUnavailableError:
                    continue
            stop.set()
            thread.join()
            relay.left = None
            relay.mend()
            while True:
                with suppress(StoreUnavailableError):
                    events = watch.wait(0.5)
                    if not events:
                        break
                    seen += events
        last = store.get("a")
        assert last
        assert [int(one.value or b"") for one in seen] == list(range(1, int(last.value) + 1))


def test_a_server_is_killed_and_comes_back(shared: Engine) -> None:
    """What it has acknowledged is there. Who was connected goes on, and watches miss nothing."""
    assert shared.server
    with shared.connect() as store:
        store.migrate()
        begin = store.range("").revision
        acknowledged = [0]
        stop = threading.Event()
        refused: list[StoreError] = []

        def put() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    if store.txn([], [Put(key, str(number).encode()) for key in KEYS]):
                        acknowledged.append(number)
                except StoreUnavailableError as error:
                    refused.append(error)

        thread = threading.Thread(target=put)
        seen: list[Event] = []
        with store.watch("pair/", begin) as watch:
            thread.start()
            for _ in range(3):
                reached = acknowledged[-1] + random.randrange(5, 60)
                wait_until(lambda reached=reached: acknowledged[-1] >= reached)
                shared.server.kill()
                refused.clear()
                wait_until(lambda: bool(refused))
                assert shared.server.start()
                with suppress(StoreUnavailableError):
                    seen += watch.wait(0.1)
            reached = acknowledged[-1] + 20
            wait_until(lambda: acknowledged[-1] >= reached)
            stop.set()
            thread.join()
            while not seen or seen[-1].revision < store.range("").revision:
                with suppress(StoreUnavailableError):
                    seen += watch.wait(1)
        numbers = [int(one.value or b"") for one in seen if one.key == KEYS[0]]
        assert numbers == sorted(set(numbers))
        assert set(acknowledged[1:]) <= set(numbers)
        assert whole(store) == numbers[-1]


def test_a_server_hangs(shared: Engine) -> None:
    """Each call ends, and says so. Once the server goes on, so does everybody."""
    assert shared.server
    with shared.connect(timeout="300ms") as store:
        store.migrate()
        revision = store.put("a", b"1")
        assert revision
        with store.watch("", revision) as watch:
            assert watch.wait(0.01) == []
            shared.server.freeze()
            try:
                for call in (
                    lambda: store.get("a"),
                    lambda: store.put("a", b"2", revision=revision),
                    lambda: store.range(""),
                    lambda: store.grant(5),
                    store.schema,
                ):
                    with pytest.raises(StoreUnavailableError):
                        call()
                with suppress(StoreUnavailableError):
                    assert watch.wait(0.3) == []
            finally:
                shared.server.thaw()

            def answers() -> bool:
                with suppress(StoreUnavailableError):
                    return store.get("a") is not None
                return False

            wait_until(answers)
            # What was sent may have been done meanwhile.
            found = store.get("a")
            assert found
            assert store.put("a", b"3", revision=found.revision)
            events: list[Event] = []
            while not events or events[-1].value != b"3":
                with suppress(StoreUnavailableError):
                    events += watch.wait(5)
            assert [one.value for one in events] in ([b"3"], [b"2", b"3"])


def test_a_server_that_is_gone_costs_no_more_than_the_time_out(shared: Engine) -> None:
    with Cutting(1) as nobody:
        nobody.cut()
        with shared.connect(port=nobody.port, timeout="300ms") as store:
            for call in (store.schema, lambda: store.get("a"), lambda: store.txn([Compare("a", 0)], []), store.migrate):
                with pytest.raises(StoreUnavailableError, match=r"the store (postgresql|etcd)://127"):
                    call()
