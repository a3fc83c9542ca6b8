from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pylae.testing import Reply

FILE = Path(__file__).parent / "pylae.yaml"


@pytest.fixture
def database(tmp_path, monkeypatch):
    monkeypatch.setenv("REQUEST_LOG", str(tmp_path / "log.sqlite"))
    return tmp_path / "log.sqlite"


def rows(database, columns):
    connection = sqlite3.connect(database)
    try:
        return connection.execute(f"SELECT {columns} FROM exchange ORDER BY at").fetchall()
    finally:
        connection.close()


def test_exchanges_are_written(pylae_gateway, pylae_service, database):
    shop = pylae_service().in_turn(Reply(), Reply(404))
    gateway = pylae_gateway(FILE, shop=shop)
    gateway.get("/a?token=secret", headers={"X-Request-ID": "r1"})
    gateway.post("/b", headers={"X-Request-ID": "r2"})
    assert rows(database, "id, client, user, route, method, path, status") == [
        ("r1", "127.0.0.1", None, "shop", "GET", "/a", 200),
        ("r2", "127.0.0.1", None, "shop", "POST", "/b", 404),
    ]
    assert all(0 <= seconds < 10 for (seconds,) in rows(database, "seconds"))


def test_a_log_that_fails_stops_nobody(pylae_gateway, pylae_service, database):
    gateway = pylae_gateway(FILE, shop=pylae_service())
    connection = sqlite3.connect(database)
    connection.execute("DROP TABLE exchange")
    connection.close()
    assert gateway.get("/").status == 200


def test_it_goes_on_after_a_restart(pylae_gateway, pylae_service, database):
    for _ in range(2):
        gateway = pylae_gateway(FILE, shop=pylae_service())
        gateway.get("/")
        gateway.stop()
    assert len(rows(database, "id")) == 2
