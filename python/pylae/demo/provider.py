"""The OpenID provider of `pylae demo --login`: a mock, which believes everybody who clicks on an account.

It needs the package `oidc-provider-mock`, as `pip install 'pylae[demo]'` brings it. Like a service of the shop, it
prints its address first, then a record for each request, and ends when its standard input closes.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import warnings
from dataclasses import dataclass

from pylae.demo.server import say


@dataclass(frozen=True)
class Account:
    """Somebody who can log in."""

    name: str
    user_id: str
    email: str
    role: str

    @property
    def claims(self) -> dict[str, object]:
        """What the provider says about them."""
        return {"name": self.name, "user_id": self.user_id, "email": self.email, "role": self.role}


ACCOUNTS = (
    Account("ada", "1", "ada@example.com", "customer"),
    Account("root", "3", "root@example.com", "admin"),
)


def main() -> None:
    """Runs it on a free port of 127.0.0.1 until the standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m pylae.demo.provider", description=__doc__)
    parser.add_argument("--instance", default="provider", help="name of this process")
    parser.add_argument("--directory", help="directory of the databases, of which this has none")
    options = parser.parse_args()
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # loopback, which nobody else reads
    with warnings.catch_warnings(record=True):  # of what it imports, which is no concern of who tries the demo
        from oidc_provider_mock import User, app  # type: ignore[import-untyped]
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        def run_wsgi(self) -> None:
            started = time.perf_counter()
            super().run_wsgi()
            path = self.path.partition("?")[0]  # what follows has codes
            if path != "/health":
                ended = round((time.perf_counter() - started) * 1000, 1)
                record = {"instance": options.instance, "method": self.command, "target": path, "status": self.status}
                say({**record, "ms": ended, "request_id": None})

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
            self.status = int(code)

    provider = app(user_claims=[User(sub=account.name, claims=account.claims) for account in ACCOUNTS])
    provider.add_url_rule("/health", view_func=lambda: "")
    server = make_server("127.0.0.1", 0, provider, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    say({"listening": f"http://127.0.0.1:{server.server_port}"})
    sys.stdin.buffer.read()
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
