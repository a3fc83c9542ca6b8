"""What the suite of Connect tests: its own server, with the gateway in front.

`python -m conformance.behind FOLDER PROTOCOL` reads a ServerCompatRequest from standard input and writes a
ServerCompatResponse to standard output, as connectconformance asks of a server, and runs until it gets SIGTERM.
PROTOCOL is what the gateway speaks to the server: `http1`, `http2`, or `same`, which is what the client speaks.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from conformance.gateway import gateway
from conformance.suites import PROGRAMS

_HTTP_VERSION, _USE_TLS, _CLIENT_CERTIFICATE, _CREDENTIALS = 2, 4, 5, 7
"""Fields of ServerCompatRequest (connectrpc/conformance/v1/server_compat.proto)."""
_HOST, _PORT, _CERTIFICATE = 1, 2, 3
"""Those of ServerCompatResponse."""
_PROTOCOLS = {1: "http1", 2: "http2"}


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


def decode(message: bytes) -> dict[int, Any]:
    """The fields of a Protobuf message by number: numbers and byte strings, which are all that these messages have."""
    return dict(_fields(message))


def encode(fields: dict[int, Any]) -> bytes:
    """A message of these fields."""
    made = bytearray()
    for number, value in fields.items():
        if isinstance(value, bytes):
            made += _varint(number << 3 | 2) + _varint(len(value)) + value
        else:
            made += _varint(number << 3) + _varint(value)
    return bytes(made)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        value, at = _read_varint(message, at)
        if key & 7 == 0:
            yield key >> 3, value
        elif key & 7 == 2:
            yield key >> 3, message[at : at + value]
            at += value
        else:
            raise ValueError(f"field {key >> 3} has wire type {key & 7}")


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def listener(request: dict[int, Any], folder: Path) -> dict[str, Any]:
    """The listener that a request asks for."""
    if not request.get(_USE_TLS):
        return {"http2": True}
    credentials = decode(request[_CREDENTIALS])
    for name, content in (("cert.pem", credentials[1]), ("key.pem", credentials[2])):
        (folder / name).write_bytes(content)
    (folder / "key.pem").chmod(0o600)
    tls: dict[str, Any] = {"certificates": [{"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}]}
    if request.get(_CLIENT_CERTIFICATE):
        (folder / "clients.pem").write_bytes(request[_CLIENT_CERTIFICATE])
        tls["client_auth"] = {"ca": str(folder / "clients.pem")}
    return {"tls": tls}


def _ask(server: subprocess.Popen[bytes], request: dict[int, Any]) -> int:
    """Tells the server what to be; gives its port."""
    if server.stdin is None or server.stdout is None:
        raise ValueError("the server was started without pipes")
    write_message(server.stdin, encode(request))
    return int(decode(read_message(server.stdout))[_PORT])


def main(folder: Path, protocol: str) -> None:
    """Serves one configuration of the suite, until a signal ends it."""
    request = decode(read_message(sys.stdin.buffer))
    if protocol == "same":
        protocol = _PROTOCOLS[request[_HTTP_VERSION]]
    ours = (_USE_TLS, _CLIENT_CERTIFICATE, _CREDENTIALS)
    theirs = {number: value for number, value in request.items() if number not in ours}
    theirs[_HTTP_VERSION] = next(number for number, name in _PROTOCOLS.items() if name == protocol)
    with subprocess.Popen([PROGRAMS / "referenceserver"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            service = {"instances": [f"http://127.0.0.1:{_ask(server, theirs)}"], "protocol": protocol}
            with gateway(folder, service, listener(request, folder)) as port:
                response: dict[int, Any] = {_HOST: b"127.0.0.1", _PORT: port}
                if request.get(_USE_TLS):
                    response[_CERTIFICATE] = decode(request[_CREDENTIALS])[1]
                write_message(sys.stdout.buffer, encode(response))
                signal.pause()
        finally:
            server.kill()


if __name__ == "__main__":
    # One way out, behind which nothing is left that was started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(dir=sys.argv[1]) as made:
        main(Path(made), sys.argv[2])
