"""Where attacks on logins take place: a gateway, its provider, an instance, and browsers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import secrets
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx

from pylae.engine import NativeSealer
from pylae.testing import FakeService
from support.instance import EchoInstance
from support.login_attacks.decider import decide
from support.oidc_provider import CLIENT, SECRET, Answer, Call, OidcProvider, decoded, follow
from support.oidc_provider.browser import open_page
from support.peer import PATIENCE
from support.running import Running, configure
from support.tls import Authority
from support.tokens import segment

COOKIE = "pylae-oidc"
COOKIE_SECRET = "a secret that seals the cookies of the gateway"
OLD_SECRET = "a secret that sealed cookies until last year"
PAGE = "/orders?page=2"


@dataclass
class Begun:
    """A login that waits for the provider's answer."""

    browser: httpx.Client
    redirect: httpx.Response
    """The gateway's redirect to the provider."""
    back: str
    """Where the provider sends the browser."""
    asked: dict[str, str]
    """Parameters of the authorization request, which were pushed (RFC 9126)."""

    def changed(self, **parameters: str | None) -> str:
        """The way back with other parameters; None leaves one out."""
        return with_query(self.back, **parameters)


class Stage:
    """One gateway with two authenticators, `oidc` and `other`, of which the second has another client and path."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        # First, as tests are skipped here where it is not installed: nothing is left open behind them.
        self.provider = self._stack.enter_context(OidcProvider())
        self._authority = Authority(Path(self._stack.enter_context(TemporaryDirectory())))
        self._clients: dict[str, dict[str, str]] = {}
        self.echo = self._stack.enter_context(EchoInstance())
        self.decider = self._stack.enter_context(FakeService(decide))
        self._numbers = itertools.count()
        self.running = self.start()
        self.provider.register(self.running.url)
        self.provider.register(self.running.url, "/other", client_id="other")
        self.last_sid = ""
        self.sealer = NativeSealer([COOKIE_SECRET.encode()])

    def start(self, **changed: Any) -> Running:
        """A gateway; `changed` are settings of `oidc`."""
        own = self.provider.settings(cookie_secret=COOKIE_SECRET, **changed)
        other = {"name": "other", "path": "/other", "client_id": "other", "client_secret": SECRET}
        jwt = {"jwks_url": f"{self.provider.issuer}/jwks", "issuer": self.provider.issuer, "audience": "shop"}
        introspection = {
            "issuer": self.provider.issuer,
            "client_id": CLIENT,
            "client_secret": SECRET,
            "audience": "shop",
        }
        forward = {"url": self.decider.url, "copy_headers": "Remote-Name", "key": "cookie:sid", "cache": "1m"}
        tls = {**self._authority.issue("gateway", "127.0.0.2"), "client_auth": {"ca": str(self._authority.file)}}
        tls["client_auth"]["mode"] = "optional"
        config = {
            "listeners": ["127.0.0.1:0", {"address": "127.0.0.2:0", "tls": tls}],
            "auth": {
                "jwt": jwt,
                "introspection": introspection,
                "forward_auth": forward,
                "failure_limit": None,
                "oidc": [{"name": "oidc", **own}, {**own, **other}],
            },
            "routes": [
                {"name": "open", "prefix": "/open", "service": "all", "auth": "oidc", "auth_required": False},
                {"name": "socket", "prefix": "/socket", "service": "all", "auth": "oidc", "websocket": True},
                {"name": "other", "prefix": "/others", "service": "all", "auth": "other"},
                {"name": "introspected", "prefix": "/introspected", "service": "all", "auth": "introspection"},
                {"name": "decided", "prefix": "/decided", "service": "all", "auth": "forward_auth"},
                {"name": "tokens", "prefix": "/tokens", "service": "all", "auth": "jwt"},
                {"name": "admin", "prefix": "/admin", "service": "all", "auth": "oidc", "roles": "admin"},
                {"name": "all", "prefix": "/", "service": "all", "auth": "oidc"},
            ],
        }
        running = Running(configure(config, all=self.echo))
        self._stack.callback(running.stop)
        return running

    @property
    def secure_url(self) -> str:
        """Where the gateway speaks TLS and asks for certificates."""
        return f"https://{self.running.addresses[1]}"

    def context(self, client: str | None) -> ssl.SSLContext:
        """How a client speaks TLS; it has a certificate if it has a name."""
        return self._authority.context(**(self._client(client) if client else {}))

    def thumbprint(self, client: str) -> str:
        """That of a client's certificate (RFC 8705, section 3.1)."""
        return segment(hashlib.sha256(base64.b64decode(self.certificate(client))).digest())

    def certificate(self, client: str) -> str:
        """A client's certificate in base64."""
        pem = Path(self._client(client)["cert"]).read_text(encoding="ascii")
        return base64.b64encode(
            ssl.PEM_cert_to_DER_cert(pem.partition("-----END")[0] + "-----END CERTIFICATE-----\n")
        ).decode()

    def _client(self, name: str) -> dict[str, str]:
        if name not in self._clients:
            self._clients[name] = self._authority.issue(name, f"{name}.example")
        return self._clients[name]

    credentials = (CLIENT, SECRET)
    """Those of the gateway at its provider."""

    def number(self) -> int:
        """One that nobody has had."""
        return next(self._numbers)

    def no_sessions(self) -> Counter[str]:
        """How many cookies have counted as none, by reason."""
        return Counter(self.running.gateway.stats()["no_sessions"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def browser(self) -> Iterator[httpx.Client]:
        """A browser that was never here."""
        with self.provider.browser(base_url=self.running.url) as browser:
            yield browser

    def begin(self, browser: httpx.Client, path: str = PAGE, account: str = "") -> Begun:
        """Opens a page that requires a user, and logs in at the provider. The way back is not taken yet."""
        redirect = open_page(browser, f"{self.running.url}{path}")
        assert redirect.status_code == 302, redirect.text
        asked = self.provider.calls("par")[-1].sent
        back = self.provider.login(browser, redirect.headers["Location"], account, until=f"{self.running.url}/").answer
        return Begun(browser, redirect, back.headers["Location"], asked)

    def end(self, begun: Begun, **changed: str | None) -> httpx.Response:
        """Takes the way back, with other parameters if any are given, and follows it to its end."""
        return follow(begun.browser, begun.changed(**changed)).answer

    def log_in(self, browser: httpx.Client, path: str = PAGE) -> httpx.Response:
        """From the page to the page."""
        return self.end(self.begin(browser, path))

    def session(self) -> str:
        """The cookie of ada, who has just logged in; `last_sid` is what the provider calls her session."""
        with self.browser() as browser:
            self.provider.alter("token", self._note_sid)
            assert passed(self.log_in(browser))
            return browser.cookies[COOKIE]

    def _note_sid(self, _: Call, answer: Answer) -> Answer:
        if "id_token" in answer.json:
            self.last_sid = str(decoded(answer.json["id_token"])[1]["sid"])
        return answer

    def ask(self, cookie: str | None, method: str = "GET", path: str = "/orders", **fields: str) -> httpx.Response:
        """A request of a script, with a `Cookie` field as it is given."""
        given = {"Cookie": cookie} if cookie is not None else {}
        headers = {**given, **{name.replace("_", "-"): value for name, value in fields.items()}}
        return httpx.request(
            method, f"{self.running.url}{path}", headers=headers, timeout=PATIENCE, trust_env=False, verify=False
        )

    def sealed(self, secret: str | None = None, purpose: str = "session oidc", **changed: Any) -> str:
        """A session cookie as the gateway makes it, of a session that nobody has begun."""
        now = int(time.time())
        plain = {"i": secrets.token_urlsafe(16), "u": "ada", "b": now, "n": now + 600, "x": now + 3600, **changed}
        plain = {name: value for name, value in plain.items() if value is not None}
        sealer = NativeSealer([secret.encode()]) if secret else self.sealer
        return f"{COOKIE}={sealer.seal(purpose, json.dumps(plain).encode())}"


Attempt = Callable[[Stage, bool], httpx.Response]
"""Does what is good, or, if it is true, what differs from it in one thing. Gives the last answer."""


@dataclass(frozen=True)
class Attack:
    """One attack or mishap, and its control."""

    name: str
    source: str
    """The section that asks for the defence."""
    reason: str
    """The word that tells it apart in the log, or in the count of cookies that are none."""
    attempt: Attempt = field(repr=False)
    refusal: str
    """How a client is refused: a key of `REFUSALS`."""


def passed(answer: httpx.Response) -> bool:
    """Whether an instance has answered, to somebody who is known."""
    return answer.status_code == 200 and seen(answer).get("x-user-id") is not None


def seen(answer: httpx.Response) -> dict[str, str]:
    """The fields that the instance got; none if no instance has answered."""
    if not answer.headers.get("Content-Type", "").startswith("application/json"):
        return {}
    return dict(answer.json().get("headers", ()))


def with_query(url: str, **parameters: str | None) -> str:
    """The URL with other parameters; None leaves one out."""
    parts = urlsplit(url)
    query = {name: value for name, value in {**dict(parse_qsl(parts.query)), **parameters}.items() if value is not None}
    return urlunsplit(parts._replace(query=urlencode(query)))


def attacks(refusal: str, *rows: tuple[str, str, str, Attempt]) -> tuple[Attack, ...]:
    """Attacks of which each says its name, source, reason and attempt, and that are refused alike."""
    return tuple(Attack(*row, refusal) for row in rows)
