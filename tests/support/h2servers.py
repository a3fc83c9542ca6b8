"""Instances that speak HTTP/2: one that a test drives frame by frame, hypercorn, and a gRPC server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
import h2.config
import h2.connection
import h2.events
import h2.exceptions

from support.servers import application

Handler = Callable[["H2Connection", int, dict[str, str]], None]
"""Told of a request whose head has come: connection, stream, fields."""


class H2Connection:
    """One connection of an `H2Instance`."""

    def __init__(self, peer: socket.socket, instance: H2Instance) -> None:
        self.peer = peer
        self.instance = instance
        config = h2.config.H2Configuration(
            client_side=False,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.lock = threading.Lock()
        """Is held while the handler runs. Other threads that answer must hold it."""
        self.bodies: dict[int, bytes] = {}
        self.events: list[h2.events.Event] = []

    def answer(self, stream: int, body: bytes = b"ok", *, status: int = 200, end: bool = True) -> None:
        """A whole answer, or its beginning."""
        self.h2.send_headers(stream, [(":status", str(status))])
        self.h2.send_data(stream, body, end_stream=end)

    def close(self) -> None:
        """Closes without a word."""
        with contextlib.suppress(OSError):
            self.peer.shutdown(socket.SHUT_RDWR)

    def flush(self) -> None:
        """Sends what was said."""
        with contextlib.suppress(OSError):
            self.peer.sendall(self.h2.data_to_send())

    def run(self) -> None:
        """Serves until the gateway closes."""
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.instance.max_streams})
        self.flush()
        with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            while data := self.peer.recv(65536):
                with self.lock:
                    for event in self.h2.receive_data(data):
                        self.events.append(event)
                        self._take(event)
                    self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            stream, fields = event.stream_id or 0, {str(name): str(value) for name, value in event.headers or ()}
            self.bodies[stream] = b""
            self.instance.requests.append(fields)
            self.instance.handler(self, stream, fields)
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id or 0] += event.data or b""
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)


class H2Instance:
    """An instance that speaks nothing but HTTP/2, over TLS if it has a `context`, and answers as a function says."""

    def __init__(self, handler: Handler, *, max_streams: int = 100, context: ssl.SSLContext | None = None) -> None:
        self.context = context
        self.handler = handler
        self.max_streams = max_streams
        self.connection: type[H2Connection] = H2Connection
        self.requests: list[dict[str, str]] = []
        self.connections: list[H2Connection] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                try:
                    peer = self.context.wrap_socket(peer, server_side=True)
                except OSError:
                    peer.close()
                    continue
            self.connections.append(self.connection(peer, self))
            thread = threading.Thread(target=self.connections[-1].run, daemon=True)
            thread.start()
            self._threads.append(thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()
        for thread in self._threads:
            thread.join()
        for connection in self.connections:
            connection.peer.close()


@contextlib.contextmanager
def hypercorn_instance() -> Iterator[str]:
    """The URL of a hypercorn that serves `support.servers.application`."""
    import hypercorn.asyncio
    import hypercorn.config

    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener.fileno()}"]
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        await hypercorn.asyncio.serve(application, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
        listener.detach()


class Shop(grpc.GenericRpcHandler):
    """All four kinds of calls, on bytes: what they carry means nothing."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.cancelled = threading.Event()
        self.started = threading.Event()
        self.fail_first = 0
        """So many unary calls fail with UNAVAILABLE."""
        self.serving = True

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.rpartition("/")[2]
        self.calls.append(name)
        self.metadata.append(dict(details.invocation_metadata))
        makers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "Down": grpc.unary_stream_rpc_method_handler(self._down),
            "Up": grpc.stream_unary_rpc_method_handler(self._up),
            "Both": grpc.stream_stream_rpc_method_handler(self._both),
            "Wait": grpc.unary_unary_rpc_method_handler(self._wait),
            "Tick": grpc.unary_stream_rpc_method_handler(self._tick),
            "Fail": grpc.unary_stream_rpc_method_handler(self._fail),
            "Break": grpc.unary_unary_rpc_method_handler(self._break),
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
        }
        return makers.get(name)

    def _unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if self.fail_first > 0:
            self.fail_first -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        context.send_initial_metadata((("x-first", "1"), ("x-first-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-last", "2"),))
        return request[::-1]

    def _down(self, request: bytes, _: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    def _up(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> bytes:
        return b"".join(requests)

    def _both(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            yield request.upper()

    def _until_over(self, context: grpc.ServicerContext) -> None:
        over = threading.Event()
        if context.add_callback(over.set):
            self.started.set()
            over.wait(20)
        self.cancelled.set()

    def _wait(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        self._until_over(context)
        return b""

    def _tick(self, _: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        # A call that is over before it comes to the second message is not taken up again.
        context.add_callback(self.cancelled.set)
        yield b"tick"
        self._until_over(context)

    def _fail(self, _: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"tick"
        context.abort(grpc.StatusCode.UNAVAILABLE, "no more")

    def _break(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "50 % „kaputt“")

    def _check(self, _: bytes, __: grpc.ServicerContext) -> bytes:
        return b"\x08\x01" if self.serving else b"\x08\x02"


@contextlib.contextmanager
def grpc_instance(shop: Shop) -> Iterator[str]:
    """The URL of a gRPC server."""
    server = grpc.server(ThreadPoolExecutor(16), handlers=(shop,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
