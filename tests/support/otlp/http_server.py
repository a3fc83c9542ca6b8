"""OTLP over HTTP with Protobuf."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import threading
import traceback
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from support.otlp.received import REQUESTS
from support.otlp.replies import Accept, Close, Hang, Refuse, Reply

if TYPE_CHECKING:
    from support.otlp.sink import Sink

PROTOBUF = "application/x-protobuf"


def response(signal: str, reply: Accept) -> Any:
    """The response of a sink that takes an export, or some of it."""
    match signal:
        case "traces":
            answer: Any = ExportTraceServiceResponse()
            counted = "rejected_spans"
        case "metrics":
            answer, counted = ExportMetricsServiceResponse(), "rejected_data_points"
        case _:
            answer, counted = ExportLogsServiceResponse(), "rejected_log_records"
    if reply.rejected or reply.message:
        setattr(answer.partial_success, counted, reply.rejected)
        answer.partial_success.error_message = reply.message
    return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def do_POST(self) -> None:
        body = self._body()
        signal = self.server.sink.paths.get(self.path)
        if signal is None:
            self._answer(404, Status(message=f"{self.path} is none of {list(self.server.sink.paths)}"))
            return
        fields = {name.lower(): value for name, value in self.headers.items()}
        size = len(body)
        if fields.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        try:
            assert fields["content-type"] == PROTOBUF, f"the type of the content is {fields['content-type']}"
            message = REQUESTS[signal].FromString(body)
        except (AssertionError, DecodeError) as error:
            self.server.sink.malformed.append(str(error))
            self._answer(400, Status(code=3, message=str(error)))
            return
        self._do(signal, self.server.sink.receive(signal, "http", self.path, fields, size, message))

    def _do(self, signal: str, reply: Reply) -> None:
        match reply:
            case Accept():
                self._answer(200, response(signal, reply))
            case Refuse(status, retry_after, message):
                self._answer(status, Status(message=message), retry_after)
            case Hang() | Close():
                self.close_connection = True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, message: Any, retry_after: str | None = None) -> None:
        content = message.SerializeToString()
        self.send_response(status)
        self.send_header("Content-Type", PROTOBUF)
        self.send_header("Content-Length", str(len(content)))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(content)

    def handle(self) -> None:
        # Whoever exports may close at any time.
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 its name in the standard library
        pass


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, sink: Sink, tls: Mapping[str, str] | None) -> None:
        self.sink = sink
        self.context: ssl.SSLContext | None = None
        self.open: set[socket.socket] = set()
        self.lock = threading.Lock()
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(tls["cert"], tls["key"])
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In the thread of the connection: a handshake that hangs holds nobody up."""
        try:
            if self.context:
                request = self.context.wrap_socket(request, server_side=True)
        except OSError:
            request.close()
            return
        with self.lock:
            self.open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self.lock:
                self.open.discard(request)

    def handle_error(self, *_: Any) -> None:
        """What a handler raises fails the test, instead of being printed."""
        self.sink.malformed.append(traceback.format_exc())


class HttpServer:
    """Serves a sink."""

    def __init__(self, sink: Sink, tls: Mapping[str, str] | None) -> None:
        self._listener = _Listener(sink, tls)
        self.port: int = self._listener.server_address[1]
        # How often it looks whether it shall end, in seconds.
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Closes all connections, and refuses others."""
        self._listener.shutdown()
        self._thread.join()
        with self._listener.lock:
            for connection in self._listener.open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._listener.server_close()
