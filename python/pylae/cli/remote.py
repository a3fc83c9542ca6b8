"""Talks to a running gateway, over the socket in its state folder or to the address of its admin API."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from pylae.cli.report import PROBLEMS, Failure

TOKEN = "PYLAE_ADMIN_TOKEN"  # noqa: S105 (the name of a variable)
CA, CERT, KEY = "PYLAE_ADMIN_CA", "PYLAE_ADMIN_CERT", "PYLAE_ADMIN_KEY"
"""Variables with the names of files for TLS."""
_OTHER_NAME = (62, 64)
"""Codes of OpenSSL for a certificate of another name or address."""
_PATIENCE = 30.0
_LOCAL = ("127.", "localhost:", "[::1]:")
_ANY = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 (an address to connect to)


@dataclass(frozen=True, slots=True)
class Identity:
    """Files for TLS, all in PEM.

    Attributes:
        ca: The authorities that the gateway's certificate may be from. The default is the system's.
        cert: What this side presents, if the gateway asks.
        key: The private key of `cert`.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class Remote:
    """A running gateway."""

    def __init__(
        self, address: str, token: str | None, folder: Path | None = None, identity: Identity | None = None
    ) -> None:
        """`address` is `unix:/path`, or `ip:port`, with `https://` or `http://` before it if it needs to be said.

        Without, TLS is spoken unless the address is on this machine: off loopback, every admin API speaks it.
        """
        self.identity = identity or Identity()
        scheme, split, rest = address.rpartition("://")
        self.address, self.token, self.folder = rest.rstrip("/"), token, folder
        own = self.address.startswith(_LOCAL) and not any((self.identity.ca, self.identity.cert))
        self.secure = scheme == "https" if split else not own and not address.startswith("unix:")

    @classmethod
    def local(cls, folder: Path) -> Remote:
        """Returns the gateway with this state folder. Those who can open its socket need no token."""
        from pylae.state.local_socket import NAME

        return cls(f"unix:{folder / NAME}", None, folder)

    def listens(self, patience: float) -> bool:
        """Returns true if it accepts a connection within this many seconds."""
        # Whether it can prove who it is shows when it is asked.
        connection = http.client.HTTPConnection(self.server) if self.secure else self._connection(patience)
        connection.timeout = patience
        try:
            connection.connect()
        except OSError:
            return False
        finally:
            connection.close()
        return True

    def get(self, path: str, /, **query: Any) -> Any:
        """Returns the JSON at a path. Raises Failure."""
        return self._ask("GET", path + (f"?{urlencode(query)}" if query else ""))

    def post(
        self, path: str, body: Any = None, method: str = "POST", *, match: str | None = None, **query: str | None
    ) -> Any:
        """Sends a request that changes something. `match` is the `If-Match`; bytes are sent as they are, as YAML.

        Raises Failure.
        """
        given = {name: value for name, value in query.items() if value is not None}
        return self._ask(method, path + (f"?{urlencode(given)}" if given else ""), body, match)

    def events(self, path: str) -> Iterator[tuple[str, str]]:
        """Yields server-sent events (name and data) until the gateway stops. Raises Failure."""
        connection = self._connection(None)
        try:
            name = "message"
            for line in self._answer(connection, "GET", path, None, None):
                key, _, value = line.decode().rstrip("\n").partition(": ")
                if key == "event":
                    name = value
                elif key == "data":
                    yield name, value
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()

    def _ask(self, method: str, path: str, body: Any = None, match: str | None = None) -> Any:
        connection = self._connection(_PATIENCE)
        try:
            text = self._answer(connection, method, path, body, match).read()
            return json.loads(text) if text else None
        except http.client.HTTPException as error:
            raise Failure(f"{self.address} is not an admin API: {error!r}") from None
        finally:
            connection.close()

    def _answer(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any, match: str | None
    ) -> http.client.HTTPResponse:
        media = "application/yaml" if isinstance(body, bytes) else "application/json"
        fields = {"Content-Type": media, **({} if match is None else {"If-Match": match})}
        if self.token is not None:
            fields["Authorization"] = f"Bearer {self.token}"
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, data, fields)
            response = connection.getresponse()
        except ssl.SSLError as error:
            raise _distrust(self.address, error) from None
        except OSError as error:
            hint = "is the gateway running?"
            raise Failure(f"no answer from {self.address}: {error.strerror or error}", hint) from None
        if response.status >= 400:
            raise _refusal(response)
        return response

    def _connection(self, patience: float | None) -> http.client.HTTPConnection:
        if self.folder is not None:
            return _LocalConnection(self.folder, patience)
        if self.address.startswith("unix:"):
            return _UnixConnection(self.address.removeprefix("unix:"), patience)
        if self.secure:
            return http.client.HTTPSConnection(self.server, timeout=patience, context=self._context())
        return http.client.HTTPConnection(self.server, timeout=patience)

    @property
    def server(self) -> str:
        """Host and port to connect to."""
        host, _, port = self.address.rpartition(":")
        return f"{_ANY.get(host, host)}:{port}"

    def _context(self) -> ssl.SSLContext:
        told = self.identity
        try:
            context = ssl.create_default_context(cafile=told.ca)
            if told.cert:
                context.load_cert_chain(told.cert, told.key)
        except ssl.SSLError as error:
            files = ", ".join(filter(None, (told.ca, told.cert, told.key)))
            raise Failure(f"no certificates or no key that fits in {files} ({error.reason})") from None
        except OSError as error:
            raise Failure(f"a file for TLS cannot be read: {error.strerror}", f"is {error.filename} right?") from None
        return context


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, patience: float | None) -> None:
        super().__init__("localhost", timeout=patience)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _LocalConnection(http.client.HTTPConnection):
    def __init__(self, folder: Path, patience: float | None) -> None:
        super().__init__("localhost", timeout=patience)
        self._folder, self._patience = folder, patience

    def connect(self) -> None:
        """Connects to the socket in the state folder."""
        from pylae.state import local_socket

        self.sock = local_socket.connect(self._folder, self._patience)


def _distrust(address: str, error: ssl.SSLError) -> Failure:
    """Says what went wrong in a handshake, or in the answer to it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = f"{address} cannot prove who it is: {error.verify_message}"
        if error.verify_code in _OTHER_NAME:
            return Failure(said, "the certificate of the admin API must name the host that --admin names")
        return Failure(
            said, f"name the authority of its certificate with --ca FILE or {CA}; that of `tls: auto` is in "
            "localhost-ca.pem, beside the state folders of the gateway's user",
        )  # fmt: skip
    reason = error.reason or str(error)
    if "CERTIFICATE_REQUIRED" in reason:
        return Failure(f"{address} asks for a certificate", f"give it with --cert FILE and --key FILE, or {CERT}")
    if "ALERT" in reason:
        return Failure(f"{address} refuses the certificate ({reason.lower().replace('_', ' ')})", "is --cert right?")
    return Failure(f"{address} speaks no TLS ({reason.lower().replace('_', ' ')})", f"write --admin http://{address}")


def _refusal(response: http.client.HTTPResponse) -> Exception:
    from pylae.errors import ConfigError, Problem

    try:
        document = json.loads(response.read())
        said, problems = document["detail"], document.get("problems", [])
        told = ("file", "line", "column", "path", "message", "hint")
        found = [Problem(**{name: problem.get(name) for name in told}) for problem in problems]
    except (ValueError, TypeError, KeyError, AttributeError):
        said, found = f"status {response.status}", []
    if found:
        return ConfigError(found)
    hints = {
        401: f"the token is in the state folder of the gateway; set {TOKEN} to use another one",
        403: "a token with another scope may: pylae admin token list",
    }
    hint = hints.get(response.status)
    return Failure(said, hint, PROBLEMS if response.status == 422 else 3, status=response.status)


def part(text: str) -> str:
    """Escapes a text as one segment of a path."""
    return quote(text, safe="")
