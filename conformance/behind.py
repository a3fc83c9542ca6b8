"""What the suite of Connect tests: its own server, with the gateway in front.

`python -m conformance.behind FOLDER PROTOCOL` reads a ServerCompatRequest from standard input and writes a
ServerCompatResponse to standard output, as connectconformance asks of a server, and runs until it gets SIGTERM.
PROTOCOL is what the gateway speaks to the server: `http2`, or `same`, which is what the client speaks.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from conformance.gateway import gateway
from conformance.suites import PROGRAMS

_PROTOCOLS = {1: "http1", 2: "http2"}
"""Values of HTTPVersion."""


def _message(name: str, fields: dict[str, tuple[int, int]]) -> DescriptorProto:
    optional = FieldDescriptorProto.LABEL_OPTIONAL
    made = [
        FieldDescriptorProto(name=name, number=number, type=kind, label=optional)
        for name, (number, kind) in fields.items()
    ]
    return DescriptorProto(name=name, field=made)


_BOOL, _BYTES, _NUMBER = (
    FieldDescriptorProto.TYPE_BOOL,
    FieldDescriptorProto.TYPE_BYTES,
    FieldDescriptorProto.TYPE_UINT32,
)
_POOL = DescriptorPool()
_POOL.Add(
    FileDescriptorProto(
        name="server_compat.proto",
        syntax="proto3",
        message_type=[
            # Of connectrpc/conformance/v1/server_compat.proto what matters here; other fields are passed on.
            _message(
                "Request",
                {
                    "http_version": (2, _NUMBER),
                    "use_tls": (4, _BOOL),
                    "client_tls_cert": (5, _BYTES),
                    "server_creds": (7, _BYTES),
                },
            ),
            _message("Response", {"host": (1, _BYTES), "port": (2, _NUMBER), "pem_cert": (3, _BYTES)}),
            _message("Credentials", {"cert": (1, _BYTES), "key": (2, _BYTES)}),
        ],
    )
)
Request, Response, Credentials = (
    GetMessageClass(_POOL.FindMessageTypeByName(name)) for name in ("Request", "Response", "Credentials")
)


def read_message(stream: IO[bytes]) -> bytes:
    """A message behind its length of four bytes.

    Raises:
        EOFError: the stream ends before the message does.
    """
    length = stream.read(4)
    message = stream.read(int.from_bytes(length, "big"))
    if len(length) < 4 or len(message) < int.from_bytes(length, "big"):
        raise EOFError("the message is not whole")
    return message


def write_message(stream: IO[bytes], message: bytes) -> None:
    """The same for the other side."""
    stream.write(len(message).to_bytes(4, "big") + message)
    stream.flush()


def listener(request: Any, folder: Path) -> dict[str, Any]:
    """The listener that a request asks for."""
    if not request.use_tls:
        return {"http2": True}
    credentials = Credentials.FromString(request.server_creds)
    for name, content in (("cert.pem", credentials.cert), ("key.pem", credentials.key)):
        (folder / name).write_bytes(content)
    (folder / "key.pem").chmod(0o600)
    tls: dict[str, Any] = {"certificates": [{"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}]}
    if request.client_tls_cert:
        (folder / "clients.pem").write_bytes(request.client_tls_cert)
        tls["client_auth"] = {"ca": str(folder / "clients.pem")}
    return {"tls": tls}


def for_server(request: Any, protocol: str) -> Any:
    """What is asked of the server: the same, without TLS, in the version of the gateway's side."""
    asked = Request()
    asked.CopyFrom(request)
    for field in ("use_tls", "client_tls_cert", "server_creds"):
        asked.ClearField(field)
    if protocol == "http2":
        asked.http_version = 2
    return asked


def _port_of(server: subprocess.Popen[bytes], request: Any) -> int:
    """Tells the server what to be; gives its port."""
    if server.stdin is None or server.stdout is None:
        raise ValueError("the server was started without pipes")
    write_message(server.stdin, request.SerializeToString())
    return int(Response.FromString(read_message(server.stdout)).port)


def main(folder: Path, protocol: str) -> None:
    """Serves one configuration of the suite, until a signal ends it."""
    request = Request.FromString(read_message(sys.stdin.buffer))
    asked = for_server(request, protocol)
    with subprocess.Popen([PROGRAMS / "referenceserver"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            url = f"http://127.0.0.1:{_port_of(server, asked)}"
            service = {"instances": [url], "protocol": _PROTOCOLS[asked.http_version]}
            with gateway(folder, service, listener(request, folder)) as port:
                response = Response(host=b"127.0.0.1", port=port)
                if request.use_tls:
                    response.pem_cert = Credentials.FromString(request.server_creds).cert
                write_message(sys.stdout.buffer, response.SerializeToString())
                signal.pause()
        finally:
            server.kill()


if __name__ == "__main__":
    # One way out, behind which nothing is left that was started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(dir=sys.argv[1]) as made:
        main(Path(made), sys.argv[2])
