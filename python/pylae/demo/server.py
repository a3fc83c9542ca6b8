"""A small JSON server over HTTP/1.1 and SQLite, which the four services share. It needs only the standard library.

`pylae.demo.shop` starts each service as a process. A service prints its address as the first line of its standard
output, then a JSON record for each request. It ends when its standard input closes, so a killed demo leaves neither
processes nor files behind.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

#: Prefix of the names of directories that a service may remove.
DIRECTORY_PREFIX = "pylae-demo-"
MAX_BODY = 64 * 1024
PEER_TIMEOUT = 5.0
KINDS: dict[type, str] = {str: "a text", int: "a whole number", list: "a list"}
T = TypeVar("T")


class RequestError(Exception):
    """Ends a request with a status and a message."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class Request:
    """A complete request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes = b""
    captures: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Returns the body as a JSON object. Refuses the request if it is anything else."""
        try:
            document = json.loads(self.body)
        except ValueError as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {error}.") from error
        if not isinstance(document, dict):
            raise RequestError(HTTPStatus.BAD_REQUEST, "The body must be a JSON object.")
        return document

    def value(self, name: str, kind: type[T]) -> T:
        """Returns a field of the JSON body. Refuses the request if it is missing, empty or of another type."""
        value = self.json().get(name)
        if not isinstance(value, kind) or isinstance(value, bool) or value == "" or not fits(value):
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"The field {name!r} must be {KINDS[kind]}.")
        return value

    def number(self, name: str) -> int | None:
        """Returns a whole number from the query; `None` if the parameter is missing."""
        value = self.query.get(name)
        if value is None:
            return None
        if not re.fullmatch(r"[0-9]{1,18}", value):
            raise RequestError(HTTPStatus.BAD_REQUEST, f"The parameter {name!r} must be a number.")
        return int(value)


@dataclass(frozen=True)
class Reply:
    """A response with a JSON body."""

    body: object
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


class Store:
    """The database of a service. Two instances of a service may have the same file open."""

    def __init__(self, path: Path | str, tables: str) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA synchronous = OFF")  # the data lives only as long as the demo
        self._connection.executescript(f"BEGIN IMMEDIATE; {tables}; COMMIT;")

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Returns all rows of a query."""
        with self._lock:
            return [dict(row) for row in self._connection.execute(statement, values)]

    def row(self, statement: str, *values: object) -> dict[str, Any] | None:
        """Returns the first row of a query."""
        return next(iter(self.rows(statement, *values)), None)

    def write(self, statement: str, *values: object) -> int:
        """Runs a statement. Returns the id of an inserted row."""
        with self._lock:
            return self._connection.execute(statement, values).lastrowid or 0

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()


Answer = Callable[[Request, Store], Reply]


class Service:
    """A service: its name, the tables of its database, and a function for each kind of request."""

    def __init__(self, name: str, tables: str) -> None:
        self.name = name
        self.tables = tables
        self._routes: list[tuple[str, re.Pattern[str], Answer]] = []

    def route(self, method: str, pattern: str) -> Callable[[Answer], Answer]:
        """Registers the decorated function for a method and a regular expression of the whole path."""

        def register(answer: Answer) -> Answer:
            self._routes.append((method, re.compile(pattern, re.ASCII), answer))
            return answer

        return register

    def answer(self, request: Request, store: Store) -> Reply:
        """Answers a request. Refusals become `application/problem+json`."""
        try:
            return self._dispatch(request, store)
        except RequestError as refusal:
            return problem(refusal.status, refusal.detail, request)

    def _dispatch(self, request: Request, store: Store) -> Reply:
        method = "GET" if request.method == "HEAD" else request.method
        if request.path == "/health" and method == "GET":
            return Reply({"status": "healthy", "service": self.name})
        allowed = []
        for known, pattern, answer in self._routes:
            if found := pattern.fullmatch(request.path):
                if known == method:
                    return answer(replace(request, captures=found.groups()), store)
                allowed.append(known)
        if allowed:
            refused = problem(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} is not offered here.", request)
            return Reply(refused.body, refused.status, {**refused.headers, "Allow": ", ".join(allowed)})
        raise RequestError(HTTPStatus.NOT_FOUND, f"There is nothing at {request.path}.")


def fits(value: object) -> bool:
    """Returns true if a database column can hold the value."""
    return not isinstance(value, int) or abs(value) < 2**63


def problem(status: HTTPStatus, detail: str, request: Request) -> Reply:
    """Returns an error by RFC 9457."""
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        "instance": request.path,
    }
    if request_id := request.headers.get("X-Request-ID"):
        body["request_id"] = request_id
    return Reply(body, status, {"Content-Type": "application/problem+json"})


def ask_peer(url: str, path: str, body: object, request: Request) -> tuple[int, dict[str, Any]]:
    """Sends a POST to another service of the shop, with the id of the current request.

    Refuses the current request with 503 if the other service cannot be reached.
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PEER_TIMEOUT)
    headers = {"Content-Type": "application/json"}
    if request_id := request.headers.get("X-Request-ID"):
        headers["X-Request-ID"] = request_id
    try:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "A service that this needs did not answer.") from error
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    """Reads requests from a connection and answers them one by one."""

    protocol_version = "HTTP/1.1"
    server_version = "shop"
    sys_version = ""
    wbufsize = -1  # head and body leave in one segment
    timeout = 120
    server: Listener

    def answer(self) -> None:
        """Answers the request whose head was just read."""
        started = time.perf_counter()
        target = urlsplit(self.path)
        request = Request(self.command, target.path, dict(parse_qsl(target.query)), self.headers)
        try:
            request = replace(request, body=self._read_body())
            reply = self.server.service.answer(request, self.server.store)
        except RequestError as refusal:  # the rest of the body was not read, so nothing can follow on this connection
            self.close_connection = True
            reply = problem(refusal.status, refusal.detail, request)
        except Exception as error:  # the process outlives a mistake in one answer
            print(f"{self.server.instance}: {type(error).__name__}: {error}", file=sys.stderr)
            reply = problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed.", request)
        self._send(reply)
        if target.path != "/health":
            self._record(request, reply, time.perf_counter() - started)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read_chunks()
        length = self.headers.get("Content-Length", "0")
        if not length.isascii() or not length.isdigit():
            raise RequestError(HTTPStatus.BAD_REQUEST, "The length of the body is not a number.")
        if int(length) > MAX_BODY:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {MAX_BODY} bytes.")
        return self.rfile.read(int(length))

    def _read_chunks(self) -> bytes:
        body = b""
        while size := self._chunk_size():
            if len(body) + size > MAX_BODY:
                raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {MAX_BODY} bytes.")
            body += self.rfile.read(size)
            self.rfile.readline(8)
        while self.rfile.readline(8192).strip():  # trailers
            pass
        return body

    def _chunk_size(self) -> int:
        digits = self.rfile.readline(8192).split(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", digits):
            raise RequestError(HTTPStatus.BAD_REQUEST, "A chunk of the body has no size.")
        return int(digits, 16)

    def _send(self, reply: Reply) -> None:
        body = json.dumps(reply.body, ensure_ascii=False).encode() + b"\n"
        fields = {"Content-Type": "application/json", **reply.headers}
        self.send_response(reply.status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-By", self.server.instance)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _record(self, request: Request, reply: Reply, seconds: float) -> None:
        say(
            {
                "instance": self.server.instance,
                "method": request.method,
                "target": self.path,
                "status": int(reply.status),
                "ms": round(seconds * 1000, 1),
                "request_id": request.headers.get("X-Request-ID"),
            }
        )

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Does nothing: requests are reported as records."""


class Listener(ThreadingHTTPServer):
    """The socket of an instance of a service, on a free port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self, service: Service, instance: str, store: Store) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.service = service
        self.instance = instance
        self.store = store

    @property
    def url(self) -> str:
        """The URL of the instance."""
        return f"http://127.0.0.1:{self.server_address[1]}"


def say(record: object) -> None:
    """Writes a JSON line to standard output at once. The reader may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(record).encode() + b"\n")


def serve(service: Service) -> None:
    """Runs a service as a process until its standard input closes, then removes the directory of the databases."""
    parser = argparse.ArgumentParser(prog=f"python -m pylae.demo.{service.name}", description=service.__doc__)
    parser.add_argument("--instance", default=service.name, help="name of this process")
    parser.add_argument(
        "--directory",
        type=Path,
        required=True,
        help=f"directory of the database, named {DIRECTORY_PREFIX}…; removed at the end",
    )
    options = parser.parse_args()
    directory: Path = options.directory
    if not directory.name.startswith(DIRECTORY_PREFIX):
        parser.error(f"the name of the directory must begin with {DIRECTORY_PREFIX}, because it is removed at the end")
    try:
        store = Store(directory / f"{service.name}.db", service.tables)
    except sqlite3.OperationalError:
        if directory.is_dir():
            raise
        return  # the demo was stopped while this process started
    listener = Listener(service, options.instance, store)
    threading.Thread(target=partial(listener.serve_forever, poll_interval=0.05), daemon=True).start()
    say({"listening": listener.url})
    sys.stdin.buffer.read()
    listener.shutdown()
    listener.server_close()
    store.close()
    shutil.rmtree(directory, ignore_errors=True)
