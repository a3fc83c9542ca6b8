"""Logins by OpenID Connect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr, model_validator

from pylae.config.document.nodes import Finding
from pylae.config.models.address import is_this_machine
from pylae.config.models.application import name_of
from pylae.config.models.authenticators.function import AuthenticatorOptions
from pylae.config.models.authenticators.jwt import ClaimNames
from pylae.config.models.authenticators.kind import AuthenticatorName, one_or_more
from pylae.config.models.authenticators.own import OwnAuthenticator
from pylae.config.models.base import refusal, split_words
from pylae.config.models.hooks import import_path
from pylae.config.models.tls import PemFile
from pylae.units import Duration, Wait

if TYPE_CHECKING:
    from pylae.settings.fields import OidcFields

OWN_PATHS = ("login", "callback", "logout", "backchannel-logout", "session")
"""Last segments of the paths that it serves itself."""
LONGEST = timedelta(days=400)
"""Longest session. Browsers keep no cookie for longer (RFC 6265bis, section 5.5)."""
MIN_SECRET = 32
"""Fewest bytes of a secret for cookies."""
MAX_SECRETS = 16
"""Most secrets for cookies."""
_COOKIE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_SCOPE = re.compile(r"[!#-\[\]-~]+")
_CHECKED = ("state", "nonce", "redirect_uri", "client_id", "client_secret", "response_type", "response_mode", "scope")
_OWN_PARAMETERS = (*_CHECKED, "code_challenge", "code_challenge_method", "request", "request_uri", "prompt")


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise refusal("must be an https:// address without user name", secret=True)
    if parts.scheme == "http" and not is_this_machine(parts.hostname):
        raise refusal("must be an https:// address; http:// is only for this machine")
    if parts.query or parts.fragment:
        raise refusal("must have no query and no fragment")
    return text


def _public_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise refusal("must be an https:// address without user name", secret=True)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise refusal("must be an origin, without a path", "e.g. https://shop.example.org")
    default = {"http": 80, "https": 443}[parts.scheme]
    try:
        port = parts.port
    except ValueError:
        raise refusal("a port is at most 65535") from None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, default) else "")


def _secret(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value().encode()) < MIN_SECRET:
        hint = "e.g. `openssl rand -base64 48`"
        raise refusal(f"needs at least {MIN_SECRET} bytes: with it anyone could log in as anybody", hint, secret=True)
    return value


def _cookie(text: str) -> str:
    if not _COOKIE.fullmatch(text):
        raise refusal("is not the name of a cookie: letters, digits and any of !#$%&'*+.^_`|~-")
    return text


def _own_path(text: str) -> str:
    if not _PATH.fullmatch(text) or any(part in (".", "..") for part in text.split("/")):
        raise refusal("must be a path of letters, digits, `-`, `.`, `_` and `~`", "e.g. /oauth2")
    return text


def _scope(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise refusal('must be visible ASCII characters without " and \\')
    return text


def _scopes(value: Any) -> Any:
    """Returns a text of words as a list, as OAuth writes them (RFC 6749 section 3.3) and as Pylae does elsewhere."""
    return split_words(value.replace(" ", "|")) if isinstance(value, str) else value


def _after_logout(text: str) -> str:
    if text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable():
        return text
    return _address(text)


def _function(given: Any) -> Any:
    if given is None or isinstance(given, str):
        return given and import_path(given)
    if not callable(given):
        raise refusal("must be a function", 'in a file its import path, "module:function"')
    return given


class Oidc(OwnAuthenticator):
    """Logins at an OpenID provider, with a session in a cookie. Browsers that navigate to a route that requires a user
    are sent to the provider; programs get 401.

    Example:
        ```yaml
        auth:
          oidc: {issuer: "https://login.example.org", client_id: shop, client_secret: "${OIDC_SECRET}"}
        ```
    """

    code = "user"

    name: AuthenticatorName = "oidc"
    """Name by which routes choose it. Required if there are several."""
    issuer: Annotated[str, AfterValidator(_address)]
    """URL of the provider, as in its tokens (`iss`); everything else is discovered there. `http://` only for this
    machine."""
    client_id: Annotated[str, Field(min_length=1, max_length=512)]
    """Id under which the gateway is registered at the provider."""
    client_secret: SecretStr | None = None
    """Secret of that registration. None for a public client."""
    client_auth: Literal["basic", "post", "none"] | None = None
    """How the secret is sent: `basic` (Authorization), `post` (in the body) or `none`. The default is what the provider
    offers, `basic` first."""
    scopes: Annotated[
        tuple[Annotated[str, AfterValidator(_scope)], ...],
        BeforeValidator(_scopes, json_schema_input_type=str | list[str]),
    ] = ("openid", "profile", "email")
    """What to ask for. `openid` is always among it; `offline_access` asks many providers for refresh tokens."""
    path: Annotated[str, AfterValidator(_own_path)] = "/oauth2"
    """Below this path are its own: `login`, `callback`, `logout`, `backchannel-logout` and `session`. Register
    `PUBLIC_URL` + `path` + `/callback` at the provider."""
    public_url: Annotated[str, AfterValidator(_public_url)] | None = None
    """Origin under which browsers reach the gateway. The default is what each request says."""
    cookie: Annotated[str, AfterValidator(_cookie)] | None = None
    """Name of the session cookie. The default is `__Host-pylae-NAME` over https and `pylae-NAME` over http, where
    browsers refuse the former."""
    cookie_secret: (
        Annotated[
            tuple[Annotated[SecretStr, AfterValidator(_secret)], ...],
            BeforeValidator(one_or_more, json_schema_input_type=str | list[str]),
            Field(min_length=1, max_length=MAX_SECRETS),
        ]
        | None
    ) = None
    """Secret of at least 32 bytes that seals cookies. If there are several, the first one seals and all open. The
    default is a generated one, which is kept in the user's state directory; nodes that share a store need one here."""
    same_site: Literal["lax", "strict", "none"] = "lax"
    """`SameSite` of the session cookie: to which requests of other sites browsers add it."""
    idle: Duration = timedelta(hours=1)
    """A session without requests ends after this time, or up to a quarter of it earlier."""
    lifetime: Duration = timedelta(hours=12)
    """A session ends after this time in any case."""
    refresh_ahead: Wait = timedelta(minutes=1)
    """How long before they expire tokens are refreshed."""
    claims: ClaimNames = ClaimNames()
    """Names of the claims that describe the user."""
    user: Annotated[
        Any,
        BeforeValidator(_function, json_schema_input_type=str | None),
        PlainSerializer(lambda one: one and name_of(one)),
    ] = None
    """A function `(claims) -> User | None` that makes the user, instead of `claims`; in a file, its import path
    `module:function`. None refuses the login."""
    userinfo: bool = False
    """Also ask the provider's userinfo endpoint for claims."""
    prompt: Literal["none", "login", "consent", "select_account"] | None = None
    """What the provider is to ask the person at each login."""
    extra: Annotated[dict[str, Annotated[str, Field(max_length=2048)]], Field(max_length=32)] = {}
    """Further parameters of the request for authorization, such as `audience`."""
    leeway: Wait = timedelta(seconds=30)
    """Allowed difference between the clocks of gateway and provider."""
    logout_url: Annotated[str, AfterValidator(_after_logout)] = "/"
    """Where browsers go after a logout: a path, or an address."""
    ca: PemFile | None = None
    """PEM file with the authorities that the provider's certificate may be from. The default is the system's."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[OidcFields]) -> None: ...

    @model_validator(mode="after")
    def _fits(self) -> Oidc:
        if self.client_auth in ("basic", "post") and self.client_secret is None:
            raise refusal(f"`client_auth: {self.client_auth}` needs `client_secret`")
        if "openid" not in self.scopes:
            raise refusal("`scopes` needs `openid`: without it there is no ID token", "OpenID Connect Core 3.1.2.1")
        if self.cookie and self.cookie.startswith("__") and self.public_url and self.public_url.startswith("http:"):
            raise refusal("browsers refuse cookies with this prefix over http://", "leave out `cookie`")
        if self.same_site == "none" and self.public_url and self.public_url.startswith("http:"):
            raise refusal("browsers refuse `same_site: none` over http://")
        if own := next((name for name in _OWN_PARAMETERS if name in self.extra), None):
            raise refusal(f"`extra` cannot set `{own}`, which the gateway sets itself")
        if self.lifetime > LONGEST:
            raise refusal("`lifetime` is longer than 400 days", "browsers keep no cookie for longer")
        if self.idle > self.lifetime:
            raise refusal("`idle` is longer than `lifetime`")
        return self

    @property
    def options(self) -> AuthenticatorOptions:
        own = tuple(f"{self.path}/{name}" for name in OWN_PATHS)
        return AuthenticatorOptions(paths=own, body=64 * 1024, timeout=timedelta(seconds=15), waits=True, budget=None)

    @property
    def conceals(self) -> bool:
        """Sessions and attempts are the gateway's own: they are sent to no instance."""
        return True

    @property
    def servers(self) -> Iterator[tuple[str, str]]:
        """The settings that name servers which it asks, and their URLs."""
        yield "issuer", self.issuer

    def cookie_name(self, scheme: str) -> str:
        """Returns the name of the session cookie for browsers that reach the gateway by `http` or `https`."""
        scheme = urlsplit(self.public_url).scheme if self.public_url else scheme
        return self.cookie or f"{'__Host-' if scheme == 'https' else ''}pylae-{self.name}"

    def plan(self) -> dict[str, Any]:
        # `AuthConfig` adds the name and the call.
        return {
            "kind": "oidc",
            "secrets": [secret.get_secret_value() for secret in self.cookie_secret or ()],
            "cookies": {scheme: self.cookie_name(scheme) for scheme in ("http", "https")},
            "origin": self.public_url,
        }

    def weaknesses(self) -> Iterator[Finding]:
        if (
            self.public_url
            and self.public_url.startswith("http:")
            and not is_this_machine(urlsplit(self.public_url).hostname or "")
        ):
            text = "anyone on the network can read the cookies of sessions, and use them"
            yield Finding(("public_url",), text, "use https://")
