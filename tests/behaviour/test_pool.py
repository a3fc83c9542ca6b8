"""Connections to instances that are kept."""

from __future__ import annotations

from collections.abc import Callable

from support.instance import OK, RawInstance
from support.running import Running


def test_as_many_are_kept_as_busy_clients_need(gateway: Callable[..., Running]) -> None:
    """Waves of more requests at once than most gateways keep connections for, which would connect anew each time."""
    with RawInstance() as instance:
        running = gateway({"workers": 1}, one=instance)
        clients = [running.connect() for _ in range(300)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        # Every one is there before the first is answered.
        peers = [instance.accept() for _ in clients]
        for wave in range(3):
            if wave:
                for client in clients:
                    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            for peer in peers:
                peer.read_request()
                peer.send(OK)
            for client in clients:
                assert client.read_answer().body == b"ok"
        assert instance.connections == 300
        for client in clients:
            client.close()
