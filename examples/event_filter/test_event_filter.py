from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pylae.testing import Reply

FILE = Path(__file__).parent / "pylae.yaml"
EVENTS = [
    b'event: price\nid: 1\ndata: {"value": 10, "internal": "margin 4"}\n\n',
    b"event: audit\nid: 2\ndata: somebody has logged in\n\n",
    b"event: audit\ndata: without an id\n\n",
    b": still here\n\ndata: not JSON\n\n",
]


@pytest.fixture
def feed(pylae_service):
    return pylae_service(lambda _: Reply(headers={"Content-Type": "text/event-stream"}, body=iter(EVENTS)))


def lines(gateway, user):
    return [line for line in gateway.get("/feed", user=user).text.splitlines() if line]


def test_users_see_what_they_may(pylae_gateway, feed):
    gateway = pylae_gateway(FILE, feed=feed)
    assert lines(gateway, "7") == [
        "event: price",
        "id: 1",
        'data: {"value": 10}',
        "id: 2",
        ": still here",
        "data: not JSON",
    ]
    assert "data: somebody has logged in" in lines(gateway, {"id": "1", "role": "admin"})


def test_events_are_not_held_back(pylae_gateway, feed):
    go_on = threading.Event()

    def stream():
        yield EVENTS[0]
        assert go_on.wait(10)
        yield EVENTS[3]

    feed.answer = lambda _: Reply(headers={"Content-Type": "text/event-stream"}, body=stream())
    gateway = pylae_gateway(FILE, feed=feed)
    with gateway.stream("GET", "/feed", user="7") as response:
        arriving = response.lines()
        assert [next(arriving) for _ in range(3)] == ["event: price", "id: 1", 'data: {"value": 10}']
        go_on.set()
        assert "data: not JSON" in list(arriving)


def test_other_responses_pass(pylae_gateway, feed):
    feed.answer = {"internal": "not an event"}
    assert pylae_gateway(FILE, feed=feed).get("/feed", user="7").json() == {"internal": "not an event"}
