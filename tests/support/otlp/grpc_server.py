"""OTLP over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from support.otlp.http_server import response
from support.otlp.received import REQUESTS
from support.otlp.replies import Accept, Refuse

if TYPE_CHECKING:
    from support.otlp.sink import Sink

SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class GrpcServer:
    """Serves a sink."""

    def __init__(self, sink: Sink, tls: Mapping[str, str] | None) -> None:
        self._sink = sink
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        for signal, service in SERVICES.items():
            method = grpc.unary_unary_rpc_method_handler(
                lambda message, context, signal=signal: self._export(signal, message, context),
                request_deserializer=REQUESTS[signal].FromString,
                response_serializer=lambda answer: answer.SerializeToString(),
            )
            handler = grpc.method_handlers_generic_handler(service, {"Export": method})
            self._server.add_generic_rpc_handlers((handler,))
        if tls:
            pair = (Path(tls["key"]).read_bytes(), Path(tls["cert"]).read_bytes())
            self.port: int = self._server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        else:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _export(self, signal: str, message: Any, context: grpc.ServicerContext) -> Any:
        fields = {str(name): str(value) for name, value in context.invocation_metadata()}
        path = f"/{SERVICES[signal]}/Export"
        reply = self._sink.receive(signal, "grpc", path, fields, message.ByteSize(), message)
        if isinstance(reply, Accept):
            return response(signal, reply)
        refusal = reply if isinstance(reply, Refuse) else Refuse()
        code = CODES.get(refusal.status, grpc.StatusCode.UNAVAILABLE)
        if refusal.retry_after is not None:
            seconds = float(refusal.retry_after)
            delay = Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
            detail = AnyMessage()
            detail.Pack(RetryInfo(retry_delay=delay))
            status = Status(code=code.value[0], message=refusal.message, details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        return context.abort(code, refusal.message)

    def stop(self) -> None:
        """Closes all connections, and refuses others."""
        self._server.stop(None).wait()
