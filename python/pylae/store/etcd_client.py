"""Calls servers of etcd over their JSON gateway (etcd manual, "gRPC gateway"), with `http.client`."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from pylae.errors import CompactedError, StoreError, StoreUnavailableError
from pylae.store.settings import StoreSettings, StoreUrl

CONNECTIONS = 8
"""Connections at once, besides those of watches."""
LONGEST = 24 * 1024 * 1024
"""Bytes of an answer: those of a page are a third more in Base64."""
_PIECE = 256 * 1024
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_LONGEST_SIZE = 64
"""Bytes of the line before a chunk."""
_SILENCE = 30.0
"""Seconds without a word after which a watch asks another server."""
_UNAUTHENTICATED = 16
_AWAY = (4, 8, 13, 14)
"""Codes of gRPC for what goes away by itself, or by an operator: time-outs, shortages, faults and lost leaders."""
_HINTS = {
    3: "are `user` and `password` right?",
    7: "grant the user a role that may read and write all keys with the prefix of the URL",
    12: "this server of etcd is too old; 3.4 or later is needed",
    _UNAUTHENTICATED: "are `user` and `password` right?",
}
_NO_SPACE = "database space exceeded"
_NO_HTTP = (http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class RefusedError(Exception):
    """A server has answered with an error of gRPC."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class TooLongError(StoreUnavailableError):
    """An answer is too long."""


class EtcdClient:
    """Calls one of several servers. All threads of a process can use it."""

    def __init__(self, where: str, settings: StoreSettings, url: StoreUrl, base: Path) -> None:
        """`base` is the folder that names of files are relative to."""
        self.where = where
        self.timeout = settings.timeout.total_seconds()
        self._settings, self._url, self._base = settings, url, base
        self._idle: list[_Link] = []
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self._lock = threading.Lock()
        self._first = 0
        self._token: str | None = None

    def call(self, path: str, body: Mapping[str, Any], *, repeatable: bool = True) -> Any:
        """Returns the answer to a call. Raises StoreError.

        If a server does not answer, it asks the next one: but what is not `repeatable` only if nothing was sent.
        Raises TooLongError if the answer has more than `LONGEST` bytes.
        """
        if not self._free.acquire(timeout=self.timeout):
            raise StoreUnavailableError(f"{self.where}: all {CONNECTIONS} connections are in use")
        try:
            return self._authenticated(path, body, repeatable)
        except RefusedError as error:
            raise self.told(error) from None
        finally:
            self._free.release()

    def stream(self, path: str, body: Mapping[str, Any]) -> Stream:
        """Returns the answers of a call that has many. Close it. Raises StoreError."""
        try:
            return Stream(self, self._authenticated(path, body, repeatable=True, is_stream=True))
        except RefusedError as error:
            raise self.told(error) from None

    def close(self) -> None:
        """Closes all connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    def lost(self, reason: str) -> StoreUnavailableError:
        """Returns the error for servers that do not answer. The next call begins with another one."""
        self._first += 1
        return StoreUnavailableError(f"{self.where}: {reason}", "does the server run, and does it let this machine in?")

    def told(self, error: RefusedError) -> StoreError:
        """Returns what an error of a server means."""
        if "has been compacted" in str(error):
            return CompactedError(
                f"{self.where} has forgotten the revision that was being read", "read everything again"
            )
        if error.code in _AWAY or _NO_SPACE in str(error):
            hint = (
                "compact, defragment and disarm the alarm (etcd manual, Maintenance)"
                if _NO_SPACE in str(error)
                else None
            )
            return StoreUnavailableError(f"{self.where}: {error}", hint)
        return StoreError(f"{self.where}: {error}", _HINTS.get(error.code))

    def _authenticated(self, path: str, body: Mapping[str, Any], repeatable: bool, is_stream: bool = False) -> Any:
        if self._settings.user is None:
            return self._ask(path, body, repeatable, is_stream)
        known = self._token or self._log_in()
        try:
            return self._ask(path, body, repeatable, is_stream, known)
        except RefusedError as error:
            # Tokens end, and with the server that has made them, if they are simple ones.
            if error.code != _UNAUTHENTICATED and "invalid auth token" not in str(error):
                raise
        return self._ask(path, body, repeatable, is_stream, self._log_in())

    def _log_in(self) -> str:
        password = self._settings.password
        body = {"name": self._settings.user, "password": password and password.get_secret_value()}
        self._token = str(self._ask("/v3/auth/authenticate", body, True, False)["token"])
        return self._token

    def _ask(
        self, path: str, body: Mapping[str, Any], repeatable: bool, is_stream: bool, token: str | None = None
    ) -> Any:
        end = monotonic() + self.timeout
        reason = "no server answers"
        for attempt in range(len(self._url.servers)):
            server = self._url.servers[(self._first + attempt) % len(self._url.servers)]
            link = None
            try:
                link = self._link(server, end)
                link.send(path, body, token, end)
                if is_stream:
                    return link.head(end)
                answer = link.answer(end)
            except OSError as error:
                reason = _reason(server, error)
            except _NO_HTTP:
                reason = f"{server[0]}:{server[1]} does not answer as a server of etcd does"
            except RefusedError:
                if link:
                    self._keep(link)
                raise
            except OverflowError:
                if link:
                    link.close()
                raise TooLongError(f"{self.where}: an answer of {server[0]}:{server[1]} is too long") from None
            else:
                self._keep(link)
                self._first += attempt
                return answer
            if link:
                link.close()
                if link.is_sent and not repeatable:
                    break
            if monotonic() >= end:
                break
        raise self.lost(reason)

    def _link(self, server: tuple[str, int], end: float) -> _Link:
        while True:
            with self._lock:
                link = next((one for one in self._idle if one.server == server), None)
                if link is None:
                    break
                self._idle.remove(link)
            if link.is_usable():
                return link
            link.close()
        return _Link(server, self._tls() if self._url.tls else None, self._settings.transport.server_name, end)

    def _keep(self, link: _Link) -> None:
        link.is_sent = False
        with self._lock:
            if link.may_be_kept and len(self._idle) < CONNECTIONS:
                self._idle.append(link)
                return
        link.close()

    def _tls(self) -> ssl.SSLContext:
        # Anew for each connection, so that replaced files take effect.
        tls = self._settings.transport
        files = {
            name: self._base / Path(file).expanduser() for name in ("ca", "cert", "key") if (file := getattr(tls, name))
        }
        try:
            context = ssl.create_default_context(cafile=files.get("ca"))
            if "cert" in files:
                context.load_cert_chain(files["cert"], files.get("key"))
        except (ssl.SSLError, OSError) as error:
            raise StoreError(
                f"{self.where}: a file in `tls` cannot be used: {error.strerror or error}",
                ", ".join(map(str, files.values())),
            ) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class _Link:
    """A connection to a server."""

    def __init__(self, server: tuple[str, int], tls: ssl.SSLContext | None, name: str | None, end: float) -> None:
        self.server = server
        self.is_sent = False
        """Whether the server may have what was sent last."""
        self.may_be_kept = True
        connection = socket.create_connection(server, max(0.001, end - monotonic()))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = tls.wrap_socket(connection, server_hostname=name or server[0]) if tls else connection
        self._http = http.client.HTTPConnection(*server)
        self._http.sock = self._socket
        self._http.auto_open = 0
        self._answer: http.client.HTTPResponse | None = None

    def is_usable(self) -> bool:
        """Returns False if the server has closed the connection, or has sent something unasked."""
        self._socket.settimeout(0)
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            # Between two answers there is nothing to be read.
            return True
        except OSError:
            pass
        return False

    def send(self, path: str, body: Mapping[str, Any], token: str | None, end: float) -> None:
        """Sends a call."""
        self.wait_until(end)
        # A server that cannot reach the others must not pretend that nothing happens.
        fields = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}
        if token:
            fields["Authorization"] = token
        self.is_sent = True
        self._http.request("POST", path, json.dumps(body), fields)

    def head(self, end: float) -> _Link:
        """Reads the head of the answer."""
        self.wait_until(end)
        self._answer = answer = self._http.getresponse()
        if answer.status != 200:
            raise self._refusal(answer.status, self._body(answer, end))
        return self

    def answer(self, end: float) -> Any:
        """Returns the whole answer."""
        found = json.loads(self._body(self.head(end).response(), end))
        if not isinstance(found, dict):
            raise ValueError
        return found

    def response(self) -> http.client.HTTPResponse:
        """Returns the answer whose head has been read."""
        if self._answer is None:
            raise http.client.ResponseNotReady
        return self._answer

    def _body(self, answer: http.client.HTTPResponse, end: float) -> bytes:
        data = bytearray()
        while piece := answer.read1(_PIECE):
            data += piece
            if len(data) > LONGEST:
                raise OverflowError
            self.wait_until(end)
        self.may_be_kept = not answer.will_close
        answer.close()
        return bytes(data)

    def _refusal(self, status: int, data: bytes) -> Exception:
        try:
            return _refused(json.loads(data))
        except _NO_HTTP:
            self.may_be_kept = False
            if status == 404:
                return RefusedError(12, "the server has no JSON gateway (--enable-grpc-gateway)")
            return http.client.HTTPException()

    def unread(self) -> tuple[bytearray, bool]:
        """Returns what has been received after the head of the answer, and whether it is in chunks."""
        answer = self.response()
        self._socket.settimeout(0)
        with contextlib.suppress(ssl.SSLWantReadError):
            return bytearray(answer.fp.read1(_PIECE) or b""), bool(answer.chunked)
        return bytearray(), bool(answer.chunked)

    def receive(self, end: float) -> bytes | None:
        """Returns what is received next, b"" at the end, or None if nothing is until then."""
        try:
            self.wait_until(end)
            return self._socket.recv(_PIECE)
        except TimeoutError:
            return None

    def wait_until(self, end: float) -> None:
        """Lets what follows wait until then."""
        left = end - monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def close(self) -> None:
        """Closes the connection."""
        with contextlib.suppress(OSError):
            if self._answer is not None:
                self._answer.close()
            self._http.close()
            self._socket.close()


class Stream:
    """The answers of a call that has many. Each is a line of JSON.

    `http.client` cannot go on after a time-out in the middle of an answer, so this reads chunks by itself (RFC 9112
    section 7.1).
    """

    def __init__(self, client: EtcdClient, link: _Link) -> None:
        self._client, self._link = client, link
        self._raw, self._is_chunked = link.unread()
        self._lines = bytearray()
        self._heard = monotonic()

    def next(self, end: float) -> Any:
        """Returns the next answer, or None if there is none until then. Raises StoreError."""
        try:
            while b"\n" not in self._lines:
                self._decode()
                if b"\n" in self._lines:
                    break
                piece = self._link.receive(end)
                if piece is None:
                    return self._silent()
                if not piece:
                    raise self._client.lost("the server has ended its answer")
                self._heard = monotonic()
                self._raw += piece
                if len(self._raw) + len(self._lines) > LONGEST:
                    raise self._client.lost("an answer of the server is too long")
            line, _, self._lines = self._lines.partition(b"\n")
            found = json.loads(line)
            if "error" in found:
                raise self._client.told(_refused(found["error"]))
            return found["result"]
        except OSError as error:
            raise self._client.lost(_reason(self._link.server, error)) from None
        except _NO_HTTP:
            raise self._client.lost("the server does not answer as one of etcd does") from None

    def _silent(self) -> None:
        """A server may have gone without a word, so that one that is silent is left for another one."""
        if monotonic() - self._heard > _SILENCE:
            raise self._client.lost("the server has been silent")

    def _decode(self) -> None:
        """Moves what is whole to the lines."""
        if not self._is_chunked:
            self._lines += self._raw
            self._raw.clear()
        while (ending := self._raw.find(b"\r\n", 0, _LONGEST_SIZE)) >= 0:
            if not (size := _SIZE.match(self._raw, 0, ending)):
                raise ValueError
            length = int(size[0], 16)
            if length == 0:
                raise self._client.lost("the server has ended its answer")
            begin = ending + 2
            if len(self._raw) < begin + length + 2:
                return
            self._lines += self._raw[begin : begin + length]
            del self._raw[: begin + length + 2]
        if len(self._raw) >= _LONGEST_SIZE:
            raise ValueError

    def close(self) -> None:
        """Closes the connection."""
        self._link.close()


@contextlib.contextmanager
def understood(where: str) -> Iterator[None]:
    """Turns what goes wrong while an answer is read into StoreUnavailableError."""
    try:
        yield
    except _NO_HTTP as error:
        raise StoreUnavailableError(f"{where}: an answer is not that of a server of etcd ({error!r:.100})") from None


def encoded(data: bytes) -> str:
    """Returns bytes as they are in JSON."""
    return b64encode(data).decode("ascii")


def decoded(text: str) -> bytes:
    """Returns the bytes that a text in JSON stands for."""
    return b64decode(text, validate=True)


def _refused(found: Any) -> RefusedError:
    # Servers before 3.6 repeat the message as `error`; in a stream the code has another name.
    code = found.get("code", found.get("grpc_code", 2))
    return RefusedError(int(code), str(found.get("message") or found.get("error"))[:200])


def _reason(server: tuple[str, int], error: OSError) -> str:
    name = f"{server[0]}:{server[1]}"
    if isinstance(error, TimeoutError):
        return f"{name} does not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{name} cannot prove who it is ({error.verify_message})"
    return f"{name} cannot be reached ({error.strerror or type(error).__name__})"
