"""What stores on servers are told if something is wrong: what, where, and what to do. And TLS, users, several servers,
and several processes."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from pylae.errors import StoreError, StoreUnavailableError
from pylae.settings import StoreSettings
from pylae.store import sql
from pylae.store.engines import connected
from pylae.store.etcd_client import encoded
from pylae.store.sql import MIGRATIONS, SqlStore
from pylae.store.store import Event, Store
from support.peer import wait_until
from support.programs import run_python
from support.stores import Engine, Etcd, Postgresql

pytestmark = pytest.mark.long


SHOP = {"permType": "READWRITE", "key": encoded(b"/shop/"), "range_end": encoded(b"/shop0")}
"""The right to all keys that begin with `/shop/`, as etcd has it."""


SLOW = """
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("select pg_sleep(1)")
"""


def _store(settings: StoreSettings, folder: Path = Path()) -> Store:
    return connected(settings, folder, folder)


def _refused(settings: StoreSettings, kind: type[StoreError] = StoreError) -> tuple[str, str]:
    """What a store says that cannot be used, and its hint."""
    with _store(settings) as store, pytest.raises(kind) as caught:
        store.migrate()
    return str(caught.value), caught.value.hint or ""


def test_who_is_not_let_in_by_postgresql(postgresql: Postgresql) -> None:
    message, hint = _refused(postgresql.settings(password="wrong"))
    assert "password authentication failed" in message
    assert (hint, "wrong" in message) == ("are `user` and `password` right?", False)
    url = postgresql.settings().url.replace("/gateways/", "/none/")
    message, hint = _refused(postgresql.settings(url=url))
    assert ('"none" does not exist' in message, "create the database" in hint) == (True, True)


def test_who_may_not_make_a_schema(postgresql: Postgresql) -> None:
    with postgresql.connect() as connection:
        connection.execute("create user stranger password 'stranger'")
    settings = postgresql.settings(user="stranger", password="stranger")
    message, hint = _refused(settings)
    assert ("permission denied" in message, "grant create on database" in hint) == (True, True)
    with _store(settings) as store, pytest.raises(StoreError, match="has no schema"):
        store.check()


def test_a_server_of_postgresql_without_tls(postgresql: Postgresql) -> None:
    url = postgresql.settings().url.replace("postgresql://", "postgresql+tls://")
    message, _ = _refused(postgresql.settings(url=url), StoreUnavailableError)
    assert "server does not support SSL" in message


def test_a_server_that_is_a_replica(postgresql: Postgresql) -> None:
    settings = postgresql.settings()
    with _store(settings) as store:
        store.migrate()
    with postgresql.connect() as connection:
        connection.execute("alter database gateways set default_transaction_read_only = on")
    try:
        message, _ = _refused(settings, StoreUnavailableError)
        assert "read-only" in message or "not read-write" in message
    finally:
        with postgresql.connect() as connection:
            connection.execute("alter database gateways reset default_transaction_read_only")


def test_a_lock_that_somebody_has_is_waited_for_no_longer_than_the_time_out(postgresql: Postgresql) -> None:
    settings = postgresql.settings(timeout="300ms")
    with _store(settings) as store, postgresql.connect("gateways") as other:
        store.migrate()
        store.put("a", b"")
        other.execute("begin")
        other.execute(f"select * from {settings.url.rpartition('/')[2]}.head for update")
        with pytest.raises(StoreUnavailableError, match="timeout"):
            store.put("a", b"")
        assert store.get("a")
        other.execute("rollback")
        assert store.put("a", b"")


def test_a_migration_may_take_longer_than_the_time_out(
    postgresql: Postgresql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = postgresql.settings(timeout="200ms")
    shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "migrations/versions/0002_slow.py").write_text(SLOW)
    with _store(settings) as store:
        store.migrate()
        store.put("a", b"1")
        monkeypatch.setattr(sql, "MIGRATIONS", tmp_path / "migrations")
        monkeypatch.setattr(SqlStore, "newest", "0002")
        assert store.migrate().before == "0001"
        store.check()
        assert store.put("a", b"2")


def test_psycopg_is_not_there() -> None:
    source = (
        "import sys; sys.modules['psycopg'] = None; from pylae.cli import main;"
        "main(['store', 'check', '--store', 'postgresql://127.0.0.1:1/a'])"
    )
    done = run_python(source)
    assert done.returncode == 3
    assert "PostgreSQL needs psycopg" in done.stderr
    assert "hint: pip install 'pylae[postgresql]'" in done.stderr


class _NoEtcd(BaseHTTPRequestHandler):
    answer: tuple[int, bytes]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _serving(status: int, body: bytes) -> Iterator[int]:
    handler = type("Handler", (_NoEtcd,), {"answer": (status, body)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>", "does not answer as a server of etcd does"),
        (200, b"[]", "does not answer as a server of etcd does"),
        (200, b'{"kvs": 1}', "is not that of a server of etcd"),
        (200, b'{"header": {"revision": "1"}, "kvs": [{"key": "?", "value": "?"}]}', "is not that of a server of etcd"),
        (200, b"[" * 100_000, "does not answer as a server of etcd does"),
        (404, b"404 page not found", "has no JSON gateway"),
        (500, b"oops", "does not answer as a server of etcd does"),
        (503, b'{"code": 14, "message": "etcdserver: no leader"}', "no leader"),
        (200, b'{"a": "' + b"x" * 26_000_000 + b'"}', "too long"),
    ],
)
def test_a_server_that_is_no_etcd(status: int, body: bytes, message: str) -> None:
    with _serving(status, body) as port, _store(StoreSettings(url=f"etcd://127.0.0.1:{port}")) as store:
        for call in (store.schema, lambda: store.range(""), lambda: store.get("a")):
            with pytest.raises(StoreError):
                call()
        with pytest.raises(StoreError, match=message):
            store.schema()


CREATED = b'{"result": {"header": {"revision": "9"}, "created": true}}\n'
EVENT = b'{"result": {"header": {"revision": "9"}, "events": [{"kv": {"key": "%s", "mod_revision": "8"}}]}}\n'
EVENT %= encoded(b"/pylae/keys/a").encode()


def _chunked(data: bytes, *sizes: int) -> bytes:
    """Chunks of these sizes, and one with the rest."""
    done = b""
    for size in (*sizes, len(data)):
        if piece := data[:size]:
            done += b"%x\r\n%s\r\n" % (len(piece), piece)
        data = data[size:]
    return done


@contextmanager
def _streaming(pieces: list[bytes]) -> Iterator[StoreSettings]:
    """A server that answers a watch with pieces of bytes, and then ends the connection."""
    told = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    def serve() -> None:
        connection, _ = listener.accept()
        # Who does not understand the answer hangs up.
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            for piece in [told, *pieces]:
                connection.sendall(piece)
            # Closed with a part of the request unread, it would be reset.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield StoreSettings(url=f"etcd://127.0.0.1:{listener.getsockname()[1]}", timeout="5s")
        thread.join()


@pytest.mark.parametrize("sizes", [(), (1, 2, 3), (len(CREATED),), (len(CREATED) + 10, 1)])
@pytest.mark.parametrize("by_byte", [False, True])
def test_an_answer_in_pieces(sizes: tuple[int, ...], by_byte: bool) -> None:
    data = _chunked(CREATED + EVENT, *sizes)
    pieces = [data[at : at + 1] for at in range(len(data))] if by_byte else [data]
    with _streaming(pieces) as settings, _store(settings) as store, store.watch("", 7) as watch:
        assert watch.wait(10) == [Event("a", b"", 8)]
        assert watch.after == 8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_chunked(CREATED), "has ended its answer"),
        (_chunked(CREATED) + b"0\r\n\r\n", "has ended its answer"),
        (_chunked(CREATED) + b"zz\r\n", "does not answer as one of etcd"),
        (_chunked(CREATED) + b"-1\r\n", "does not answer as one of etcd"),
        (_chunked(CREATED) + b"1" * 100, "does not answer as one of etcd"),
        (_chunked(CREATED + b"[]\n"), "does not answer as one of etcd"),
        (_chunked(CREATED + b"no\n"), "does not answer as one of etcd"),
        (_chunked(CREATED + b'{"result": 1}\n'), "is not that of a server of etcd"),
        (_chunked(CREATED + b'{"result": {"events": [{"kv": {"key": "?"}}]}}\n'), "is not that of a server of etcd"),
        (_chunked(CREATED + b'{"error": {"grpc_code": 14, "message": "no leader"}}\n'), "no leader"),
        (_chunked(CREATED + b'{"result": {"canceled": true, "cancel_reason": "why"}}\n'), "ends the watch: why"),
        (_chunked(CREATED + b"x" * 30_000_000), "is too long"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_an_answer_that_breaks_off_or_is_none(data: bytes, message: str) -> None:
    with _streaming([data]) as settings, _store(settings) as store, store.watch("", 7) as watch:
        with pytest.raises(StoreUnavailableError, match=message):
            while True:
                assert watch.wait(10) == []
        assert watch.after == 7


def test_etcd_with_users_and_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pair = authority.issue_cert("127.0.0.1")
    pair.private_key_pem.write_to_path(tmp_path / "key.pem")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    with Etcd() as server:
        for path, body in (
            ("role/add", {"name": "gateways"}),
            (
                "role/grant",
                {"name": "gateways", "perm": SHOP},
            ),
            ("user/add", {"name": "gateway", "password": "word"}),
            ("user/grant", {"user": "gateway", "role": "gateways"}),
            ("user/add", {"name": "root", "password": "word"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("enable", {}),
        ):
            server.ask(f"/v3/auth/{path}", body)
        server.kill()
        server.secure(tmp_path / "cert.pem", tmp_path / "key.pem")
        assert server.start()
        url = f"etcd+tls://127.0.0.1:{server.port}/shop"
        known = {"user": "gateway", "password": "word", "tls": {"ca": "ca.pem"}}
        with _store(StoreSettings(url=url, **known), tmp_path) as store:
            store.migrate()
            store.check()
            with store.watch("", store.range("").revision) as watch:
                store.put("a", b"1")
                assert [one.key for one in watch.wait(10)] == ["a"]
            # Its token is forgotten, and nobody notices.
            server.kill()
            assert server.start()
            found = _patient(lambda: store.get("a"))
            assert found.value == b"1"
        for settings, message, hint in (
            (StoreSettings(url=url, **{**known, "password": "wrong"}), "authentication failed", "are `user`"),
            (StoreSettings(url=url, tls={"ca": "ca.pem"}), "user name is empty", "are `user`"),
            (StoreSettings(url=f"{url}_2", **known), "permission denied", "grant the user a role"),
            (StoreSettings(url=url, user="gateway", password="word"), "cannot prove who it is", "does the server run"),
            (StoreSettings(url=url, **{**known, "tls": {"ca": "none.pem"}}), "cannot be used", "none.pem"),
            (StoreSettings(url=url.replace("+tls", "")), "cannot be reached|does not answer", "does the server run"),
        ):
            with _store(settings, tmp_path) as store, pytest.raises(StoreError, match=message) as caught:
                store.check()
            assert hint in (caught.value.hint or "")
            assert "wrong" not in str(caught.value)


def test_postgresql_with_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pair = authority.issue_cert("127.0.0.1")
    with Postgresql() as server:
        server.kill()
        server.secure(pair.cert_chain_pems[0].bytes(), pair.private_key_pem.bytes())
        assert server.start()
        url = server.settings("shop").url.replace("postgresql://", "postgresql+tls://")
        with _store(server.settings(url=url, tls={"ca": "ca.pem"}), tmp_path) as store:
            store.migrate()
            revision = store.put("a", b"1")
            assert revision
            with store.watch("", revision) as watch:
                store.put("a", b"2")
                assert [one.value for one in watch.wait(10)] == [b"2"]
        with _store(server.settings(url=url, tls={"verify": False}), tmp_path) as store:
            store.check()
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        for tls in ({"ca": "other.pem"}, {}):
            with (
                _store(server.settings(url=url, tls=tls), tmp_path) as store,
                pytest.raises(StoreError, match="certif"),
            ):
                store.check()


def test_another_server_is_asked_if_the_first_is_gone(etcd: Etcd) -> None:
    name = etcd.new_name()
    with _store(StoreSettings(url=f"etcd://127.0.0.1:1,127.0.0.1:{etcd.port}/{name}")) as store:
        store.migrate()
        revision = store.put("a", b"1")
        assert revision
        with store.watch("", revision) as watch:
            store.put("a", b"2")
            assert [one.value for one in watch.wait(10)] == [b"2"]


ADD = """
import sys
from pathlib import Path

from pylae.settings import StoreSettings
from pylae.store.engines import connected
from pylae.store.store import Put

settings, folder = StoreSettings.model_validate_json(sys.argv[1]), Path(sys.argv[2])
with connected(settings, folder, folder) as store:
    store.migrate()
    for _ in range(20):
        while True:
            hold = store.hold("turn", sys.argv[3].encode(), 20)
            if hold is None:
                with store.watch("", store.range("").revision) as watch:
                    watch.wait(0.05)
                continue
            found = store.get("count")
            number = int(found.value) + 1 if found else 1
            changes = [Put("count", str(number).encode()), Put(f"turns/{number}", sys.argv[3].encode())]
            done = store.txn([hold.compare], changes)
            store.revoke(hold.lease)
            if done:
                break
"""


def test_processes_take_turns(engine: Engine) -> None:
    """Each adds to a count, without a condition, while it holds a key."""
    password = engine.settings.password
    said = engine.settings.model_dump_json(include={"url", "user"})
    if password:
        said = said[:-1] + f', "password": "{password.get_secret_value()}"' + "}"
    with engine.connect() as store:
        store.migrate()
        begin = store.range("").revision
        command = [sys.executable, "-c", ADD, said, str(engine.folder)]
        processes = [subprocess.Popen([*command, str(number)]) for number in range(3)]
        seen = []
        with store.watch("turns/", begin) as watch:
            while len(seen) < 60:
                events = watch.wait(30)
                assert events
                seen += events
        assert [process.wait(30) for process in processes] == [0, 0, 0]
        assert [one.key for one in seen] == [f"turns/{number}" for number in range(1, 61)]
        assert sorted(one.value or b"" for one in seen) == [b"0"] * 20 + [b"1"] * 20 + [b"2"] * 20
        assert store.get("turn") is None


def _patient(call: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def answers() -> bool:
        try:
            found.append(call())
        except StoreUnavailableError:
            return False
        return True

    wait_until(answers)
    return found[-1]
