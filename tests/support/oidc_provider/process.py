"""The program of the provider: Node runs it, and it ends with whoever has started it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.programs import program

FOLDER = Path(__file__).parent
_INSTALLED = FOLDER / "node_modules"


class Node:
    """A process that serves one provider.

    `configure` tells it everything, as often as it likes; what it has issued outlives that. The members:

    | member | what it is |
    |---|---|
    | `issuer` | URL |
    | `clients` | as RFC 7591, section 2, writes them |
    | `jwks` | private keys, the first one of a kind signs |
    | `accounts` | claims by `sub` |
    | `scopes` | beyond openid, offline_access, email and profile |
    | `login` | as whom everybody is logged in without a click; empty: a form asks |
    | `refuse` | the error that every login ends with (RFC 6749, section 4.1.2.1); empty: none |
    | `ttl` | seconds by the name of a model, such as `AccessToken` |
    | `refresh_tokens` | `always`, or `offline_access`: only if that scope was asked for |
    | `rotate` | whether each refresh gives another refresh token, after which the first one is good no more |
    | `id_token_claims` | whether the ID token has the claims that userinfo has |
    | `require_par` | whether logins begin with a pushed request only (RFC 9126) |
    | `dpop_nonce` | whether proofs must have a nonce of the provider (RFC 9449, section 8) |
    | `resource` | the audience of access tokens, which are JWTs then (RFC 9068); empty: they are opaque |
    | `clock` | seconds by which its clock is ahead |
    """

    def __init__(self, extra_authority: Path | None = None) -> None:
        """`extra_authority` certifies gateways that it calls for a logout."""
        node = program("node", "nodejs")
        if not _INSTALLED.exists():
            pytest.skip(f"oidc-provider is not installed (`npm ci --prefix {FOLDER}` or `make test-python` does it)")
        environment = {"NODE_EXTRA_CA_CERTS": str(extra_authority)} if extra_authority else {}
        self._process = subprocess.Popen(
            [node, str(FOLDER / "provider.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"NODE_ENV": "production", **environment},
        )

    def configure(self, **config: Any) -> int:
        """Tells it everything, and gives the port at which it listens. Raises ValueError if it refuses that."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(config) + "\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline() or '{"error": "it has ended"}')
        if "error" in said:
            raise ValueError(said["error"])
        return int(said["port"])

    def stop(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()
