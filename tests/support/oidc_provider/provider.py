"""The provider as tests see it."""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from support.oidc_provider.browser import Login, follow
from support.oidc_provider.front import Answer, Call, Change, Front
from support.oidc_provider.keys import Key, Keys, decoded
from support.oidc_provider.process import Node
from support.peer import PATIENCE

CLIENT = "gateway"
SECRET = "a secret that the provider gave to the gateway"
ACCOUNTS: dict[str, dict[str, Any]] = {
    "ada": {"email": "ada@example.com", "email_verified": True, "name": "Ada", "role": "customer"},
    "grace": {"email": "grace@example.com", "email_verified": True, "name": "Grace", "role": "admin"},
}
BACKCHANNEL = "http://schemas.openid.net/event/backchannel-logout"
"""The event of a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.4)."""
_DEFAULTS: dict[str, Any] = {
    "clients": [],
    "accounts": ACCOUNTS,
    "scopes": [],
    "login": "ada",
    "refuse": "",
    "ttl": {},
    "refresh_tokens": "always",
    "rotate": True,
    "id_token_claims": True,
    "require_par": False,
    "dpop_nonce": False,
    "resource": "",
    "clock": 0,
}
_GRANTS = ["authorization_code", "refresh_token", "client_credentials"]


class OidcProvider:
    """A provider on a free port of loopback, with one client, `CLIENT`, once a gateway was registered.

    Everybody who comes is logged in as `ada` without a click; `configure(login="")` makes it show a form, and a
    `login_hint` goes before. `options` are members of `support.oidc_provider.process.Node`.

    - `configure`, `register` and `rotate` change it while it runs.
    - `calls` says what has come; `alter`, `held`, `down` and `mend` are its faults.
    - `sign`, `id_token` and `logout_token` make what only it can make, or what is to look so.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
        authority: Path | None = None,
        **options: Any,
    ) -> None:
        """`context` makes it speak TLS. `authority` certifies the gateways that it calls. A `host` of `127.0.0.2` is
        another site for a browser than a gateway on 127.0.0.1 is, and has cookies of its own."""
        self._options = options
        self._node = Node(authority)
        self._front = Front(host, context)
        try:
            self.reset()
        except BaseException:
            self.stop()
            raise

    @property
    def issuer(self) -> str:
        """Its URL, without a slash at the end."""
        return self._front.url

    @property
    def clients(self) -> list[dict[str, Any]]:
        """As RFC 7591, section 2, writes them."""
        clients: list[dict[str, Any]] = self._config["clients"]
        return clients

    def reset(self) -> None:
        """Begins anew: no clients, no faults, no calls, the first options and the first key."""
        self.keys = Keys()
        self.mend()
        self._front.calls.clear()
        self._config = dict(_DEFAULTS)
        self.configure(**self._options)

    def configure(self, **changed: Any) -> None:
        """Changes members of its configuration. Raises ValueError, with its reason, if it refuses that."""
        config = {**self._config, **changed}
        config["ttl"] = {"AccessToken": 3600, "IdToken": 3600, **config["ttl"]}
        everything = {"issuer": self.issuer, "jwks": self.keys.jwks(private=True), **config}
        self._front.port = self._node.configure(**everything)
        self._config = config

    def register(self, origin: str, path: str = "/oauth2", *, client_id: str = CLIENT, **changed: Any) -> None:
        """Makes a gateway under an origin a client of it, with the own paths of `oidc` below `path`.

        It is confidential and sends its secret with `client_secret_basic`; `changed` are other members of RFC 7591,
        such as `token_endpoint_auth_method="none"`, `dpop_bound_access_tokens=True`,
        `introspection_signed_response_alg="RS256"`, `backchannel_logout_uri=None`. A client of the same name is
        replaced.
        """
        client = {
            "client_id": client_id,
            "client_secret": SECRET,
            "redirect_uris": [f"{origin}{path}/callback"],
            "post_logout_redirect_uris": [f"{origin}/", f"{origin}{path}/logout"],
            "backchannel_logout_uri": f"{origin}{path}/backchannel-logout",
            "backchannel_logout_session_required": True,
            "grant_types": _GRANTS,
            "token_endpoint_auth_method": "client_secret_basic",
            **changed,
        }
        if client["token_endpoint_auth_method"] == "none":
            client |= {"client_secret": None, "grant_types": _GRANTS[:2]}
        client = {name: value for name, value in client.items() if value is not None}
        self.configure(clients=[*(one for one in self.clients if one["client_id"] != client_id), client])

    def settings(self, **changed: Any) -> dict[str, Any]:
        """What `auth.oidc` says about it. None leaves a setting out."""
        known = {"issuer": self.issuer, "client_id": CLIENT, "client_secret": SECRET, **changed}
        return {name: value for name, value in known.items() if value is not None}

    def rotate(self, *, keep: bool = True) -> Key:
        """Signs with another key from now on, and publishes the former ones too, unless it is not to keep them."""
        self.keys.known = [Key(), *(self.keys.known if keep else ())]
        self.configure()
        return self.keys.first

    @contextmanager
    def browser(self, **options: Any) -> Iterator[httpx.Client]:
        """A client with cookies, for `login`."""
        # Reading the authorities of the machine takes longer than a login.
        with httpx.Client(**{"timeout": PATIENCE, "trust_env": False, "verify": False, **options}) as browser:
            yield browser

    def login(self, browser: httpx.Client, url: str, account: str = "", *, until: str = "") -> Login:
        """Opens a page as a browser does, and follows all redirects; `account` is logged in rather than `ada`.

        The last answer is that of the page if all went well, or with `until` the redirect to a URL that begins so. The
        provider remembers who has logged in, by a cookie.
        """
        if not account:
            return follow(browser, url, until=until)
        before = self._config["login"]
        self.configure(login=account)
        try:
            return follow(browser, url, until=until)
        finally:
            self.configure(login=before)

    def calls(self, endpoint: str, **sent: str) -> list[Call]:
        """What has come to an endpoint (a value of `front.ENDPOINTS`) with these parameters, the first one first:
        `calls("token", grant_type="refresh_token")`."""
        with self._front.changed:
            return [one for one in self._front.calls if one.endpoint == endpoint and sent.items() <= one.sent.items()]

    def wait_for_calls(self, endpoint: str, count: int, **sent: str) -> list[Call]:
        """Waits until so many have come."""
        with self._front.changed:
            enough = self._front.changed.wait_for(lambda: len(self.calls(endpoint, **sent)) >= count, PATIENCE)
        assert enough, f"{endpoint} was called {len(self.calls(endpoint, **sent))} times, not {count}"
        return self.calls(endpoint, **sent)

    def alter(self, endpoint: str, change: Change | Answer | None) -> None:
        """Puts something in the place of all answers of an endpoint, or what a function makes of call and answer.

        None, also from the function, ends the connection without an answer. The provider has done what it was asked.
        """
        self._front.changes[endpoint] = change if callable(change) else lambda _call, _answer: change

    def held(self, endpoint: str) -> AbstractContextManager[Callable[[int], None]]:
        """Answers of an endpoint wait until the block ends. Gives a function that waits until so many do."""
        return self._front.held(endpoint)

    def down(self) -> None:
        """Ends all connections, and each further one without a word."""
        self._front.is_down = True
        self._front.cut()

    def mend(self) -> None:
        """Ends `down` and all that `alter` has said."""
        self._front.is_down = False
        self._front.changes.clear()

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A token with exactly these claims, by its present key; see `Key.sign`."""
        return self.keys.first.sign(claims, **header)

    def lie(self, header: dict[str, Any] | None = None, key: Key | None = None, **claims: Any) -> None:
        """ID tokens have other claims from now on, or another header, or are signed by another key; None leaves one
        out."""

        def change(_: Call, answer: Answer) -> Answer:
            if "id_token" not in answer.json:
                return answer
            before, known = decoded(answer.json["id_token"])
            said = {name: value for name, value in {**known, **claims}.items() if value is not None}
            return answer.saying(id_token=(key or self.keys.first).sign(said, **{**before, **(header or {})}))

        self.alter("token", change)

    def logout_token(self, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """A logout token (OpenID Connect Back-Channel Logout 1.0, section 2.4) for `CLIENT`; the test adds `sub`,
        `sid` or both. None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 120,
            "jti": str(uuid.uuid4()),
            "events": {BACKCHANNEL: {}},
            **changed,
        }
        known = {name: value for name, value in claims.items() if value is not None}
        return self.sign(known, **{"typ": "logout+jwt", **(header or {})})

    def stop(self) -> None:
        """Ends it."""
        self._front.stop()
        self._node.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
