"""An instance that is a process of its own, to be killed."""

from __future__ import annotations

import subprocess
import sys
from typing import Self

_PROGRAM = """
import asyncio, sys

class Instance(asyncio.Protocol):
    buffer = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\\r\\n\\r\\n")) >= 0:
            self.buffer = self.buffer[end + 4:]
            asyncio.get_running_loop().call_later(float(sys.argv[2]), self.answer)

    def answer(self):
        self.transport.write(f"HTTP/1.1 {sys.argv[3]} \\r\\nContent-Length: 2\\r\\n\\r\\nok".encode())

async def main():
    server = await asyncio.get_running_loop().create_server(Instance, "127.0.0.1", int(sys.argv[1]), backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class ProcessInstance:
    """Answers every request without a body with `ok`, until it is killed."""

    def __init__(self, *, delay: float = 0, status: int = 200) -> None:
        """`delay` is how many seconds it takes for an answer."""
        self._port, self._words = 0, (str(delay), str(status))
        self.start()

    def start(self) -> None:
        """Starts it, on the same port if it was started before."""
        command = [sys.executable, "-I", "-c", _PROGRAM, str(self._port), *self._words]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    def kill(self) -> None:
        """Ends it with SIGKILL: whatever it was doing breaks off."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
