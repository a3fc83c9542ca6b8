"""Talks to the admin API of a running gateway: finds its address and token, and asks."""

from __future__ import annotations

import functools
import http.client
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import click

from pylae.cli.report import PROBLEMS, Failure
from pylae.cli.run import DEFAULTS

TOKEN = "PYLAE_ADMIN_TOKEN"  # noqa: S105 (the name of a variable)
_PATIENCE = 30.0

C = TypeVar("C", bound=Callable[..., Any])


def options(verb: C) -> C:
    """Adds what says which gateway is meant, and hands the verb a `Remote` as `gateway`."""

    @functools.wraps(verb)
    def with_gateway(config: str | None, admin: str | None, token_file: str | None, **rest: Any) -> Any:
        return verb(gateway=find(config, admin, token_file), **rest)

    for option in (
        click.option("--token-file", metavar="FILE", help=f"File with the token. Also: the variable {TOKEN}."),
        click.option("--admin", metavar="ADDRESS", help="Admin API, ip:port or unix:/path. Also: PYLAE_ADMIN."),
        click.option(
            "-c", "--config", metavar="FILE", help="Configuration of the gateway. Default: that of this directory."
        ),
    ):
        with_gateway = option(with_gateway)
    return with_gateway  # type: ignore[return-value]


def find(config: str | None, admin: str | None, token_file: str | None) -> Remote:
    """The gateway that is meant. Raises Failure, or ConfigError for a configuration that cannot be read."""
    admin = admin or os.environ.get("PYLAE_ADMIN") or None
    token = Path(token_file).read_text(encoding="ascii").strip() if token_file else os.environ.get(TOKEN)
    if admin and token:
        return Remote(admin, token)
    file = config or next((name for name in DEFAULTS if Path(name).exists()), None)
    if file is None:
        raise Failure("which gateway is meant?", f"name its configuration with -c FILE, or give --admin and {TOKEN}")
    return _configured(file, admin, token)


def _configured(file: str, admin: str | None, token: str | None) -> Remote:
    from pylae import state
    from pylae.admin.token import token_file, token_of
    from pylae.config.admin import Admin
    from pylae.gateway import Gateway

    config = Gateway.from_file(file).config
    if config.admin is False:
        raise Failure(f"{file} switches the admin API off", "remove `admin: false` and start the gateway again")
    settings = config.admin or Admin()
    address = admin or settings.address
    if address.endswith(":0"):
        raise Failure(f"{file} lets the system choose the port of the admin API", "give it with --admin")
    kept = token_file(settings, state.folder_of(file, config.state), Path(file).absolute().parent)
    token = token or token_of(settings, kept, create=False)
    if token is None:
        raise Failure(f"there is no token in {kept}", f"was the gateway started by this user? {TOKEN} gives it")
    return Remote(address, token)


class Remote:
    """The admin API of a running gateway."""

    def __init__(self, address: str, token: str) -> None:
        self.address, self._token = address, token

    def get(self, path: str, **query: Any) -> Any:
        """What is at a path. Raises Failure."""
        return self._ask("GET", path + (f"?{urlencode(query)}" if query else ""))

    def post(self, path: str, body: Any = None, method: str = "POST") -> Any:
        """Has something done. Raises Failure."""
        return self._ask(method, path, body)

    def events(self, path: str) -> Iterator[tuple[str, str]]:
        """Server-sent events, name and data, until the gateway stops. Raises Failure."""
        connection = self._connection(None)
        try:
            name = "message"
            for line in self._answer(connection, "GET", path, None):
                key, _, value = line.decode().rstrip("\n").partition(": ")
                if key == "event":
                    name = value
                elif key == "data":
                    yield name, value
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = self._connection(_PATIENCE)
        try:
            text = self._answer(connection, method, path, body).read()
            return json.loads(text) if text else None
        except http.client.HTTPException as error:
            raise Failure(f"{self.address} does not answer like an admin API: {error!r}") from None
        finally:
            connection.close()

    def _answer(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any
    ) -> http.client.HTTPResponse:
        fields = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), fields)
            response = connection.getresponse()
        except OSError as error:
            hint = "is the gateway running?"
            raise Failure(f"nobody answers at {self.address}: {error.strerror or error}", hint) from None
        if response.status >= 400:
            raise _refusal(response)
        return response

    def _connection(self, patience: float | None) -> http.client.HTTPConnection:
        if self.address.startswith("unix:"):
            return _UnixConnection(self.address.removeprefix("unix:"), patience)
        return http.client.HTTPConnection(self.address, timeout=patience)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, patience: float | None) -> None:
        super().__init__("localhost", timeout=patience)
        self._path = path

    def connect(self) -> None:
        """To the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _refusal(response: http.client.HTTPResponse) -> Failure:
    try:
        document = json.loads(response.read())
        lines = [document["detail"]]
        lines += [f"  {problem['path']}: {problem['message']}" for problem in document.get("problems", [])]
    except (ValueError, TypeError, KeyError):
        lines = [f"status {response.status}"]
    hint = (
        f"the token is in the state folder of the gateway; {TOKEN} gives another one"
        if response.status == 401
        else None
    )
    return Failure("\n".join(lines), hint, PROBLEMS if response.status == 422 else 3)


def part(text: str) -> str:
    """A text as one part of a path."""
    return quote(text, safe="")
