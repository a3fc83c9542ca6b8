"""Clients that keep a gateway busy and take note of every request that is not answered as it should be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from support.peer import Message, Peer, wait_until

GET = b"GET /x HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


class Traffic:
    """Clients, each a thread, that send requests until `stop`.

    Every client keeps its connection for `per_connection` requests and then makes another one.
    """

    def __init__(
        self,
        address: str,
        clients: int = 8,
        per_connection: int = 50,
        check: Callable[[Message], bool] = lambda answer: answer.status == 200,
    ) -> None:
        self._address, self._per_connection, self._check = address, per_connection, check
        self.answered = 0
        """Requests answered as they should be."""
        self.failures: list[str] = []
        """What went wrong with the others."""
        self.refused = 0
        """Clients that ended because no connection could be made."""
        self._ended = False
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for(len(self._threads))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_for(self, more: int) -> None:
        """Waits until `more` further requests were answered, or one failed."""
        until = self.answered + more
        wait_until(lambda: self.answered >= until or bool(self.failures))

    def stop(self) -> None:
        """Lets the clients finish what they have begun, and ends them."""
        self._ended = True
        self.join()

    def join(self) -> None:
        """Waits for clients that end by themselves because no connection can be made any more."""
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._ended:
            try:
                client = Peer.connect(self._address)
            except OSError:
                self.refused += 1
                return
            with client:
                if not self._talk(client):
                    return

    def _talk(self, client: Peer) -> bool:
        for number in range(self._per_connection):
            if self._ended:
                return True
            try:
                client.send(GET)
                answer = client.read_answer()
            except (OSError, AssertionError) as error:
                with self._lock:
                    self.failures.append(f"request {number} of a connection: {error!r}")
                return False
            with self._lock:
                if self._check(answer):
                    self.answered += 1
                else:
                    self.failures.append(f"{answer.start} {answer.body[:200]!r}")
            if answer.one("connection") == "close":
                return True
        return True
