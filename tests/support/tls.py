"""An authority of our own, what it certifies, and peers that speak TLS."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import trustme

from support.peer import PATIENCE, Peer


class Authority:
    """A certificate authority, and a folder of files that it made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.file)

    def issue(self, file: str, *names: str, **options: Any) -> dict[str, str]:
        """A certificate for host names in `FILE.pem`, its key in `FILE.key`, as a listener's `tls` takes them."""
        made = self.authority.issue_cert(*names, **options)
        chain = b"".join(piece.bytes() for piece in made.cert_chain_pems)
        # Whole and at once, in this order: as programs that renew certificates do it.
        for path, content in ((f"{file}.pem", chain), (f"{file}.key", made.private_key_pem.bytes())):
            beside = self.folder / f"{path}.part"
            beside.write_bytes(content)
            beside.replace(self.folder / path)
        return {"cert": str(self.folder / f"{file}.pem"), "key": str(self.folder / f"{file}.key")}

    def server(self, *names: str, **options: Any) -> ssl.SSLContext:
        """How an instance with a certificate for these names speaks TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names, **options).configure_cert(context)
        return context

    def context(self, **certificate: str) -> ssl.SSLContext:
        """How a client that trusts this authority speaks TLS; `cert` and `key` are what it shows of itself."""
        context = ssl.create_default_context(cafile=self.file)
        if certificate:
            context.load_cert_chain(certificate["cert"], certificate["key"])
        return context


def secure(address: str, context: ssl.SSLContext, name: str = "gateway.test") -> Peer:
    """A peer behind a handshake with `host:port`, asked for by `name`."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), PATIENCE)
    try:
        return Peer(context.wrap_socket(connection, server_hostname=name))
    except BaseException:
        connection.close()
        raise
